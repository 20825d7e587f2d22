//! `tocsin import --dataset`: the files of one data set, all at once, and what is wrong with them.

use crate::backend;
use crate::cli::ImportArgs;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::settings::Settings;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tocsin_ingest::datasets::finding::{Finding, Table};
use tocsin_ingest::datasets::{DatasetConfig, Loaded, Loader, Upload};

/// How many findings are shown.
const SHOWN: usize = 20;

/// Writes the upload.
///
/// # Errors
/// If it is no upload of the set, or the log cannot be written; exit code 5 if something is wrong
/// with its rows.
pub(super) fn run(
    args: &ImportArgs,
    settings: &Settings,
    set: &DatasetConfig,
) -> anyhow::Result<()> {
    let upload = Upload::open(set, &args.files)?;
    let log = backend::log(settings, &args.place.data)?;
    let loader = Loader::new(log, set, Arc::new(facts::now)).again(args.again);
    if let Some(path) = &args.anomalies {
        anomalies(&loader, &upload, path)?;
    }
    let begun = Instant::now();
    let loaded = loader.load(&upload, &mut || true)?;
    let text = text(&set.name, &loaded, begun.elapsed().as_secs_f64());
    std::io::stdout().write_all(text.as_bytes())?;
    match loaded.report.found_in_all() {
        0 => Ok(()),
        found => {
            let dead = loaded.report.dead_letters;
            let text = format!(
                "{found} things are wrong with the rows; {dead} rows could not be read and are in dead.letters with their bytes and reasons, and every other row is an event"
            );
            Err(Exit::error(Kind::Problems, text))
        }
    }
}

/// Everything that is wrong, into a file.
fn anomalies(loader: &Loader, upload: &Upload, path: &Path) -> anyhow::Result<()> {
    let cannot = |error: &dyn std::fmt::Display| {
        anyhow::anyhow!("cannot write the anomalies to {}: {error}", path.display())
    };
    let file = File::create(path).map_err(|error| cannot(&error))?;
    let mut table = Table::new(BufWriter::new(file)).map_err(|error| cannot(&error))?;
    let mut written = Ok(());
    loader.check(upload, &mut |finding: &Finding| {
        if written.is_ok() {
            written = table.row(finding);
        }
    })?;
    written.and_then(|()| table.end()).map_err(|error| cannot(&error))
}

fn text(set: &str, loaded: &Loaded, seconds: f64) -> String {
    let report = &loaded.report;
    let (id, how) = (
        loaded.upload,
        match (loaded.known, loaded.resumed) {
            (true, _) => ": already imported; --again reads it once more".to_owned(),
            (false, None) => format!(", {seconds:.1} s"),
            (false, Some(rows)) => format!(", went on after row {rows}, {seconds:.1} s"),
        },
    );
    let mut text = format!(
        "{set}: upload {id}: {} rows, {} events, {} blank, {} dead letters{how}\n",
        report.rows, report.events, report.blank, report.dead_letters
    );
    for file in &report.files {
        let decimal = file.decimal.map(|mark| format!(", decimal {mark:?}"));
        text.push_str(&format!(
            "  {} ({}): {} rows, {}{}, {}, delimiter {:?}{}{}\n",
            file.file,
            file.name,
            file.rows,
            file.encoding,
            if file.byte_order_mark { " with a byte-order mark" } else { "" },
            file.line_end,
            file.delimiter,
            decimal.unwrap_or_default(),
            if file.gzip { ", gzipped" } else { "" },
        ));
        if !file.undeclared.is_empty() {
            text.push_str(&format!("    not declared: {}\n", file.undeclared.join(", ")));
        }
    }
    for (kind, count) in &report.faults {
        text.push_str(&format!("  {}: {count}\n", kind.word()));
    }
    for finding in report.findings.iter().take(SHOWN) {
        let column = match finding.column.as_str() {
            "" => String::new(),
            column => format!(" `{column}`"),
        };
        text.push_str(&format!("  {}:{}{column} {}\n", finding.file, finding.line, finding.text));
    }
    let more = report.found_in_all().saturating_sub(SHOWN as u64);
    if more > 0 {
        text.push_str(&format!("  and {more} more; --anomalies FILE has all of them\n"));
    }
    text
}
