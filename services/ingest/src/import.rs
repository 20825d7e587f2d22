//! Imports files: one transaction holds the events, the dead letters and the cursor. A killed
//! import goes on exactly where it was; a file that was imported is not imported again.

mod batch;

pub use crate::tally::Tally;

use crate::cursor::{self, Cursor};
use crate::input::Input;
use crate::pause::{self, Whom};
use crate::poison::Rate;
use crate::settings::SourceConfig;
use crate::source::{File, IngestError, Item, Mark, Source};
use crate::sources;
use batch::{Batch, Ending, Terms};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tocsin_domain::Micros;
use tocsin_stream::{Log, WorkerSpec};

/// Rows in a transaction.
const BATCH_ROWS: u64 = 4_000;
/// How often an import begins again from its cursor before it gives up.
const RESTARTS: u32 = 5;

/// Imports files of one source.
pub struct Import {
    log: Arc<dyn Log>,
    config: SourceConfig,
    source: Box<dyn Source>,
    now: Arc<dyn Fn() -> Micros + Send + Sync>,
    again: bool,
    rows_at_once: u64,
    /// The last rows of the source, as far as they are committed; `None` to read on whatever comes.
    rate: Option<Rate>,
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportReport {
    /// What came of the rows that this run committed.
    pub tally: Tally,
    /// Why rows are dead letters, each with its origin; the first few.
    pub reasons: Vec<String>,
    /// Where it went on, if it did not begin at the file's start.
    pub resumed_at: Option<Mark>,
    /// Nothing was done, because the file had been imported before.
    pub already_imported: bool,
    /// Why the source is paused: now, or since before, when nothing was read.
    pub paused: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What was committed.
    pub tally: Tally,
    /// Bytes on disk that were read.
    pub read: u64,
    /// Bytes on disk in all.
    pub size: u64,
}

/// Is told of every commit; `false` stops the import.
pub type Watch<'w> = dyn FnMut(Progress) -> bool + 'w;

impl Import {
    /// An import into `log` through the source that `config` describes; `now` gives arrival times.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(
        log: Arc<dyn Log>,
        config: &SourceConfig,
        now: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Result<Import, String> {
        let config = sources::complete(config)?;
        Ok(Import {
            log,
            source: sources::open(&config)?,
            config,
            now,
            again: false,
            rows_at_once: BATCH_ROWS,
            rate: None,
        })
    }

    /// Pauses the source if too many of its rows cannot be read, those before among them; and reads
    /// nothing while it is paused.
    #[must_use]
    pub fn pausing(mut self, rate: Rate) -> Import {
        self.rate = Some(rate);
        self
    }

    /// How the last rows were, for the import that follows.
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Whether files that were imported before are imported again, from their start.
    #[must_use]
    pub fn again(mut self, again: bool) -> Import {
        self.again = again;
        self
    }

    /// Commits after so many rows, at least 1; for a replay that people watch.
    #[must_use]
    pub fn rows_at_once(mut self, rows: u64) -> Import {
        self.rows_at_once = rows.max(1);
        self
    }

    /// Imports the file at `path`, from where an earlier import of it stopped.
    ///
    /// # Errors
    /// If the file as a whole cannot be read, the log does not answer, or `watch` said stop. What
    /// was committed stays.
    pub fn import(
        &mut self,
        path: &Path,
        watch: &mut Watch<'_>,
    ) -> Result<ImportReport, IngestError> {
        let begun = (self.now)();
        let mut report = ImportReport::default();
        let mut from_start = self.again;
        for restart in 0.. {
            match self.attempt(path, &mut from_start, &mut report, watch) {
                Err(Ending::Restart(reason)) if restart < RESTARTS => {
                    tracing::warn!(file = %path.display(), "import begins again: {reason}");
                }
                Err(Ending::Restart(reason)) => return Err(IngestError::Commit(reason)),
                Err(Ending::Fenced(reason)) => {
                    let name = self.config.name.clone();
                    return Err(IngestError::Fenced { name, reason });
                }
                Err(Ending::Error(error)) => return Err(error),
                Ok(()) | Err(Ending::Paused) => break,
            }
        }
        report.seconds = (self.now)().since(begun).as_secs_f64();
        Ok(report)
    }

