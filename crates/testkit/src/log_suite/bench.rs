//! What every promise begins with: a log, a topic, a producer; and what it compares: keys and values
//! as text. It promises nothing itself.

use super::{Make, Outcome, topic};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::topics::{Keep, Retention};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::{Batch, Log, LogError, Polled, Span, Transaction, Worker, WorkerSpec};

/// What the topics of the suite keep.
pub(super) const FOR_EVER: Retention = Retention::Keep(Keep::ForEver);
/// Longer than anything takes; only a promise that is broken waits for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A log with one topic, and a worker that only produces.
pub(super) struct Bench {
    pub(super) log: Arc<dyn Log>,
    pub(super) topic: Arc<str>,
    pub(super) partitions: u32,
    pub(super) producer: Box<dyn Worker>,
}

/// Key and value, as text.
pub(super) type Pair = (String, Option<String>);

impl Bench {
    pub(super) fn new(make: Make<'_>, name: &str, partitions: u32) -> Result<Bench, LogError> {
        let (log, name) = (make(), crate::servers::unique(name));
        log.create_topics(&[&topic(&name, partitions, FOR_EVER)])?;
        let spec = WorkerSpec { id: format!("{name}.producer"), ..Default::default() };
        let producer = log.worker(&spec)?;
        Ok(Bench { log, topic: name.into(), partitions, producer })
    }

    pub(super) fn at(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition }
    }

    /// The name of another topic, worker or group of this promise.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{}.{name}", self.topic)
    }

    /// A transaction with these keys, whose values are `v` and the key.
    pub(super) fn transaction(&self, keys: impl IntoIterator<Item = String>) -> Transaction {
        let mut work = at_time(1_700_000_000_000_000);
        let topic = work.register(&self.topic, self.partitions);
        for key in keys {
            work.to(topic, key.as_bytes()).push(key.as_bytes(), Some(format!("v{key}").as_bytes()));
        }
        work
    }

    pub(super) fn put(&mut self, keys: impl IntoIterator<Item = String>) -> Outcome {
        let mut work = self.transaction(keys);
        Ok(self.producer.commit(&mut work)?)
    }

    pub(super) fn consumer(&self, id: &str, group: &str) -> Result<Box<dyn Worker>, LogError> {
        let (id, group) = (self.named(id), self.named(group));
        self.log.worker(&WorkerSpec { id, group, inputs: vec![self.topic.clone()] })
    }

    /// Everything in a partition.
    pub(super) fn all(&self, partition: u32) -> Result<Vec<Pair>, LogError> {
        let at = self.at(partition);
        let Span { start, end } = self.settled(&at)?;
        let (mut found, mut from) = (Vec::new(), start);
        while from < end {
            let batch = self.log.read(&at, from, 1 << 20)?;
            assert!(batch.next > from, "a read at {from} of {at} does not get further");
            from = batch.next;
            found.extend(pairs(&batch));
        }
        Ok(found)
    }

    /// What the partition holds once everything is decided that had been begun.
    pub(super) fn settled(&self, at: &TopicPartition) -> Result<Span, LogError> {
        let (wanted, begun) = (self.log.undecided_end(at)?, Instant::now());
        loop {
            let span = self.log.span(at)?;
            if span.end >= wanted {
                return Ok(span);
            }
            assert!(begun.elapsed() < PATIENCE, "{at} ends at {} and not at {wanted}", span.end);
        }
    }
}

pub(super) fn at_time(micros: i64) -> Transaction {
    let mut work = Transaction::default();
    work.time = Micros(micros);
    work
}

pub(super) fn pairs(batch: &Batch) -> Vec<Pair> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    batch.records().map(|record| (text(record.key), record.value.map(text))).collect()
}

pub(super) fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

pub(super) fn with_values(keys: impl Iterator<Item = String>) -> Vec<Pair> {
    keys.map(|key| (key.clone(), Some(format!("v{key}")))).collect()
}

/// One poll; what is assigned is opened, as there is no state to restore.
pub(super) fn poll(
    worker: &mut dyn Worker,
    max_records: usize,
    timeout: Duration,
) -> Result<Vec<Batch>, LogError> {
    match worker.poll(max_records, timeout)? {
        Polled::Assigned(partitions) => worker.open(&partitions),
        Polled::Revoked { .. } => {}
        Polled::Records(batches) => return Ok(batches),
    }
    Ok(Vec::new())
}

/// Polls until there are `wanted` records.
pub(super) fn take(worker: &mut dyn Worker, wanted: usize) -> Result<Vec<Batch>, LogError> {
    let (mut batches, mut found, begun) = (Vec::new(), 0, Instant::now());
    while found < wanted {
        assert!(begun.elapsed() < PATIENCE, "{found} records came, {wanted} should have");
        let records = poll(worker, 10_000, Duration::from_secs(1))?;
        found += records.iter().map(|batch| batch.records().count()).sum::<usize>();
        batches.extend(records);
    }
    Ok(batches)
}

/// [`take`], as pairs.
pub(super) fn taken(worker: &mut dyn Worker, wanted: usize) -> Result<Vec<Pair>, LogError> {
    Ok(take(worker, wanted)?.iter().flat_map(pairs).collect())
}
