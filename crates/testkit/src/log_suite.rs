//! What every log promises, promise by promise. The embedded log, the one in memory and Kafka are
//! held to it by the same code, so nothing here knows which of them it talks to. Topics are named
//! after the promise, because a cluster is not made anew for each.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::partition::partition_of;
use tocsin_domain::topics::{DataClass, Keep, Retention, Topic};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::{
    Batch, CommitError, Log, LogError, Polled, Span, Transaction, Worker, WorkerSpec,
};

/// Makes a log that the promise has for itself, or gives access to a shared one.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Log>;
/// An error that the log gave where it should not have. What is wrong otherwise is asserted.
pub type Outcome = Result<(), Box<dyn Error>>;
/// One promise.
pub type Promise = fn(Make<'_>) -> Outcome;

/// What the topics of the suite keep.
const FOR_EVER: Retention = Retention::Keep(Keep::ForEver);
/// Longer than anything takes; only a promise that is broken waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every promise with its name.
pub const ALL: &[(&str, Promise)] = &[
    ("what was committed is read in order", committed_is_read_in_order),
    ("a key's partition is the one of Java's producer", keys_have_their_partition),
    ("what was not committed is not visible", uncommitted_is_invisible),
    ("outputs and progress are one", outputs_and_progress_are_one),
    ("an empty commit is nothing", empty_commit_is_nothing),
    ("rewind delivers exactly what was not committed", rewind_delivers_the_uncommitted),
    ("a group goes on where it has committed", group_goes_on),
    ("two groups are independent", groups_are_independent),
    ("a second worker fences the first", second_worker_fences),
    ("a tombstone is a record", tombstones_are_records),
    ("offsets grow, and times stay", offsets_grow),
    ("a read begins in the middle", reads_begin_anywhere),
    ("offsets outside are refused", outside_is_refused),
    ("topics that do not exist are refused", unknown_is_refused),
    ("the number of partitions cannot change", partitions_cannot_change),
    ("inputs need equally many partitions", inputs_match),
    ("a poll and a wait end with a commit", commits_wake),
    ("a waker ends a poll", waker_wakes),
    ("large records and many small ones", large_and_many),
    ("a poll is fair and bounded", polls_are_fair),
    ("writers on four threads lose nothing", concurrent_writers),
];

/// Holds a log to every promise.
pub fn run(make: Make<'_>) {
    for (name, promise) in ALL {
        let outcome = promise(make);
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}

/// A topic with nothing but a name, partitions and a retention.
pub fn topic(name: &str, partitions: u32, retention: Retention) -> Topic {
    Topic {
        name: name.into(),
        purpose: "a test".into(),
        key: "anything".into(),
        why: "order".into(),
        partitions,
        retention,
        schema: None,
        data_class: DataClass::Internal,
        writers: Vec::new(),
        readers: Vec::new(),
        allowed_lateness: Duration::ZERO,
    }
}

/// A log with one topic, and a worker that only produces.
struct Bench {
    log: Arc<dyn Log>,
    topic: Arc<str>,
    partitions: u32,
    producer: Box<dyn Worker>,
}

/// Key and value, as text.
type Pair = (String, Option<String>);

impl Bench {
    fn new(make: Make<'_>, name: &str, partitions: u32) -> Result<Bench, LogError> {
        let log = make();
        log.create_topics(&[&topic(name, partitions, FOR_EVER)])?;
        let spec = WorkerSpec { id: format!("{name}.producer"), ..Default::default() };
        let producer = log.worker(&spec)?;
        Ok(Bench { log, topic: name.into(), partitions, producer })
    }

    fn at(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition }
    }

    /// A transaction with these keys, whose values are `v` and the key.
    fn transaction(&self, keys: impl IntoIterator<Item = String>) -> Transaction {
        let mut work = Transaction { time: Micros(1_700_000_000_000_000), ..Default::default() };
        let topic = work.register(&self.topic, self.partitions);
        for key in keys {
            work.to(topic, key.as_bytes()).push(key.as_bytes(), Some(format!("v{key}").as_bytes()));
        }
        work
    }

    fn put(&mut self, keys: impl IntoIterator<Item = String>) -> Outcome {
        let mut work = self.transaction(keys);
        Ok(self.producer.commit(&mut work)?)
    }

    fn consumer(&self, id: &str, group: &str) -> Result<Box<dyn Worker>, LogError> {
        let (id, group) = (format!("{}.{id}", self.topic), format!("{}.{group}", self.topic));
        self.log.worker(&WorkerSpec { id, group, inputs: vec![self.topic.clone()] })
    }

    /// Everything in a partition.
    fn all(&self, partition: u32) -> Result<Vec<Pair>, LogError> {
        let at = self.at(partition);
        let Span { start, end } = self.log.span(&at)?;
        let (mut found, mut from) = (Vec::new(), start);
        while from < end {
            let batch = self.log.read(&at, from, 1 << 20)?;
            assert!(batch.next > from, "a read at {from} of {at} does not get further");
            from = batch.next;
            found.extend(pairs(&batch));
        }
        Ok(found)
    }
}

fn pairs(batch: &Batch) -> Vec<Pair> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    batch.records().map(|record| (text(record.key), record.value.map(text))).collect()
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

fn with_values(keys: impl Iterator<Item = String>) -> Vec<Pair> {
    keys.map(|key| (key.clone(), Some(format!("v{key}")))).collect()
}

/// Polls until there are `wanted` records.
fn take(worker: &mut dyn Worker, wanted: usize) -> Result<Vec<Batch>, LogError> {
    let (mut batches, mut found, begun) = (Vec::new(), 0, Instant::now());
    while found < wanted {
        assert!(begun.elapsed() < PATIENCE, "{found} records came, {wanted} should have");
        if let Polled::Records(records) = worker.poll(10_000, Duration::from_secs(1))? {
            found += records.iter().map(|batch| batch.records().count()).sum::<usize>();
            batches.extend(records);
        }
    }
    Ok(batches)
}

/// [`take`], as pairs.
fn taken(worker: &mut dyn Worker, wanted: usize) -> Result<Vec<Pair>, LogError> {
    Ok(take(worker, wanted)?.iter().flat_map(pairs).collect())
}

fn committed_is_read_in_order(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "order", 1)?;
    for i in 0..10 {
        bench.put(numbers(i * 10..i * 10 + 10))?;
    }
    assert_eq!(bench.all(0)?, with_values(numbers(0..100)));
    let mut consumer = bench.consumer("c", "g")?;
    assert_eq!(taken(&mut *consumer, 100)?, with_values(numbers(0..100)));
    Ok(())
}

