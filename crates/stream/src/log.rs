//! What a log promises. The embedded log, the in-memory log and Kafka stand behind this, and one
//! contract suite holds all of them to it.
//!
//! A log has topics with partitions. A record, once committed, keeps its position; positions of a
//! partition grow and may have gaps. One transaction holds outputs, changelog and progress: either
//! all of it is visible or nothing.

use crate::chunk::ChunkBuilder;
use crate::record::Batch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::partition::partition_of;
use tocsin_domain::topics::Topic;
use tocsin_domain::{Micros, TopicPartition};

/// Topics, reads at any position, and workers that consume, process and produce.
pub trait Log: Send + Sync {
    /// Creates the topics that do not exist yet. A topic that exists with another number of
    /// partitions is an error: keys would move.
    fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError>;

    /// How many partitions the topic has.
    fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// The first offset that is kept and the offset that the next record will get.
    fn span(&self, at: &TopicPartition) -> Result<Span, LogError>;

    /// The end of each of these partitions, in their order; one question where one is enough.
    fn ends(&self, places: &[TopicPartition]) -> Result<Vec<u64>, LogError> {
        places.iter().map(|at| Ok(self.span(at)?.end)).collect()
    }

    /// Committed records from `from` on, about `max_bytes` of them and at least one if there is
    /// any. At the end of the log the batch is empty and its `next` is `from`; where compaction has
    /// left a gap, `next` may be greater than `from` without any record. An offset before the start
    /// of the log, or after its end, is [`LogError::OutOfRange`], never a silent reset.
    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError>;

    /// The end that counts transactions that are not decided yet: once a reader has come so far, it
    /// knows everything that anybody had begun to write when this was asked.
    fn undecided_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        Ok(self.span(at)?.end)
    }

    /// Somebody reads from this offset soon: what comes over a network may begin to come. The offset
    /// must be one that the partition has.
    fn fetch_ahead(&self, _at: &TopicPartition, _from: u64) {}

    /// Nobody reads on in this partition soon: what was fetched ahead may go.
    fn forget(&self, _at: &TopicPartition) {}

    /// What tells this log from others of its kind, so that what was kept of another one is not taken for
    /// its own; empty if only one can be where it is.
    fn name(&self) -> &str {
        ""
    }

    /// Returns when something was committed after `seen` was returned here, or after `timeout`; it
    /// may return for nothing. Start with 0. For readers that are not workers.
    fn wait(&self, seen: u64, timeout: Duration) -> u64;

    /// A worker. A second one with the same id fences the first: its next commit is fatal.
    fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError>;
}

/// Who works on what.
#[derive(Clone, Debug, Default)]
pub struct WorkerSpec {
    /// Stable for a slot over restarts (Kafka: the transactional id).
    pub id: String,
    /// Whose progress it is (Kafka: the consumer group).
    pub group: String,
    /// What it consumes; may be empty for one that only produces. All with as many partitions.
    pub inputs: Vec<Arc<str>>,
}

/// How long a busy log is waited for where nobody waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A consume–process–produce loop's hold on the log. Lives on one thread.
pub trait Worker: Send {
    /// The next records of the partitions that it has, at most about `max_records`; waits up to
    /// `timeout` for the first. What was polled but not committed is polled again after
    /// [`Worker::rewind`], or by the next worker.
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Polled, LogError>;

    /// The state of these partitions is there: their records may come. Until then none do, and they
    /// hold up no other partition.
    fn open(&mut self, partitions: &[u32]);

    /// These partitions have to wait: until they are opened again none of their records come, and
    /// they hold up no other. They stay ours.
    fn close(&mut self, partitions: &[u32]);

    /// Commits outputs and progress in one transaction. An empty transaction is not begun.
    /// On success the transaction is cleared and its memory is kept.
    fn commit(&mut self, transaction: &mut Transaction) -> Result<(), CommitError>;

