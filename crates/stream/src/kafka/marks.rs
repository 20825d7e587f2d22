//! Marks that a broker has forgotten. A transaction ends with a mark in each of its partitions. Kafka 4.3
//! takes a partition without a leader for one that was deleted, and leaves its mark out: so it is while
//! a broker comes back after `kill -9`. Whoever reads what is committed then waits there for ever, and so
//! does whoever asks for the group's offsets, until the same producer writes a later mark. That mark then
//! decides what was open before it as well.
//!
//! So the end of the last transaction is said again when a broker has gone away since, and a worker that
//! takes an id ends what that id has left open, both as the coordinator had decided it. Only the last
//! transaction of an id can have no marks: the next one could not begin before. Here it is found out where
//! something is open.

use crate::kafka::client::Context;
use crate::kafka::cluster::{CALL, Cluster};
use crate::kafka::groups::committed;
use crate::kafka::producer::Touched;
use crate::log::{LogError, WorkerSpec};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::{Topic, Topics};

/// How long an answer takes at most that is not held up.
const GLANCE: Duration = Duration::from_secs(1);

/// What still ends where it ended so long ago is not being worked on, or only slowly.
const STILL: Duration = Duration::from_millis(50);

impl Cluster {
    /// Whether anybody answers, within a second.
    pub(super) fn answers(&self) -> bool {
        let any = Some("__tocsin");
        self.committed.fetch_metadata(any, GLANCE).is_ok()
    }

    /// Whether somebody leads each of these and answers for it, within a second.
    pub(super) fn answers_for(&self, places: &[TopicPartition]) -> bool {
        let mut list = TopicPartitionList::with_capacity(places.len());
        let listed = places.iter().try_for_each(|at| {
            list.add_partition_offset(&at.topic, at.partition as i32, Offset::End)
        });
        match listed.and_then(|()| ends(&self.committed, &list, GLANCE)) {
            Ok(found) if !places.is_empty() => found.len() == places.len(),
            Ok(_) => self.answers(),
            Err(_) => false,
        }
    }

    /// A place of any group where none goes on: a changelog, which is read without groups.
    pub(super) fn aside(&self) -> Result<Option<TopicPartition>, LogError> {
        for topic in Topics::builtin().iter().filter(|topic| topic.schema.is_none()) {
            match self.partitions(&topic.name) {
                Ok(_) => return Ok(Some(TopicPartition::new(&topic.name, 0))),
                Err(LogError::UnknownTopic(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What the worker's id may have left open, and how that is to end. `hasty` makes do with what can be
    /// told now.
    pub(super) fn left_open(
        &self,
        spec: &WorkerSpec,
        aside: Option<&TopicPartition>,
        hasty: bool,
    ) -> Result<Touched, LogError> {
        let hangs = self.hangs(&spec.group, &spec.inputs)?;
        let group = aside.filter(|_| hangs).map(|at| (spec.group.clone(), at.clone()));
        let places = self.open_ends(hasty)?;
        if places.is_empty() && group.is_none() {
            return Ok(Touched::default());
        }
        let committed = match self.last_decision(&spec.id) {
            Err(LogError::Unavailable(reason)) if hasty => {
                tracing::warn!(
                    reason,
                    "how the last transaction ended cannot be told; it counts as aborted"
                );
                false
            }
            told => told?.unwrap_or_default(),
        };
        Ok(Touched { places, group, committed })
    }

    /// Whether the group's progress in any input cannot be told, as long as a mark is missing. A group that
    /// nobody knows of has none.
    pub(super) fn hangs(&self, group: &str, inputs: &[Arc<str>]) -> Result<bool, LogError> {
        let failed = |error| self.options.unavailable("ask for a group", error);
        if inputs.is_empty() || group.is_empty() {
            return Ok(false);
        }
        let known = self.committed.client().fetch_group_list(Some(group), CALL).map_err(failed)?;
        if known.groups().is_empty() {
            return Ok(false);
        }
        let mut places = Vec::new();
        for input in inputs {
            let partitions = 0..self.partitions(input)?;
            places.extend(partitions.map(|partition| TopicPartition::new(input, partition)));
        }
        let told = committed(&self.options.outsider(group)?, &places, GLANCE);
        let code = told.err().and_then(|error| error.rdkafka_error_code());
        Ok(code == Some(RDKafkaErrorCode::OperationTimedOut))
    }

    /// The partitions of Tocsin's topics where a transaction is open and does not move.
    fn open_ends(&self, hasty: bool) -> Result<Vec<TopicPartition>, LogError> {
        let first = self.undecided(hasty)?;
        if first.is_empty() {
            return Ok(Vec::new());
        }
        std::thread::sleep(STILL);
        let mut left = self.undecided(hasty)?;
        left.retain(|at, decided| first.get(at) == Some(decided));
        Ok(left.into_keys().collect())
    }

    /// Where partitions of Tocsin's topics are decided up to, if there is more.
    fn undecided(&self, hasty: bool) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
        let failed = |error| self.options.unavailable("look for what was left open", error);
        let metadata = self.committed.fetch_metadata(None, CALL).map_err(failed)?;
        let (places, unled) = led(&metadata).map_err(failed)?;
        if unled > 0 && !hasty {
            let reason = format!("{unled} partitions have no leader yet");
            return Err(self.options.unavailable("look for what was left open", reason));
        }
        let mut decided = ends(&self.committed, &places, CALL).map_err(failed)?;
        let written = ends(&self.written, &places, CALL).map_err(failed)?;
        decided.retain(|at, decided| written.get(at).is_some_and(|end| *decided < *end));
        Ok(decided)
    }
}

/// Every partition of Tocsin's topics that has a leader, and how many have none.
fn led(metadata: &Metadata) -> KafkaResult<(TopicPartitionList, usize)> {
    let ours = |name: &str| Topics::builtin().iter().any(|topic: &Topic| topic.name == name);
    let (mut list, mut unled) = (TopicPartitionList::new(), 0);
    for topic in metadata.topics().iter().filter(|topic| ours(topic.name())) {
        for partition in topic.partitions() {
            match partition.leader() >= 0 {
                true => list.add_partition_offset(topic.name(), partition.id(), Offset::End)?,
                false => unled += 1,
            }
        }
    }
    Ok((list, unled))
}

/// Where they end, as the client sees it: one question to each broker.
pub(super) fn ends(
    client: &BaseConsumer<Context>,
    places: &TopicPartitionList,
    patience: Duration,
) -> KafkaResult<BTreeMap<TopicPartition, i64>> {
    if places.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let answered = client.offsets_for_times(places.clone(), patience)?;
    let found = answered.elements().into_iter().filter_map(|one| {
        let end = one.offset().to_raw().filter(|_| one.error().is_ok())?;
        Some((TopicPartition::new(one.topic(), one.partition() as u32), end))
    });
    Ok(found.collect())
}