    /// Why nothing may be read, if that matters here.
    fn paused(&self) -> Result<Option<String>, IngestError> {
        let found = self.rate.map(|_| pause::find(&*self.log, &Whom::source(&self.config)));
        let found = found.transpose()?;
        Ok(found.flatten().map(|pause| format!("since {}: {}", pause.at, pause.reason)))
    }

    fn attempt(
        &mut self,
        path: &Path,
        from_start: &mut bool,
        report: &mut ImportReport,
        watch: &mut Watch<'_>,
    ) -> Result<(), Ending> {
        let mut input = Input::open(path).map_err(|error| self.unreadable(path, &error))?;
        // The worker shuts out every import before this one, so that the cursor stays as found.
        let id = format!("ingest-{}", self.config.name);
        let spec = WorkerSpec { id: id.clone(), group: id, inputs: Vec::new() };
        let worker = self.log.worker(&spec).map_err(IngestError::from)?;
        self.log.settle_topics(&[cursor::TOPIC]).map_err(IngestError::from)?;
        report.paused = self.paused()?;
        if report.paused.is_some() {
            return Ok(());
        }
        let key = cursor::key(self.config.tenant(), &self.config.name, &input.path);
        let found = cursor::find(&*self.log, &key).map_err(IngestError::from)?;
        let cursor = match found.filter(|_| !*from_start) {
            Some(old) => old.resume(&input),
            None => Cursor::start(&input),
        };
        let cursor = cursor.map_err(|error| self.unreadable(path, &error))?;
        if cursor.done {
            report.already_imported = report.tally == Tally::default();
            return Ok(());
        }
        if cursor.mark != Mark::default() && report.tally == Tally::default() {
            report.resumed_at = Some(cursor.mark);
        }
        let terms = Terms { rows_at_once: self.rows_at_once, rate: self.rate, now: &*self.now };
        let topic = self.config.event_topic();
        let mut batch = Batch::open(&*self.log, worker, topic, (key, cursor), terms)?;
        if std::mem::take(from_start) {
            // The cursor goes back first, so that what follows is the same as in any import.
            batch.commit(report).inspect_err(|_| *from_start = true)?;
        }
        let (read, size) = (Arc::clone(&input.read), input.size);
        let mut progress =
            |tally| watch(Progress { tally, read: read.load(Ordering::Relaxed), size });
        match read_on(&mut *self.source, &mut input, &mut batch, report, &mut progress) {
            Ok(()) => batch.done(),
            Err(Ending::Paused) => report.paused = Some(batch.pause(&self.config, &input.name)?),
            Err(other) => return Err(other),
        }
        batch.commit(report)?;
        // After a pause the rows are looked at anew.
        self.rate = match report.paused {
            Some(_) => Rate::of(self.config.pause_above.as_deref()).ok(),
            None => batch.rate(),
        };
        progress(report.tally);
        Ok(())
    }

    fn unreadable(&self, path: &Path, error: &std::io::Error) -> IngestError {
        let (name, file) = (self.config.name.clone(), path.display().to_string());
        IngestError::Read { name, file, reason: error.to_string() }
    }
}

/// Reads the rest of the file, and commits what is full meanwhile.
fn read_on(
    source: &mut dyn Source,
    input: &mut Input,
    batch: &mut Batch<'_>,
    report: &mut ImportReport,
    progress: &mut dyn FnMut(Tally) -> bool,
) -> Result<(), Ending> {
    let (from, now) = (batch.mark(), batch.clock());
    let mut ending = None;
    let mut sink = |item: Item<'_>| {
        batch.take(item, report, progress).map_err(|stop| {
            ending = Some(stop);
            IngestError::Stopped
        })
    };
    let file = File { content: &mut *input.content, name: &input.name, from, now };
    let read = source.read(file, &mut sink);
    read.map_err(|error| ending.unwrap_or(Ending::Error(error)))
}

#[cfg(test)]
mod tests;
