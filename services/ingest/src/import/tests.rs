//! Imports of real files, killed, repeated and resumed at every place.

use super::*;
use crate::sources::testing::config;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;
use tocsin_domain::event::Reading;
use tocsin_domain::topics::{AQI_READINGS, DEAD_LETTERS, Topic, Topics};
use tocsin_domain::{TopicPartition, wire};
use tocsin_stream::memory::{Fault, MemoryLog};
use tocsin_stream::{Batch as Chunks, LogError, Span, Worker};

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
