//! The embedded log and the one in memory keep the contract; and what only a log on a disk can
//! promise: a death at any moment, damage, retention, compaction, two processes on one file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tocsin_domain::topics::{Keep, Retention};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::embedded::{DirectoryLock, EmbeddedLog, Options};
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::{Log, LogError, Span, Transaction, Worker, WorkerSpec};
use tocsin_testkit::log_suite::{self, topic};

const FOR_EVER: Retention = Retention::Keep(Keep::ForEver);
const HOUR: Duration = Duration::from_secs(3600);
/// The time of the first transaction of a test.
const BEGIN: Micros = Micros(1_700_000_000_000_000);

#[test]
fn memory_keeps_the_contract() {
    log_suite::run(&|| MemoryLog::new());
}

#[test]
fn embedded_keeps_the_contract() {
    let kept = std::cell::RefCell::new(Vec::new());
    log_suite::run(&|| {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        kept.borrow_mut().push(dir);
        log
    });
}

fn open(dir: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(dir, Options { compact_from: 0, ..Options::default() }).unwrap()
}

/// A new log with one topic of one partition, called `t`.
fn log_with(retention: Retention) -> (TempDir, Arc<EmbeddedLog>, Box<dyn Worker>) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topics(&[&topic("t", 1, retention)]).unwrap();
    let worker = producer(&*log, "w");
    (dir, log, worker)
}

fn producer(log: &dyn Log, id: &str) -> Box<dyn Worker> {
    log.worker(&WorkerSpec { id: id.into(), group: id.into(), inputs: vec![] }).unwrap()
}