fn keys_have_their_partition(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "partition", 8)?;
    bench.put(numbers(0..200))?;
    let mut records = 0;
    for partition in 0..8 {
        for (key, _) in bench.all(partition)? {
            assert_eq!(partition_of(key.as_bytes(), 8), partition, "{key}");
            records += 1;
        }
    }
    assert_eq!(records, 200);
    Ok(())
}

fn uncommitted_is_invisible(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "invisible", 1)?;
    let mut dropped = bench.transaction(numbers(0..3));
    assert_eq!(dropped.records(), 3);
    dropped.clear();
    bench.producer.commit(&mut dropped)?;
    drop(bench.transaction(numbers(3..6)));
    bench.producer.rewind()?;
    bench.put(numbers(6..9))?;
    assert_eq!(bench.all(0)?, with_values(numbers(6..9)));
    Ok(())
}

fn outputs_and_progress_are_one(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "one", 1)?;
    let outputs = topic("one.outputs", 1, FOR_EVER);
    bench.log.create_topics(&[&outputs])?;
    bench.put(numbers(0..4))?;
    let mut worker = bench.consumer("c", "g")?;
    let next = take(&mut *worker, 4)?.last().map_or(0, |batch| batch.next);
    let mut work = Transaction { time: Micros(5), ..Default::default() };
    let output = work.register("one.outputs", 1);
    work.to(output, b"k").push(b"k", Some(b"v"));
    work.progress.insert(bench.at(0), next);
    let output_at = TopicPartition::new("one.outputs", 0);
    let before = bench.log.span(&output_at)?;
    assert_eq!((worker.committed(&bench.at(0))?, before.start), (None, before.end));
    worker.commit(&mut work)?;
    assert!(work.is_empty(), "a transaction that was committed is cleared");
    assert_eq!(worker.committed(&bench.at(0))?, Some(next));
    assert_eq!(pairs(&bench.log.read(&output_at, 0, 1 << 20)?), [("k".into(), Some("v".into()))]);
    Ok(())
}

