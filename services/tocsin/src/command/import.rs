//! `tocsin import`: files through a configured source into the log, once. Works beside a running
//! `tocsin up`, and goes on where it was when it was cut short.

mod dataset;

use crate::backend;
use crate::cli::ImportArgs;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::settings::Settings;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use tocsin_ingest::import::Progress;
use tocsin_ingest::poison::Rate;
use tocsin_ingest::{Import, ImportReport};

/// Imports the files, one after the other.
///
/// # Errors
/// Wrong configuration, a file or a log that cannot be read; exit code 5 if rows became dead
/// letters.
pub fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let settings = Settings::load(&args.place.config, facts::now())?;
    if let Some(name) = &args.dataset {
        return dataset::run(args, &settings, settings.dataset(name)?);
    }
    let source = settings.source(args.source.as_deref().unwrap_or_default())?;
    let log = backend::log(&settings, &args.place.data)?;
    let (mut dead_letters, mut rate) = (0, None);
    for path in &args.files {
        let import = Import::new(log.clone(), source, Arc::new(facts::now));
        let wrong = |text: String| Exit::error(Kind::Configuration, text);
        let before = rate
            .take()
            .map_or_else(|| Rate::of(source.pause_above.as_deref()), Ok)
            .map_err(wrong)?;
        let mut import = import.map_err(wrong)?.again(args.again).pausing(before);
        let bar = bar(path);
        let report = import.import(path, &mut |progress| show(&bar, &progress))?;
        rate = import.rate();
        bar.finish_and_clear();
        dead_letters += report.tally.dead_letters;
        std::io::stdout().write_all(text(path, &report).as_bytes())?;
        if let Some(reason) = &report.paused {
            return Err(paused(&source.name, reason));
        }
    }
    if dead_letters > 0 {
        let text = format!(
            "{dead_letters} rows could not be read; `tocsin dlq list` shows them with their reasons, and everything else was imported"
        );
        return Err(Exit::error(Kind::Problems, text));
    }
    Ok(())
}

fn paused(source: &str, reason: &str) -> anyhow::Error {
    let text = format!(
        "source {source:?} is paused: {reason}; `tocsin dlq list --source {source}` shows why. correct it in the configuration, or say `tocsin dlq resume {source}`, and import again: it goes on behind the last row"
    );
    Exit::error(Kind::Problems, text)
}

/// A bar for the bytes of a file; nothing where nobody looks.
pub fn bar(path: &Path) -> ProgressBar {
    let size = path.metadata().map_or(0, |metadata| metadata.len());
    let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::hidden());
    if std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.with_message(name)
}

/// Moves the bar; the import goes on.
pub fn show(bar: &ProgressBar, progress: &Progress) -> bool {
    bar.set_length(progress.size);
    bar.set_position(progress.read);
    true
}

fn text(path: &Path, report: &ImportReport) -> String {
    let path = path.display();
    if report.already_imported {
        return format!("{path}: already imported; --again reads it once more\n");
    }
    let resumed = match report.resumed_at {
        Some(mark) => format!(", went on after row {}", mark.rows),
        None => String::new(),
    };
    let tally = &report.tally;
    let mut text = format!(
        "{path}: {} rows ({} read, {} left out, {} blank, {} without any value, {} dead letters), {} events, {} values missing{resumed}, {:.1} s\n",
        tally.rows,
        tally.processed,
        tally.filtered,
        tally.blank,
        tally.empty,
        tally.dead_letters,
        tally.events,
        tally.no_value,
        report.seconds
    );
    for reason in &report.reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    text
}
