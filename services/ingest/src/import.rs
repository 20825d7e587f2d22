//! Imports files: one transaction holds the events, the dead letters and the cursor. A killed
//! import goes on exactly where it was; a file that was imported is not imported again.

use crate::cursor::{self, Cursor};
use crate::input::Input;
use crate::pause::{self, Pause, Whom};
use crate::poison::Rate;
use crate::settings::SourceConfig;
use crate::source::{Event, File, IngestError, Item, Mark, Source};
use crate::sources;
use crate::tally::Row;
pub use crate::tally::Tally;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::topics::DEAD_LETTERS;
use tocsin_domain::{Micros, wire};
use tocsin_stream::log::PATIENCE;
use tocsin_stream::{CommitError, Log, Transaction, Worker, WorkerSpec};

/// Rows in a transaction.
const BATCH_ROWS: u64 = 4_000;
/// Bytes in a transaction, after which it is committed even if it has fewer rows.
const BATCH_BYTES: usize = 4 << 20;
/// How often an import begins again from its cursor before it gives up.
const RESTARTS: u32 = 5;
/// How many reasons of dead letters a report shows.
const REASONS: usize = 5;

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
        let name = self.config.name.clone();
        let unreadable = |e: std::io::Error| {
            let (name, file) = (name.clone(), path.display().to_string());
            Ending::Error(IngestError::Read { name, file, reason: e.to_string() })
        };
        let mut input = Input::open(path).map_err(unreadable)?;
        // The worker shuts out every import before this one, so that the cursor stays as found.
        let id = format!("ingest-{name}");
        let spec = WorkerSpec { id: id.clone(), group: id, inputs: Vec::new() };
        let worker = self.log.worker(&spec).map_err(IngestError::from)?;
        report.paused = self.paused()?;
        if report.paused.is_some() {
            return Ok(());
        }
        let key = cursor::key(self.config.tenant(), &name, &input.path);
        let found = cursor::find(&*self.log, &key).map_err(IngestError::from)?;
        let cursor = match found.filter(|_| !*from_start) {
            Some(old) => old.resume(&input),
            None => Cursor::start(&input),
        };
        let cursor = cursor.map_err(unreadable)?;
        if cursor.done {
            report.already_imported = report.tally == Tally::default();
            return Ok(());
        }
        if cursor.mark != Mark::default() && report.tally == Tally::default() {
            report.resumed_at = Some(cursor.mark);
        }
        let (read, size) = (Arc::clone(&input.read), input.size);
        let from = cursor.mark;
        let mut progress =
            |tally| watch(Progress { tally, read: read.load(Ordering::Relaxed), size });
        let topic = self.config.event_topic();
        let mut batch = Batch::open(&*self.log, worker, topic, cursor, key)?;
        batch.now = (self.now)();
        batch.rows_at_once = self.rows_at_once;
        batch.rate = self.rate;
        if std::mem::take(from_start) {
            // The cursor goes back first, so that what follows is the same as in any import.
            batch.commit(report).inspect_err(|_| *from_start = true)?;
        }
        let mut ending = None;
        let (clock, report_ref) = (Arc::clone(&self.now), &mut *report);
        let mut sink = |item: Item<'_>| {
            batch.take(item, &*clock, report_ref, &mut progress).map_err(|stop| {
                ending = Some(stop);
                IngestError::Stopped
            })
        };
        let file = File { content: &mut *input.content, name: &input.name, from, now: &*self.now };
        let read = self.source.read(file, &mut sink);
        match (read, ending) {
            (Err(_), Some(Ending::Paused)) => {
                batch.pause(&self.config, &input.name)?;
                report.paused = batch.rate.map(|rate| rate.reason());
            }
            (Err(error), ending) => return Err(ending.unwrap_or(Ending::Error(error))),
            (Ok(()), _) => batch.cursor.done = true,
        }
        batch.commit(report)?;
        // After a pause the rows are looked at anew.
        self.rate = match report.paused {
            Some(_) => Rate::of(self.config.pause_above.as_deref()).ok(),
            None => batch.rate,
        };
        progress(report.tally);
        Ok(())
    }
}

/// Why an attempt ended early.
enum Ending {
    /// Too many rows cannot be read.
    Paused,
    Error(IngestError),
    Fenced(String),
    Restart(String),
}