    /// As [`Worker::commit`], and calls again, after longer and longer pauses, while the log is only
    /// busy. What is still busy after `patience` is [`CommitError::Retriable`]; nothing of it counts.
    fn commit_patiently(
        &mut self,
        transaction: &mut Transaction,
        patience: Duration,
    ) -> Result<(), CommitError> {
        let until = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.commit(transaction) {
                Err(CommitError::Retriable(_)) if Instant::now() < until => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                done => return done,
            }
        }
    }

    /// Succeeds only if the worker still has what it was assigned: nobody else can have written for
    /// it until now.
    fn confirm(&mut self) -> Result<(), CommitError>;

    /// Goes back to the last commit: after an abort, or after an outcome that is not known.
    fn rewind(&mut self) -> Result<(), LogError>;

    /// The offset that the group will go on from; `None` if it has never committed any.
    fn committed(&self, at: &TopicPartition) -> Result<Option<u64>, LogError>;

    /// Makes a blocked [`Worker::poll`] of this worker return early; from any thread.
    fn waker(&self) -> Arc<dyn Fn() + Send + Sync>;
}

/// Refuses inputs that do not share their partitions; gives how many there are.
pub(crate) fn equal_partitions(
    inputs: &[Arc<str>],
    partitions: impl Fn(&str) -> Result<u32, LogError>,
) -> Result<u32, LogError> {
    let Some(first) = inputs.first() else { return Ok(0) };
    let wanted = partitions(first)?;
    for topic in inputs {
        let found = partitions(topic)?;
        if found != wanted {
            return Err(LogError::Refused(format!(
                "one worker cannot read {first:?} with {wanted} partitions and {topic:?} with {found}: its inputs must have equally many"
            )));
        }
    }
    Ok(wanted)
}

/// What a poll brought.
#[derive(Debug)]
pub enum Polled {
    /// These partitions (of every input) are ours now: restore their state, then
    /// [`Worker::open`] them.
    Assigned(Vec<u32>),
    /// These partitions go with the next poll; until then they are still ours, unless they are
    /// `lost`: then they are gone already and nothing can be committed.
    Revoked {
        /// Which.
        partitions: Vec<u32>,
        /// Whether the open transaction must be dropped.
        lost: bool,
    },
    /// Records, possibly none.
    Records(Vec<Batch>),
}

/// The offsets that a partition holds: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first that is kept.
    pub start: u64,
    /// The one that the next record will get.
    pub end: u64,
}

impl Span {
    /// Refuses offsets that one cannot read from.
    pub(crate) fn check(self, at: &TopicPartition, offset: u64) -> Result<(), LogError> {
        let Span { start, end } = self;
        if (start..=end).contains(&offset) {
            return Ok(());
        }
        Err(LogError::OutOfRange { at: at.clone(), offset, start, end })
    }
}

/// Outputs and progress that become visible together.
#[derive(Debug, Default)]
pub struct Transaction {
    topics: Vec<Output>,
    /// Where each input partition goes on from.
    pub progress: BTreeMap<TopicPartition, u64>,
    /// The time that the outputs get.
    pub time: Micros,
}

/// The records for one topic, by partition.
#[derive(Debug)]
pub struct Output {
    /// The topic.
    pub topic: Arc<str>,
    /// One builder for each of its partitions.
    pub partitions: Vec<ChunkBuilder>,
}

impl Output {
    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().all(|builder| builder.count() == 0)
    }

    /// Refuses to append to a topic with another number of partitions: keys would be on wrong ones.
    pub(crate) fn fits(
        &self,
        partitions: impl FnOnce(&str) -> Result<u32, LogError>,
    ) -> Result<(), CommitError> {
        let (topic, registered) = (&self.topic, self.partitions.len());
        let found = partitions(topic).map_err(|error| CommitError::Fatal(error.to_string()))?;
        if found as usize == registered {
            return Ok(());
        }
        Err(CommitError::Fatal(format!(
            "topic {topic:?} has {found} partitions and was registered with {registered}: register it with as many as the log has"
        )))
    }
}