fn put(worker: &mut dyn Worker, time: Micros, records: &[(&str, Option<&str>)]) {
    let mut work = Transaction::default();
    work.time = time;
    let topic = work.register("t", 1);
    for (key, value) in records {
        work.to(topic, key.as_bytes()).push(key.as_bytes(), value.map(str::as_bytes));
    }
    worker.commit(&mut work).unwrap();
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// Offset, key and value of everything in a partition.
type Row = (u64, String, Option<String>);

fn all(log: &dyn Log, at: &TopicPartition) -> Vec<Row> {
    let Span { start, end } = log.span(at).unwrap();
    let (mut rows, mut from) = (Vec::new(), start);
    while from < end {
        let batch = log.read(at, from, 1 << 18).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        rows.extend(batch.records().map(|r| (r.offset, text(r.key), r.value.map(text))));
        from = batch.next;
    }
    rows
}

#[test]
fn opened_again_it_has_everything() {
    let (dir, log, mut worker) = log_with(FOR_EVER);
    put(&mut *worker, BEGIN, &[("a", Some("1")), ("b", None)]);
    let mut work = Transaction::default();
    work.progress.insert(at("t", 0), 2);
    worker.commit(&mut work).unwrap();
    let before = all(&*log, &at("t", 0));
    drop((worker, log));
    let log = open(dir.path());
    assert_eq!(all(&*log, &at("t", 0)), before);
    let mut worker = producer(&*log, "w");
    assert_eq!(worker.committed(&at("t", 0)).unwrap(), Some(2));
    put(&mut *worker, BEGIN, &[("c", None)]);
    assert_eq!(all(&*log, &at("t", 0))[2].0, 2);
}

#[test]
fn damaged_bytes_are_found() {
    let (dir, log, mut worker) = log_with(FOR_EVER);
    put(&mut *worker, BEGIN, &[("k", Some("needle in a haystack"))]);
    drop((worker, log));
    let file = dir.path().join("log.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let found = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[found] = b'N';
    std::fs::write(&file, bytes).unwrap();
    let refused = open(dir.path()).read(&at("t", 0), 0, 1 << 20);
    let damaged = matches!(refused, Err(LogError::Damaged { offset: 0, .. }));
    assert!(damaged, "{refused:?}");
}

#[test]
fn a_file_that_is_no_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log.db"), "not a database, only some text ".repeat(99))
        .unwrap();
    let refused = EmbeddedLog::open(dir.path(), Options::default());
    assert!(matches!(refused.err(), Some(LogError::Refused(_))));
}

#[test]
fn retention_moves_the_start_and_never_skips_silently() {
    let (dir, log, mut worker) = log_with(Retention::Keep(Keep::For(HOUR)));
    for i in 0..10 {
        put(&mut *worker, BEGIN.plus(HOUR * i), &[("k", Some("v"))]);
    }
    assert_eq!(log.clean(BEGIN.plus(HOUR * 5)).unwrap().expired, 4);
    assert_eq!(log.span(&at("t", 0)).unwrap(), Span { start: 4, end: 10 });
    let refused = log.read(&at("t", 0), 3, 1);
    assert!(matches!(refused, Err(LogError::OutOfRange { start: 4, .. })), "{refused:?}");
    assert_eq!(all(&*log, &at("t", 0)).len(), 6);
    // Even when nothing is left, offsets go on.
    assert_eq!(log.clean(BEGIN.plus(HOUR * 99)).unwrap().expired, 6);
    drop((worker, log));
    let log = open(dir.path());
    assert_eq!(log.span(&at("t", 0)).unwrap(), Span { start: 10, end: 10 });
    put(&mut *producer(&*log, "w"), BEGIN, &[("k", None)]);
    assert_eq!(all(&*log, &at("t", 0))[0].0, 10);
}

#[test]
fn compaction_keeps_the_newest_of_each_key_where_it_was() {
    let (_dir, log, mut worker) = log_with(Retention::Compact);
    let mut newest = BTreeMap::new();
    for i in 0..2000_u64 {
        let (key, value) = (format!("k{}", i * 7 % 50), i.to_string());
        put(&mut *worker, BEGIN.plus(Duration::from_micros(i)), &[(&key, Some(&value))]);
        newest.insert(key.clone(), (i, key, Some(value)));
    }
    put(&mut *worker, BEGIN, &[("k7", None), ("k8", None)]);
    newest.insert("k7".into(), (2000, "k7".into(), None));
    newest.insert("k8".into(), (2001, "k8".into(), None));
    let half_way = log.read(&at("t", 0), 0, 1).unwrap().next;
    let cleaned = log.clean(BEGIN.plus(HOUR)).unwrap();
    assert_eq!(cleaned.superseded, 2002 - 50);
    let mut expected: Vec<Row> = newest.into_values().collect();
    expected.sort();
    assert_eq!(all(&*log, &at("t", 0)), expected);
    assert_eq!(log.span(&at("t", 0)).unwrap(), Span { start: 0, end: 2002 });
    // A reader that stood in the middle reads on, and every offset can still be read from.
    assert!(log.read(&at("t", 0), half_way, 1).unwrap().next > half_way);
    for from in 0..=2002 {
        let first = log.read(&at("t", 0), from, 1).unwrap().records().next().map(|r| r.offset);
        let next = expected.iter().map(|row| row.0).find(|offset| *offset >= from);
        assert_eq!(first, next, "from {from}");
    }
    // A day later the tombstones go, with the next round that pays.
    put(&mut *worker, BEGIN.plus(HOUR * 30), &[("new", Some(&"x".repeat(5000)))]);
    assert_eq!(log.clean(BEGIN.plus(HOUR * 30)).unwrap().superseded, 2);
    assert_eq!(log.clean(BEGIN.plus(HOUR * 30)).unwrap(), Default::default());
    assert!(all(&*log, &at("t", 0)).iter().all(|(_, _, value)| value.is_some()));
}

#[test]
fn what_a_tombstone_deleted_stays_deleted_when_chunks_were_joined() {
    let (_dir, log, mut worker) = log_with(Retention::Compact);
    let big = "x".repeat(100_000);
    put(&mut *worker, BEGIN, &[("deleted", Some("1")), ("big", Some(&big))]);
    log.clean(BEGIN).unwrap();
    put(&mut *worker, BEGIN, &[("deleted", None)]);
    for i in 0..300 {
        put(&mut *worker, BEGIN, &[(&i.to_string(), Some("v"))]);
    }
    // Too little is new to compact, but enough to join it with what is compacted already.
    let joined = log.clean(BEGIN).unwrap();
    assert_eq!((joined.superseded, joined.merged), (0, 302));
    put(&mut *worker, BEGIN, &[("big", Some(&big)), ("bigger", Some(&big))]);
    assert_eq!(log.clean(BEGIN.plus(HOUR * 30)).unwrap().superseded, 3);
    assert!(all(&*log, &at("t", 0)).iter().all(|(_, key, _)| key != "deleted"));
}

#[test]
fn small_chunks_are_joined_and_read_the_same() {
    let (_dir, log, mut worker) = log_with(FOR_EVER);
    for i in 0..700 {
        put(&mut *worker, BEGIN, &[(&i.to_string(), Some("v")), ("k", None)]);
    }
    let before = all(&*log, &at("t", 0));
    assert_eq!(log.read(&at("t", 0), 0, 1 << 20).unwrap().chunks.len(), 700);
    assert_eq!(log.clean(BEGIN).unwrap().merged, 700);
    assert_eq!(log.read(&at("t", 0), 0, 1 << 20).unwrap().chunks.len(), 1);
    assert_eq!(all(&*log, &at("t", 0)), before);
    assert_eq!(log.read(&at("t", 0), 699, 1).unwrap().records().next().unwrap().offset, 699);
    assert_eq!(log.clean(BEGIN).unwrap().merged, 0);
}

#[test]
fn readers_are_not_disturbed_by_cleaning() {
    let (_dir, log, mut worker) = log_with(FOR_EVER);
    let reader = log.clone();
    let reading = std::thread::spawn(move || {
        let mut from = 0;
        while from < 6000 {
            let batch = reader.read(&at("t", 0), from, 1).unwrap();
            assert!(batch.records().map(|record| record.offset).eq(from..batch.next));
            from = batch.next;
        }
    });
    for i in 0..6000 {
        put(&mut *worker, BEGIN, &[("k", Some("v"))]);
        if i % 500 == 0 {
            log.clean(BEGIN).unwrap();
        }
    }
    reading.join().unwrap();
}

#[test]
fn a_second_service_on_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = DirectoryLock::take(dir.path()).unwrap();
    let refused = DirectoryLock::take(dir.path()).unwrap_err().to_string();
    assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
}