impl From<IngestError> for Ending {
    fn from(error: IngestError) -> Ending {
        Ending::Error(error)
    }
}

/// The open transaction and what is in it.
struct Batch {
    worker: Box<dyn Worker>,
    transaction: Transaction,
    events: usize,
    dead_letters: usize,
    cursors: usize,
    cursor: Cursor,
    cursor_key: Vec<u8>,
    event_key: Vec<u8>,
    tally: Tally,
    row: Row,
    rate: Option<Rate>,
    reasons: Vec<String>,
    now: Micros,
    rows_at_once: u64,
}

impl Batch {
    fn open(
        log: &dyn Log,
        worker: Box<dyn Worker>,
        topic: &str,
        cursor: Cursor,
        cursor_key: Vec<u8>,
    ) -> Result<Batch, Ending> {
        let mut transaction = Transaction::default();
        let mut register = |topic: &str| {
            let partitions = log.partitions(topic).map_err(IngestError::from)?;
            Ok::<_, Ending>(transaction.register(topic, partitions))
        };
        let (events, dead_letters) = (register(topic)?, register(DEAD_LETTERS)?);
        let cursors = register(cursor::TOPIC)?;
        Ok(Batch {
            worker,
            transaction,
            events,
            dead_letters,
            cursors,
            cursor,
            cursor_key,
            event_key: Vec::new(),
            tally: Tally::default(),
            row: Row::default(),
            rate: None,
            reasons: Vec::new(),
            now: Micros::default(),
            rows_at_once: BATCH_ROWS,
        })
    }

