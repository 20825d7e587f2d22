//! What all workers and readers of one Kafka log share: two clients that answer questions, what the
//! topics look like, and the cursors that read along.

use crate::kafka::admin::KafkaAdmin;
use crate::kafka::client::{Context, KafkaOptions};
use crate::kafka::marks;
use crate::kafka::reader::Readers;
use crate::kafka::topics::{Copies, Wanted};
use crate::log::{LogError, Span};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;

/// How long a question to the cluster may take.
pub(super) const CALL: Duration = Duration::from_secs(30);

/// A cluster.
pub(crate) struct Cluster {
    pub(super) options: KafkaOptions,
    /// As the cluster says it.
    pub(super) id: String,
    /// Sees what is committed.
    pub(super) committed: BaseConsumer<Context>,
    /// Sees everything that was written.
    pub(super) written: BaseConsumer<Context>,
    partitions: Mutex<HashMap<String, u32>>,
    pub(super) readers: Readers,
}

impl Cluster {
    /// Connects; fails if the cluster does not answer.
    pub(super) fn connect(options: KafkaOptions) -> Result<Cluster, LogError> {
        let client = |isolation| -> Result<BaseConsumer<Context>, LogError> {
            let config = options.reader(isolation)?;
            let made = config.create_with_context(Context::default());
            made.map_err(|error| options.not_started(error))
        };
        let (committed, written) = (client("read_committed")?, client("read_uncommitted")?);
        let readers = Readers::new(options.clone());
        let id = options.guard(committed.client())?;
        Ok(Cluster { options, id, committed, written, partitions: Mutex::default(), readers })
    }

    /// How many partitions the topic has. Of ours that never changes, so it is asked once.
    pub(super) fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        if let Some(known) = self.known().get(topic) {
            return Ok(*known);
        }
        let found = self.ask_partitions(topic)?;
        let found = found.ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))?;
        self.known().insert(topic.to_owned(), found);
        Ok(found)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if there is no such topic, or not all of its partitions have a leader yet.
    fn ask_partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let answered = self.committed.fetch_metadata(Some(topic), CALL);
        let failed = |error| self.options.unavailable(&format!("ask for topic {topic:?}"), error);
        let metadata = answered.map_err(failed)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::LeaderNotAvailable,
            ) => return Ok(None),
            Some(code) => return Err(failed(KafkaError::MetadataFetch(code))),
            None => {}
        }
        let led = found.partitions().iter().all(|partition| partition.leader() >= 0);
        let count = found.partitions().len() as u32;
        Ok((led && count > 0).then_some(count))
    }

    pub(super) fn check(&self, at: &TopicPartition) -> Result<(), LogError> {
        if at.partition < self.partitions(&at.topic)? {
            return Ok(());
        }
        // Topics of others may have more by now.
        let found = self.ask_partitions(&at.topic)?.unwrap_or_default();
        if at.partition >= found {
            return Err(LogError::UnknownPartition(at.clone()));
        }
        self.known().insert(at.topic.to_string(), found);
        Ok(())
    }

    pub(super) fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        self.watermarks(&self.committed, at)
    }

    /// As [`crate::Log::ends`]; whoever gives no answer is asked alone.
    pub(super) fn ends(&self, places: &[TopicPartition]) -> Result<Vec<u64>, LogError> {
        let failed = |error| self.options.unavailable("ask where partitions end", error);
        let mut list = TopicPartitionList::with_capacity(places.len());
        for at in places {
            list.add_partition_offset(&at.topic, at.partition as i32, Offset::End)
                .map_err(failed)?;
        }
        let found = marks::ends(&self.committed, &list, CALL).map_err(failed)?;
        let end = |at: &TopicPartition| match found.get(at) {
            Some(end) => Ok(*end as u64),
            None => Ok(self.span(at)?.end),
        };
        places.iter().map(end).collect()
    }

    pub(super) fn undecided_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        Ok(self.watermarks(&self.written, at)?.end)
    }

    fn watermarks(
        &self,
        client: &BaseConsumer<Context>,
        at: &TopicPartition,
    ) -> Result<Span, LogError> {
        self.check(at)?;
        let asked = watermarks(client, at);
        asked.map_err(|error| self.options.unavailable(&format!("ask for the end of {at}"), error))
    }

    /// As [`crate::Log::create_topics`].
    pub(super) fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
        let mut missing = Vec::new();
        for topic in topics {
            match self.ask_partitions(&topic.name)? {
                None => missing.push(*topic),
                Some(found) if found == topic.partitions => {}
                Some(found) => {
                    let (topic, wanted) = (topic.name.clone(), topic.partitions);
                    return Err(LogError::Partitions { topic, found, wanted });
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let copies = Copies { replication: self.options.replication, in_sync: 1 };
        let wanted: Vec<Wanted> = missing.iter().map(|topic| Wanted::of(topic, copies)).collect();
        KafkaAdmin::connect(self.options.clone())?.create(&wanted)?;
        for topic in missing {
            while self.ask_partitions(&topic.name)?.is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// What a partition holds, as a client sees it. Asked again while its leader is being chosen.
pub(super) fn watermarks(
    client: &BaseConsumer<Context>,
    at: &TopicPartition,
) -> Result<Span, KafkaError> {
    let begun = Instant::now();
    loop {
        match client.fetch_watermarks(&at.topic, at.partition as i32, CALL) {
            Err(error) if chooses_leader(&error) && begun.elapsed() < CALL => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answered => {
                let (start, end) = answered?;
                return Ok(Span { start: start.max(0) as u64, end: end.max(0) as u64 });
            }
        }
    }
}

fn chooses_leader(error: &KafkaError) -> bool {
    let codes = [
        RDKafkaErrorCode::NotLeaderForPartition,
        RDKafkaErrorCode::LeaderNotAvailable,
        RDKafkaErrorCode::FencedLeaderEpoch,
        RDKafkaErrorCode::UnknownLeaderEpoch,
        RDKafkaErrorCode::OffsetNotAvailable,
    ];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}