/// Set for the processes that the tests below start; says how to call the worker.
const CHILD: &str = "TOCSIN_TEST_CHILD";
const CHILD_DIR: &str = "TOCSIN_TEST_CHILD_DIR";

fn child(dir: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_appends", "--nocapture", "--test-threads=1"])
        .envs([(CHILD, name), (CHILD_DIR, dir.to_str().unwrap())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test but the process that the others kill: appends for ever, each transaction to two
/// partitions and a compacted topic, cleans at times, and says what was acknowledged.
#[test]
fn child_appends() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let log = open(Path::new(&std::env::var(CHILD_DIR).unwrap()));
    let mut worker = producer(&*log, &name);
    let first = worker.committed(&at(&name, 0)).unwrap().unwrap_or(0);
    for i in first..first + 500 {
        let mut work = Transaction::default();
        work.time = Micros(i as i64);
        let (events, state) = (work.register(&name, 2), work.register("state", 1));
        let text = i.to_string();
        for record in 0..40 {
            let partition = record % 2;
            work.to_partition(events, partition).push(text.as_bytes(), Some(&[b'v'; 300]));
        }
        let key = format!("{name}{}", i % 10);
        work.to_partition(state, 0).push(key.as_bytes(), Some(text.as_bytes()));
        work.progress.insert(at(&name, 0), i + 1);
        worker.commit(&mut work).unwrap();
        writeln!(std::io::stdout(), "acknowledged {i}").unwrap();
        if i % 5 == 0 {
            let _ = log.clean(BEGIN);
        }
    }
}

fn acknowledged(line: &str) -> Option<u64> {
    line.split_once("acknowledged ")?.1.trim().parse().ok()
}

/// How many transactions of `name` there are; each must be whole.
fn whole_transactions(log: &dyn Log, name: &str) -> u64 {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for partition in 0..2 {
        for (_, key, value) in all(log, &at(name, partition)) {
            assert_eq!(value.unwrap().len(), 300);
            *counts.entry(key.parse().unwrap()).or_default() += 1;
        }
    }
    assert!(counts.keys().copied().eq(0..counts.len() as u64), "{counts:?}");
    assert!(counts.values().all(|count| *count == 40), "{counts:?}");
    let state: BTreeMap<_, _> =
        all(log, &at("state", 0)).into_iter().map(|(_, key, value)| (key, value)).collect();
    for i in (counts.len() as u64).saturating_sub(10)..counts.len() as u64 {
        assert_eq!(state.get(&format!("{name}{}", i % 10)), Some(&Some(i.to_string())));
    }
    counts.len() as u64
}

fn log_for_children(dir: &Path, names: &[&str]) {
    let log = open(dir);
    log.create_topics(&[&topic("state", 1, Retention::Compact)]).unwrap();
    for name in names {
        log.create_topics(&[&topic(name, 2, FOR_EVER)]).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    log_for_children(dir.path(), &["a"]);
    let mut last = None;
    for kill in 0..40 {
        let mut process = child(dir.path(), "a");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let wanted = kill * 7 % 13 + 1;
        let mut seen = 0;
        for line in lines.by_ref().map_while(Result::ok) {
            last = acknowledged(&line).or(last);
            seen += u32::from(acknowledged(&line).is_some());
            if seen == wanted {
                break;
            }
        }
        process.kill().unwrap();
        process.wait().unwrap();
        last = lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)).last().or(last);
        let log = open(dir.path());
        let visible = whole_transactions(&*log, "a");
        assert!(Some(visible) > last, "{visible} are visible, {last:?} was acknowledged");
        let progress = producer(&*log, "a").committed(&at("a", 0)).unwrap();
        assert_eq!(progress, Some(visible), "progress and outputs differ");
    }
    assert!(last > Some(150), "the processes hardly came to work: {last:?}");
}

#[test]
fn two_processes_append_to_one_file() {
    let dir = tempfile::tempdir().unwrap();
    log_for_children(dir.path(), &["a", "b"]);
    let log = open(dir.path());
    let spec =
        WorkerSpec { id: "r".into(), group: "r".into(), inputs: vec!["a".into(), "b".into()] };
    let mut reader = log.worker(&spec).unwrap();
    let processes = ["a", "b"].map(|name| child(dir.path(), name));
    assert!(matches!(reader.poll(1, Duration::ZERO), Ok(tocsin_stream::Polled::Assigned(_))));
    reader.open(&[0, 1]);
    // This process sees what the others commit while they do.
    let mut records = 0;
    while records < 2 * 500 * 40 {
        if let tocsin_stream::Polled::Records(batches) =
            reader.poll(10_000, Duration::from_secs(60)).unwrap()
        {
            assert!(!batches.is_empty(), "only {records} records came");
            records += batches.iter().map(|batch| batch.records().count()).sum::<usize>();
        }
    }
    for process in processes {
        assert!(process.wait_with_output().unwrap().status.success());
    }
    for name in ["a", "b"] {
        assert_eq!(whole_transactions(&*log, name), 500);
    }
}

#[test]
fn retention_waits_for_the_slowest_group() {
    let (_dir, log, mut worker) = log_with(Retention::Keep(Keep::For(HOUR)));
    for value in ["1", "2", "3"] {
        put(&mut *worker, BEGIN, &[("a", Some(value))]);
    }
    let spec = WorkerSpec { id: "r".into(), group: "readers".into(), inputs: vec!["t".into()] };
    let mut reader = log.worker(&spec).unwrap();
    let mut progress = Transaction::default();
    progress.progress.insert(at("t", 0), 1);
    reader.commit(&mut progress).unwrap();
    let later = BEGIN.plus(HOUR * 2);
    log.clean(later).unwrap();
    assert_eq!(log.span(&at("t", 0)).unwrap(), Span { start: 1, end: 3 });
    progress.progress.insert(at("t", 0), 3);
    reader.commit(&mut progress).unwrap();
    log.clean(later).unwrap();
    assert_eq!(log.span(&at("t", 0)).unwrap(), Span { start: 3, end: 3 });
}