    fn take(
        &mut self,
        item: Item<'_>,
        now: &dyn Fn() -> Micros,
        report: &mut ImportReport,
        progress: &mut dyn FnMut(Tally) -> bool,
    ) -> Result<(), Ending> {
        self.row.take(&item, &mut self.tally);
        match item {
            Item::Event(event) => self.event(&event),
            Item::DeadLetter(letter) => self.dead_letter(&letter),
            Item::Skipped(_) => {}
            // What comes of the row is committed with the end of the file, or not at all: before
            // that, an import that begins again at the mark would hand it over twice.
            Item::OpenEnd => _ = self.row.end(&mut self.tally),
            Item::RowEnd(mark) => {
                let is_dead = self.row.end(&mut self.tally);
                self.cursor.mark = mark;
                if self.rate.as_mut().is_some_and(|rate| rate.row(is_dead)) {
                    self.now = now();
                    return Err(Ending::Paused);
                }
                let rows = self.tally.rows;
                let full = rows.is_multiple_of(64) && self.transaction.bytes() >= BATCH_BYTES;
                if rows >= self.rows_at_once || full {
                    self.now = now();
                    self.commit(report)?;
                    if !progress(report.tally) {
                        return Err(IngestError::Stopped.into());
                    }
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>) {
        event.key(&mut self.event_key);
        let builder = self.transaction.to(self.events, &self.event_key);
        builder.push_with(&self.event_key, |out| event.write(out));
    }

    fn dead_letter(&mut self, letter: &DeadLetter) {
        if self.reasons.len() < REASONS {
            self.reasons.push(format!("{}: {}", letter.origin, letter.reason));
        }
        let builder = self.transaction.to(self.dead_letters, &letter.key);
        builder.push_with(&letter.key, |out| wire::write(letter, out));
    }

    /// Puts the fact that the source is paused beside what is open. The cursor stays behind the last
    /// row that was read.
    fn pause(&mut self, config: &SourceConfig, file: &str) -> Result<(), Ending> {
        let reason = self.rate.map(|rate| rate.reason()).unwrap_or_default();
        let whom = Whom::source(config);
        let pause = Pause::of(&whom, (reason, file), self.now);
        pause.write(&whom, &mut self.transaction, self.cursors).map_err(IngestError::Commit)?;
        Ok(())
    }

    /// Commits what is open with its cursor, and tells the report.
    fn commit(&mut self, report: &mut ImportReport) -> Result<(), Ending> {
        let value = serde_json::to_vec(&self.cursor)
            .map_err(|e| IngestError::Commit(format!("the cursor cannot be written: {e}")))?;
        let builder = self.transaction.to(self.cursors, &self.cursor_key);
        builder.push(&self.cursor_key, Some(&value));
        self.transaction.time = self.now;
        self.try_commit()?;
        report.tally = report.tally.plus(std::mem::take(&mut self.tally));
        let room = REASONS.saturating_sub(report.reasons.len());
        report.reasons.extend(self.reasons.drain(..).take(room));
        Ok(())
    }

    fn try_commit(&mut self) -> Result<(), Ending> {
        self.worker.commit_patiently(&mut self.transaction, PATIENCE).map_err(|error| match error {
            CommitError::Retriable(reason) => IngestError::Commit(reason).into(),
            // A new worker would shut out the import that has shut out this one.
            CommitError::Fatal(reason) => Ending::Fenced(reason),
            // A new worker and the cursor tell what is committed, whichever it was.
            other => Ending::Restart(other.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::config;
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::sync::Mutex;
    use std::time::Duration;
    use tocsin_domain::TopicPartition;
    use tocsin_domain::event::Reading;
    use tocsin_domain::topics::{AQI_READINGS, Topic, Topics};
    use tocsin_stream::memory::{Fault, MemoryLog};
    use tocsin_stream::{Batch as Chunks, LogError, Span};

    const ROWS: usize = 9_000;
    const SOURCE: &str = "name = \"a\"\nkind = \"csv\"\nevent = \"reading\"\nmeasure = \"m\"\n\
        value = \"{v}\"\nsubject = \"{s}\"\ntime = \"2020-01-01\"\n";

    /// Every thousandth value is no number.
    fn file(directory: &Path, rows: usize) -> std::path::PathBuf {
        let mut text = String::from("s,v\n");
        for i in 0..rows {
            let bad = if i % 1000 == 999 { "x" } else { "" };
            text += &format!("place {i},{i}{bad}\n");
        }
        let path = directory.join("a.csv");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn log() -> Arc<MemoryLog> {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        log
    }

    fn import(log: &Arc<MemoryLog>) -> Import {
        let log: Arc<dyn Log> = Arc::clone(log) as _;
        Import::new(log, &config(SOURCE), Arc::new(|| Micros(5))).unwrap()
    }

    /// How often each record is in a topic.
    fn records(log: &MemoryLog, topic: &str) -> BTreeMap<Vec<u8>, usize> {
        let mut found = BTreeMap::new();
        for partition in 0..log.partitions(topic).unwrap() {
            let at = TopicPartition::new(topic, partition);
            let span = log.span(&at).unwrap();
            let mut next = span.start;
            while next < span.end {
                let batch = log.read(&at, next, 1 << 20).unwrap();
                for record in batch.records() {
                    *found.entry(record.value.unwrap_or_default().to_vec()).or_default() += 1;
                }
                next = batch.next;
            }
        }
        found
    }

    #[test]
    fn imports_once_and_then_only_what_was_added() {
        let directory = tempfile::tempdir().unwrap();
        let (path, log) = (file(directory.path(), ROWS), log());
        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert_eq!((report.tally.rows, report.tally.events), (9_000, 8_991));
        assert_eq!((report.tally.dead_letters, report.reasons.len()), (9, 5));
        assert!(report.reasons[0].starts_with("a.csv:1001: m \"999x\" is not a number"));
        assert_eq!(records(&log, AQI_READINGS).len(), 8_991);
        assert_eq!(records(&log, DEAD_LETTERS).len(), 9);

        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert!(report.already_imported && report.tally == Tally::default());

        let mut grown = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        grown.write_all(b"more,1\n").unwrap();
        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert_eq!((report.tally.rows, report.resumed_at.map(|m| m.lines)), (1, Some(9_001)));

        let report = import(&log).again(true).import(&path, &mut |_| true).unwrap();
        assert_eq!(report.tally.rows, 9_001);
        file(directory.path(), 10);
        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert_eq!(report.tally.rows, 10, "another file of the same name begins at its start");
    }

    #[test]
    fn whatever_commit_fails_each_row_is_there_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), ROWS);
        for fault in [Fault::Busy, Fault::Abort, Fault::LostAnswer, Fault::LostRequest] {
            for failing in 0..4 {
                let (log, mut commits) = (log(), 0);
                log.fail_commits(move |_| {
                    commits += 1;
                    (commits == failing + 1).then_some(fault)
                });
                import(&log).again(true).import(&path, &mut |_| true).unwrap();
                for (topic, wanted) in [(AQI_READINGS, 8_991), (DEAD_LETTERS, 9)] {
                    let found = records(&log, topic);
                    let once = found.values().all(|n| *n == 1);
                    assert!(once && found.len() == wanted, "{fault:?} {failing} {topic}");
                }
            }
        }
    }

    #[test]
    fn a_stopped_import_goes_on_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (path, log) = (file(directory.path(), ROWS), log());
        let stopped = import(&log).import(&path, &mut |_| false);
        assert!(matches!(stopped, Err(IngestError::Stopped)));
        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert_eq!((report.tally.rows, report.resumed_at.map(|m| m.rows)), (5_000, Some(4_000)));
        assert!(records(&log, AQI_READINGS).values().all(|n| *n == 1));
    }

    /// A log on which something happens just before the next worker is there.
    struct Meanwhile(Arc<MemoryLog>, Mutex<Option<Box<dyn FnOnce() + Send>>>);

    impl Log for Meanwhile {
        fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
            self.0.create_topics(topics)
        }
        fn partitions(&self, topic: &str) -> Result<u32, LogError> {
            self.0.partitions(topic)
        }
        fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
            self.0.span(at)
        }
        fn read(&self, at: &TopicPartition, from: u64, bytes: usize) -> Result<Chunks, LogError> {
            self.0.read(at, from, bytes)
        }
        fn wait(&self, seen: u64, timeout: Duration) -> u64 {
            self.0.wait(seen, timeout)
        }
        fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
            let event = self.1.lock().unwrap().take();
            event.into_iter().for_each(|event| event());
            self.0.worker(spec)
        }
    }

    #[test]
    fn of_two_imports_at_once_the_later_goes_on_and_the_earlier_ends() {
        let directory = tempfile::tempdir().unwrap();
        let (path, log) = (file(directory.path(), ROWS), log());
        let mut later = None;
        let earlier = import(&log).import(&path, &mut |_| {
            // It commits while the later one begins, and wants to go on when that one is done.
            later.get_or_insert_with(|| import(&log).import(&path, &mut |_| true).unwrap());
            true
        });
        let error = earlier.unwrap_err();
        assert!(matches!(error, IngestError::Fenced { .. }), "{error}");
        assert!(error.to_string().contains("source `a`: another import of it runs"), "{error}");
        assert_eq!(later.map(|report| report.tally.rows), Some(5_000));
        for (topic, wanted) in [(AQI_READINGS, 8_991), (DEAD_LETTERS, 9)] {
            let found = records(&log, topic);
            assert!(found.values().all(|n| *n == 1) && found.len() == wanted, "{topic}");
        }
        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert!(report.already_imported);
    }

    #[test]
    fn what_another_import_commits_until_the_worker_is_there_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (path, log) = (file(directory.path(), ROWS), log());
        let (other, same) = (import(&log), path.clone());
        let event = move || _ = { other }.import(&same, &mut |_| false);
        let seen = Arc::new(Meanwhile(Arc::clone(&log), Mutex::new(Some(Box::new(event)))));
        let now = Arc::new(|| Micros(5));
        let mut import = Import::new(seen, &config(SOURCE), now).unwrap();
        let report = import.import(&path, &mut |_| true).unwrap();
        assert_eq!((report.tally.rows, report.resumed_at.map(|m| m.rows)), (5_000, Some(4_000)));
        assert!(records(&log, AQI_READINGS).values().all(|n| *n == 1));
    }