fn empty_commit_is_nothing(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "empty", 2)?;
    bench.put([])?;
    for partition in 0..2 {
        assert_eq!(bench.log.span(&bench.at(partition))?, Span { start: 0, end: 0 });
    }
    Ok(())
}

fn rewind_delivers_the_uncommitted(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "rewind", 1)?;
    bench.put(numbers(0..10))?;
    let mut worker = bench.consumer("c", "g")?;
    assert_eq!(taken(&mut *worker, 10)?.len(), 10);
    worker.rewind()?;
    let again = take(&mut *worker, 10)?;
    assert_eq!(again.iter().flat_map(pairs).count(), 10);
    let sixth = again.iter().flat_map(Batch::records).nth(6).map_or(0, |record| record.offset);
    let mut work = Transaction::default();
    work.progress.insert(bench.at(0), sixth);
    worker.commit(&mut work)?;
    worker.rewind()?;
    assert_eq!(taken(&mut *worker, 4)?, with_values(numbers(6..10)));
    Ok(())
}

fn group_goes_on(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "restart", 1)?;
    bench.put(numbers(0..5))?;
    let mut first = bench.consumer("c", "g")?;
    let next = take(&mut *first, 5)?.last().map_or(0, |batch| batch.next);
    let mut work = Transaction::default();
    work.progress.insert(bench.at(0), next);
    first.commit(&mut work)?;
    drop(first);
    bench.put(numbers(5..8))?;
    let mut second = bench.consumer("c", "g")?;
    assert_eq!(second.committed(&bench.at(0))?, Some(next));
    assert_eq!(taken(&mut *second, 3)?, with_values(numbers(5..8)));
    Ok(())
}

fn groups_are_independent(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "groups", 1)?;
    bench.put(numbers(0..5))?;
    let (mut one, mut two) = (bench.consumer("a", "one")?, bench.consumer("b", "two")?);
    let next = take(&mut *one, 5)?.last().map_or(0, |batch| batch.next);
    let mut work = Transaction::default();
    work.progress.insert(bench.at(0), next);
    one.commit(&mut work)?;
    assert_eq!(two.committed(&bench.at(0))?, None);
    assert_eq!(taken(&mut *two, 5)?.len(), 5);
    Ok(())
}

fn second_worker_fences(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "fence", 1)?;
    bench.put(numbers(0..1))?;
    let id = "fence.producer".to_owned();
    let mut second = bench.log.worker(&WorkerSpec { id, ..Default::default() })?;
    let mut fenced = bench.transaction(numbers(1..2));
    fenced.progress.insert(bench.at(0), 1);
    let refused = bench.producer.commit(&mut fenced);
    assert!(matches!(refused, Err(CommitError::Fatal(_))), "{refused:?}");
    second.commit(&mut bench.transaction(numbers(2..3)))?;
    let visible: Vec<_> = bench.all(0)?.into_iter().map(|(key, _)| key).collect();
    assert_eq!(visible, ["0", "2"]);
    Ok(())
}

fn tombstones_are_records(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "tombstone", 1)?;
    let mut work = bench.transaction([]);
    for value in [Some(&b"v"[..]), None, Some(b"")] {
        work.to_partition(0, 0).push(b"k", value);
    }
    bench.producer.commit(&mut work)?;
    let values: Vec<_> = bench.all(0)?.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [Some("v".into()), None, Some(String::new())]);
    Ok(())
}

