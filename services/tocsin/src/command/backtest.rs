//! `tocsin backtest`: recorded files through the same topology, in memory. Writes nothing, mails
//! nothing, prints everything.

use crate::cli::BacktestArgs;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::pipeline::Pipeline;
use crate::report::{self, FileReport, Report};
use crate::settings::Settings;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tocsin_domain::Micros;
use tocsin_domain::topics::Topics;
use tocsin_ingest::{Import, SourceConfig};
use tocsin_notify::render::Site;
use tocsin_stream::Log;
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::processor::Options;

/// Where the links would lead in the mails that nobody will see.
const BASE_URL: &str = "http://backtest.invalid";

/// Runs the files and prints what was found.
///
/// # Errors
/// Wrong configuration, a file that cannot be read.
pub fn run(args: &BacktestArgs) -> anyhow::Result<()> {
    let now = facts::now();
    let settings = Settings::load(&args.config, now)?;
    let report = backtest(&settings, args.source.as_deref(), &args.files, now)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        out.write_all(b"\n")?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(out.flush()?)
}

/// What the settings would have found in the files. `source` reads all of them; without one, each
/// file goes to the source whose `files` fit it.
///
/// # Errors
/// A file that no source or several take, or that cannot be read.
pub fn backtest(
    settings: &Settings,
    source: Option<&str>,
    files: &[impl AsRef<Path>],
    now: Micros,
) -> anyhow::Result<Report> {
    let log: Arc<dyn Log> = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>())?;
    facts::declare(&*log, &settings.conditions, &settings.watches)?;
    let mut sources = Vec::new();
    for file in files {
        let source = match source {
            Some(name) => settings.source(name)?,
            None => source_of(settings, file.as_ref())?,
        };
        sources.push(read(&log, source, file.as_ref())?);
    }
    let site = Site::new(&settings.channels.email.from, BASE_URL);
    let site = site.map_err(|text| Exit::error(Kind::Configuration, text))?;
    let mut pipeline = Pipeline::new(&log, settings, site.mail_domain(), &Options::default())?;
    let done = pipeline.detect_all(now)?;
    pipeline.finish(now)?;
    let rows: u64 = sources.iter().map(|file| file.dead_letters).sum();
    Ok(Report {
        events: done.events,
        alerts: report::alerts(&*log)?,
        watches: report::watches(&*log, settings, &site)?,
        dead_letters: rows + done.tally.dead_letters,
        reasons: report::reasons(&*log)?,
        late_events: done.tally.late_events,
        duplicates: done.tally.duplicates,
        sources,
    })
}

fn source_of<'a>(settings: &'a Settings, file: &Path) -> anyhow::Result<&'a SourceConfig> {
    let fitting: Vec<&SourceConfig> =
        settings.sources.iter().filter(|source| source.takes(file)).collect();
    let names = |sources: &[&SourceConfig]| {
        sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match (fitting.as_slice(), settings.sources.as_slice()) {
        ([one], _) => Ok(one),
        ([], [one]) => Ok(one),
        ([], all) => {
            let file = file.display();
            let names = names(&all.iter().collect::<Vec<_>>());
            let text = format!(
                "no source takes {file}: give --source, or add its name to `files` of one of: {names}"
            );
            Err(Exit::error(Kind::Configuration, text))
        }
        (several, _) => {
            let (file, names) = (file.display(), names(several));
            let text = format!(
                "several sources take {file}: {names}; give --source, or make their `files` narrower"
            );
            Err(Exit::error(Kind::Configuration, text))
        }
    }
}

fn read(log: &Arc<dyn Log>, source: &SourceConfig, path: &Path) -> anyhow::Result<FileReport> {
    let import = Import::new(log.clone(), source, Arc::new(facts::now));
    let mut import = import.map_err(|text| Exit::error(Kind::Configuration, text))?.again(true);
    let bar = crate::command::import::bar(path);
    let read =
        import.import(path, &mut |progress| crate::command::import::show(&bar, &progress))?;
    bar.finish_and_clear();
    Ok(FileReport {
        file: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        source: source.name.clone(),
        rows: read.tally.rows,
        events: read.tally.events,
        no_value: read.tally.no_value,
        filtered: read.tally.filtered,
        blank: read.tally.blank,
        dead_letters: read.tally.dead_letters,
        reasons: read.reasons,
    })
}