    #[test]
    fn a_file_is_known_by_all_its_bytes_and_its_whole_path() {
        let directory = tempfile::tempdir().unwrap();
        let (path, log) = (file(directory.path(), ROWS), log());
        import(&log).import(&path, &mut |_| true).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() > 128 << 10);
        std::fs::write(&path, text.replace("8998,8998", "8998,1234")).unwrap();
        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert_eq!((report.tally.rows, report.resumed_at), (9_000, None), "one late byte differs");

        let grown = text.replace("8998,8998", "8998,4321") + "more,1\n";
        std::fs::write(&path, grown).unwrap();
        let report = import(&log).import(&path, &mut |_| true).unwrap();
        assert_eq!((report.tally.rows, report.resumed_at), (9_001, None), "changed and grown");

        let year = directory.path().join("2024");
        std::fs::create_dir(&year).unwrap();
        let other = file(&year, 10);
        let detour = year.join("../a.csv");
        for (path, rows) in [(&other, 10), (&path, 0), (&other, 0), (&detour, 0)] {
            let report = import(&log).import(path, &mut |_| true).unwrap();
            assert_eq!((report.tally.rows, report.already_imported), (rows, rows == 0));
        }
    }

    /// What the values in a topic of readings are, each with its subject.
    fn values(log: &MemoryLog) -> Vec<(String, f64)> {
        let found = records(log, AQI_READINGS);
        let values = found.iter().flat_map(|(bytes, times)| {
            let event: Reading<'_> = wire::read(bytes, &wire::SchemaIds::default()).unwrap();
            std::iter::repeat_n((event.origin.to_owned(), event.value), *times)
        });
        let mut values: Vec<_> = values.collect();
        values.sort_by(|a, b| a.partial_cmp(b).unwrap());
        values
    }

    #[test]
    fn a_row_that_the_file_ends_in_is_read_again_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        let at = |line: u64, value: f64| (format!("a.csv:{line}"), value);
        for (rows_at_once, fault) in
            [(BATCH_ROWS, None), (1, None), (1, Some(Fault::Abort)), (2, Some(Fault::LostRequest))]
        {
            let log = log();
            let import = || import(&log).rows_at_once(rows_at_once);
            let mut commits = 0;
            log.fail_commits(move |_| {
                commits += 1;
                fault.filter(|_| commits == 2)
            });
            std::fs::write(&path, "s,v\nX,1\nX,12").unwrap();
            let report = import().import(&path, &mut |_| true).unwrap();
            assert_eq!(report.tally.rows, 2, "{rows_at_once} {fault:?}");
            assert_eq!(values(&log), [at(2, 1.0), at(3, 12.0)], "{rows_at_once} {fault:?}");
            let report = import().import(&path, &mut |_| true).unwrap();
            assert!(report.already_imported);

            let mut grown = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            grown.write_all(b"34\nX,5\n").unwrap();
            let report = import().import(&path, &mut |_| true).unwrap();
            assert_eq!((report.tally.rows, report.resumed_at.map(|m| m.rows)), (2, Some(1)));
            let wanted = [at(2, 1.0), at(3, 12.0), at(3, 1234.0), at(4, 5.0)];
            assert_eq!(values(&log), wanted, "{rows_at_once} {fault:?}");
        }
    }

    #[test]
    fn so_is_a_json_line_and_a_quoted_row() {
        let json = SOURCE.replace("csv", "json-lines");
        let (one, half) = ("{\"s\":\"X\",\"v\":1}\n", "{\"s\":\"X\",\"v\":12");
        for (source, begin, half, rest) in
            [(json.as_str(), one, half, "34}\n"), (SOURCE, "s,v,n\nX,1,\n", "X,12,\"Y\nZ", "\"\n")]
        {
            let directory = tempfile::tempdir().unwrap();
            let (path, log) = (directory.path().join("a"), log());
            let import = || Import::new(log.clone(), &config(source), Arc::new(|| Micros(5)));
            std::fs::write(&path, format!("{begin}{half}")).unwrap();
            import().unwrap().import(&path, &mut |_| true).unwrap();
            std::fs::write(&path, format!("{begin}{half}{rest}")).unwrap();
            let report = import().unwrap().import(&path, &mut |_| true).unwrap();
            assert_eq!((report.tally.rows, report.tally.dead_letters), (1, 0), "{half}");
        }
    }

    #[test]
    fn packed_files_are_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv.gz");
        let out = std::fs::File::create(&path).unwrap();
        let mut packer = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
        packer.write_all(b"s,v\nx,1\n").unwrap();
        packer.finish().unwrap();
        let report = import(&log()).import(&path, &mut |_| true).unwrap();
        assert_eq!(report.tally.events, 1);
    }
}