fn offsets_grow(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "grow", 1)?;
    let mut positions = Vec::new();
    for i in 0..5 {
        let mut work = bench.transaction(numbers(i * 3..i * 3 + 3));
        work.time = Micros(1_700_000_000_000_000 + i64::from(i) * 1000);
        bench.producer.commit(&mut work)?;
        let Span { start, end } = bench.log.span(&bench.at(0))?;
        let mut from = start;
        positions.clear();
        while from < end {
            let batch = bench.log.read(&bench.at(0), from, 1 << 20)?;
            positions.extend(batch.records().map(|record| (record.offset, record.time)));
            from = batch.next;
        }
        assert_eq!(positions.len() as u32, (i + 1) * 3);
        assert!(positions.iter().all(|(offset, _)| *offset < end));
    }
    assert!(positions.is_sorted_by(|a, b| a.0 < b.0), "{positions:?}");
    for (i, (_, time)) in (0..).zip(&positions) {
        assert_eq!(time.0, 1_700_000_000_000_000 + i / 3 * 1000);
    }
    Ok(())
}

fn reads_begin_anywhere(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "middle", 1)?;
    bench.put(numbers(0..20))?;
    bench.put(numbers(20..40))?;
    let at = bench.at(0);
    let Span { start, end } = bench.log.span(&at)?;
    let whole = bench.log.read(&at, start, 1 << 20)?;
    let offsets: Vec<_> = whole.records().map(|record| record.offset).collect();
    for (i, offset) in (0..).zip(offsets) {
        let batch = bench.log.read(&at, offset, 1)?;
        assert_eq!(batch.records().next().map(|record| record.offset), Some(offset));
        assert_eq!(pairs(&batch)[0].0, i.to_string());
    }
    let nothing = bench.log.read(&at, end, 1 << 20)?;
    assert_eq!((nothing.records().count(), nothing.next), (0, end));
    Ok(())
}

fn outside_is_refused(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "outside", 1)?;
    bench.put(numbers(0..3))?;
    let Span { start, end } = bench.log.span(&bench.at(0))?;
    let refused = bench.log.read(&bench.at(0), end + 1, 1 << 20);
    let Err(LogError::OutOfRange { offset, start: first, end: last, .. }) = refused else {
        return Err(format!("a read after the end gave {refused:?}").into());
    };
    assert_eq!((offset, first, last), (end + 1, start, end));
    Ok(())
}

fn unknown_is_refused(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "unknown", 2)?;
    let nowhere = TopicPartition::new("unknown.nowhere", 0);
    let answers = [
        bench.log.partitions("unknown.nowhere").map(drop),
        bench.log.span(&nowhere).map(drop),
        bench.log.read(&nowhere, 0, 1).map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(LogError::UnknownTopic(_))), "{answer:?}");
    }
    let third = bench.log.span(&bench.at(2));
    assert!(matches!(third, Err(LogError::UnknownPartition(_))), "{third:?}");
    let mut work = bench.transaction(numbers(0..1));
    let topic = work.register("unknown.nowhere", 1);
    work.to(topic, b"k").push(b"k", None);
    assert!(bench.producer.commit(&mut work).is_err());
    assert_eq!([bench.all(0)?, bench.all(1)?].concat(), []);
    Ok(())
}

fn partitions_cannot_change(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "fixed", 2)?;
    bench.log.create_topics(&[&topic("fixed", 2, FOR_EVER)])?;
    let others = [topic("fixed.new", 1, FOR_EVER), topic("fixed", 3, FOR_EVER)];
    let refused = bench.log.create_topics(&[&others[0], &others[1]]);
    let as_said = matches!(refused, Err(LogError::Partitions { found: 2, wanted: 3, .. }));
    assert!(as_said, "{refused:?}");
    assert_eq!(bench.log.partitions("fixed")?, 2);
    Ok(())
}

fn inputs_match(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "inputs", 2)?;
    bench.log.create_topics(&[&topic("inputs.other", 3, FOR_EVER)])?;
    let inputs = vec!["inputs".into(), "inputs.other".into()];
    let spec = WorkerSpec { id: "inputs.w".into(), group: "inputs.g".into(), inputs };
    assert!(bench.log.worker(&spec).is_err());
    Ok(())
}