impl Transaction {
    /// Registers a topic; the number returned is what [`Transaction::to`] takes.
    pub fn register(&mut self, topic: &str, partitions: u32) -> usize {
        if let Some(known) = self.topics.iter().position(|output| &*output.topic == topic) {
            return known;
        }
        let partitions = (0..partitions).map(|_| ChunkBuilder::default()).collect();
        self.topics.push(Output { topic: topic.into(), partitions });
        self.topics.len() - 1
    }

    /// The builder for `key` in a registered topic.
    pub fn to(&mut self, topic: usize, key: &[u8]) -> &mut ChunkBuilder {
        let partitions = &mut self.topics[topic].partitions;
        let partition = partition_of(key, partitions.len() as u32);
        &mut partitions[partition as usize]
    }

    /// The builder for a partition of a registered topic.
    pub fn to_partition(&mut self, topic: usize, partition: u32) -> &mut ChunkBuilder {
        &mut self.topics[topic].partitions[partition as usize]
    }

    /// What there is to append.
    pub fn outputs(&self) -> &[Output] {
        &self.topics
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.builders().map(|builder| builder.count() as usize).sum()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.builders().map(|builder| builder.bytes().len()).sum()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.progress.is_empty() && self.records() == 0
    }

    /// Drops everything and keeps the memory and the registered topics.
    pub fn clear(&mut self) {
        self.progress.clear();
        self.topics.iter_mut().flat_map(|o| &mut o.partitions).for_each(ChunkBuilder::clear);
    }

    fn builders(&self) -> impl Iterator<Item = &ChunkBuilder> {
        self.topics.iter().flat_map(|output| &output.partitions)
    }
}

/// Why the log cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such topic.
    #[error("the log has no topic {0:?}; `tocsin topics apply` creates what topics.yaml names")]
    UnknownTopic(String),
    /// There is no such partition.
    #[error("{0} does not exist")]
    UnknownPartition(TopicPartition),
    /// A topic exists with another number of partitions.
    #[error(
        "topic {topic:?} has {found} partitions and topics.yaml says {wanted}: a number of partitions cannot change, give the topic a new name"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// In the log.
        found: u32,
        /// In topics.yaml.
        wanted: u32,
    },
    /// The offset is no longer, or not yet, in the log.
    #[error(
        "offset {offset} of {at} is outside of what the log holds, {start}..{end}: its records were deleted by retention, or the log is not the one that the offset comes from"
    )]
    OutOfRange {
        /// The partition.
        at: TopicPartition,
        /// Asked for.
        offset: u64,
        /// The first kept.
        start: u64,
        /// One after the last.
        end: u64,
    },
    /// A chunk does not have the checksum that it was written with.
    #[error("the log is damaged at {at}, offset {offset}: {reason}; restore it from a backup")]
    Damaged {
        /// The partition.
        at: TopicPartition,
        /// The chunk's base.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The call cannot succeed as long as things are as the message says.
    #[error("{0}")]
    Refused(String),
    /// The world is in the way; the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// This worker cannot know what is committed any more: make a new one, and take up what is.
    #[error("{0}")]
    Lost(String),
}

/// Why a transaction was not committed, by what must be done next.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Call again with the same transaction.
    #[error("the log is busy: {0}")]
    Retriable(String),
    /// Nothing of it is visible. Drop it, rewind input and state, begin again.
    #[error("the transaction was aborted: {0}")]
    Abort(String),
    /// It may or may not be visible. Drop it, make a new worker, take up what is committed.
    #[error("the outcome of the transaction is not known: {0}")]
    Unknown(String),
    /// This worker is dead, for example because another one has its id.
    #[error("the worker cannot go on: {0}")]
    Fatal(String),
}
