//! Marks that a broker has forgotten. A transaction ends with a mark in each of its partitions. Kafka 4.3
//! takes a partition without a leader for one that was deleted, and leaves its mark out: so it is while
//! a broker comes back after `kill -9`. Whoever reads what is committed then waits there for ever, and so
//! does whoever asks for the group's offsets, until the same producer writes a later mark.
//!
//! So what was committed last is said again when a broker has gone away since, and a worker that takes
//! an id ends as aborted what that id has left open. Only the last transaction of an id can have no marks:
//! the next one could not begin before. Here it is found out where something is open.

use crate::kafka::client::Context;
use crate::kafka::cluster::{CALL, Cluster};
use crate::kafka::groups::committed;
use crate::log::LogError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topics;

/// How long an answer takes at most that is not held up.
const GLANCE: Duration = Duration::from_secs(1);

impl Cluster {
    /// Whether anybody answers, within a second.
    pub(super) fn answers(&self) -> bool {
        let any = Some("__tocsin");
        self.committed.fetch_metadata(any, GLANCE).is_ok()
    }

    /// Whether the group's progress in its first input cannot be told, as long as a mark is missing.
    /// A group that nobody knows of has none.
    pub(super) fn hangs(&self, group: &str, inputs: &[Arc<str>]) -> Result<bool, LogError> {
        let failed = |error| self.options.unavailable("ask for a group", error);
        let Some(input) = inputs.first().filter(|_| !group.is_empty()) else { return Ok(false) };
        let known = self.committed.client().fetch_group_list(Some(group), CALL).map_err(failed)?;
        if known.groups().is_empty() {
            return Ok(false);
        }
        let places: Vec<_> = (0..self.partitions(input)?)
            .map(|partition| TopicPartition::new(input, partition))
            .collect();
        let told = committed(&self.options.outsider(group)?, &places, GLANCE);
        let code = told.err().and_then(|error| error.rdkafka_error_code());
        Ok(code == Some(RDKafkaErrorCode::OperationTimedOut))
    }

    /// The partitions of Tocsin's topics where a transaction is open, be it one that is at work.
    pub(super) fn open_ends(&self) -> Result<Vec<TopicPartition>, LogError> {
        let failed = |error| self.options.unavailable("look for what was left open", error);
        let places = led(&self.committed).map_err(failed)?;
        let decided = ends(&self.committed, &places).map_err(failed)?;
        let written = ends(&self.written, &places).map_err(failed)?;
        let open = |(at, end): (TopicPartition, i64)| {
            decided.get(&at).is_some_and(|decided| *decided < end).then_some(at)
        };
        Ok(written.into_iter().filter_map(open).collect())
    }
}

/// Every partition of Tocsin's topics that has a leader.
fn led(client: &BaseConsumer<Context>) -> KafkaResult<TopicPartitionList> {
    let metadata = client.fetch_metadata(None, CALL)?;
    let ours = |name: &str| Topics::builtin().iter().any(|topic| topic.name == name);
    let mut list = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| ours(topic.name())) {
        for partition in topic.partitions().iter().filter(|partition| partition.leader() >= 0) {
            list.add_partition_offset(topic.name(), partition.id(), Offset::End)?;
        }
    }
    Ok(list)
}

/// Where they end, as the client sees it: one question to each broker.
pub(super) fn ends(
    client: &BaseConsumer<Context>,
    places: &TopicPartitionList,
) -> KafkaResult<BTreeMap<TopicPartition, i64>> {
    if places.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let answered = client.offsets_for_times(places.clone(), CALL)?;
    let found = answered.elements().into_iter().filter_map(|one| {
        let end = one.offset().to_raw().filter(|_| one.error().is_ok())?;
        Some((TopicPartition::new(one.topic(), one.partition() as u32), end))
    });
    Ok(found.collect())
}