fn commits_wake(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "wake", 1)?;
    let mut worker = bench.consumer("c", "g")?;
    let mut reader = 0;
    for round in 0..20 {
        let polling = std::thread::spawn(move || {
            let found = take(&mut *worker, 1).map(|batches| batches.len());
            (worker, found)
        });
        bench.put(numbers(round..round + 1))?;
        let (back, found) = polling.join().map_err(|_| "the poll panicked")?;
        worker = back;
        assert_eq!(found?, 1);
        let seen = bench.log.wait(reader, PATIENCE);
        assert!(seen > reader, "nothing was seen after {reader}");
        reader = seen;
    }
    Ok(())
}

fn waker_wakes(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "waker", 1)?;
    let mut worker = bench.consumer("c", "g")?;
    while !matches!(worker.poll(1, Duration::from_millis(10))?, Polled::Records(_)) {}
    let (waker, begun) = (worker.waker(), Instant::now());
    let waking = std::thread::spawn(move || waker());
    worker.poll(1, PATIENCE)?;
    assert!(begun.elapsed() < PATIENCE / 2, "the poll was not woken");
    waking.join().map_err(|_| "the waker panicked")?;
    Ok(())
}

fn large_and_many(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "sizes", 2)?;
    let large = "x".repeat(900 << 10);
    let mut work = bench.transaction([]);
    for key in numbers(0..4) {
        work.to_partition(0, 0).push(key.as_bytes(), Some(large.as_bytes()));
    }
    for key in numbers(0..50_000) {
        work.to_partition(0, 1).push(key.as_bytes(), Some(b"s"));
    }
    bench.producer.commit(&mut work)?;
    let larges = bench.all(0)?;
    assert_eq!(larges.len(), 4);
    assert!(larges.iter().all(|(_, value)| value.as_deref() == Some(large.as_str())));
    assert!(bench.all(1)?.into_iter().map(|(key, _)| key).eq(numbers(0..50_000)));
    let mut worker = bench.consumer("c", "g")?;
    assert_eq!(taken(&mut *worker, 50_004)?.len(), 50_004);
    Ok(())
}

fn polls_are_fair(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "fair", 4)?;
    for round in 0..5 {
        bench.put(numbers(round * 4000..round * 4000 + 4000))?;
    }
    let mut worker = bench.consumer("c", "g")?;
    let (mut partitions, mut found) = (Vec::new(), 0);
    let begun = Instant::now();
    while found < 20_000 && begun.elapsed() < PATIENCE {
        if let Polled::Records(batches) = worker.poll(100, Duration::from_secs(1))? {
            let records: usize = batches.iter().map(|batch| batch.records().count()).sum();
            assert!(records <= 100 + 4096, "a poll for 100 brought {records}");
            found += records;
            partitions.extend(batches.iter().map(|batch| batch.partition));
        }
    }
    assert_eq!(found, 20_000);
    let last_first = (0..4).map(|p| partitions.iter().position(|seen| *seen == p)).max().flatten();
    assert!(last_first < Some(partitions.len() / 2 + 4), "one starves: {partitions:?}");
    Ok(())
}

fn concurrent_writers(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "writers", 2)?;
    let mut threads = Vec::new();
    for writer in 0..4 {
        let id = format!("writers.{writer}");
        let mut worker = bench.log.worker(&WorkerSpec { id, ..Default::default() })?;
        let keys = move |i: u32| numbers(writer * 1000 + i * 10..writer * 1000 + i * 10 + 10);
        let mut works: Vec<_> = (0..25).map(|i| bench.transaction(keys(i))).collect();
        threads.push(std::thread::spawn(move || {
            works.iter_mut().try_for_each(|work| {
                loop {
                    match worker.commit(work) {
                        Err(CommitError::Retriable(_)) => {}
                        done => return done,
                    }
                }
            })
        }));
    }
    for thread in threads {
        thread.join().map_err(|_| "a writer panicked")??;
    }
    let mut keys: Vec<u32> = Vec::new();
    for (key, _) in [bench.all(0)?, bench.all(1)?].concat() {
        keys.push(key.parse()?);
    }
    keys.sort_unstable();
    let expected: Vec<u32> = (0..4).flat_map(|w| w * 1000..w * 1000 + 250).collect();
    assert_eq!(keys, expected);
    Ok(())
}
