//! Apache Kafka behind the log's contract: a transaction is a Kafka transaction, a worker is a
//! transactional producer and a member of a group. Everything that knows librdkafka is in here.
//!
//! Read in this order: [`client`] what is configured, `reach` whether it lets us in, `worker` how the
//! halves come together, `producer` how a transaction ends, `marks` what a broker forgets of it, `decisions`
//! where that is written down, `member` and `seat` how partitions come and go, `reader` reading without a
//! group, [`topics`] and `admin` what topics should be, `groups` and `intake` how a whole log moves in, and
//! `native` for the calls into C.

mod admin;
mod bell;
mod client;
mod cluster;
mod decisions;
mod gather;
mod groups;
mod intake;
mod marks;
mod member;
mod native;
mod place;
mod producer;
mod reach;
mod reader;
mod seat;
pub mod topics;
mod worker;

pub use admin::KafkaAdmin;
pub use client::{KafkaOptions, RESERVED};
pub use intake::KafkaIntake;

use crate::log::{Log, LogError, Span, Worker, WorkerSpec};
use crate::record::Batch;
use cluster::Cluster;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;
use worker::KafkaWorker;

/// How often somebody who waits for anything at all looks again.
const LOOK: Duration = Duration::from_millis(100);

/// Whether this program is linked with the mend of its Kafka client, without which a broker that comes back can end it;
/// never with another librdkafka than the one that it was made for.
#[cfg(target_os = "linux")]
pub fn mended() -> bool {
    native::mended()
}

/// A log on a Kafka cluster.
pub struct KafkaLog(Arc<Cluster>);

impl KafkaLog {
    /// Connects to the cluster.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the options are wrong, [`LogError::Unavailable`] if the cluster does
    /// not answer within 30 s.
    pub fn connect(options: KafkaOptions) -> Result<Arc<KafkaLog>, LogError> {
        Ok(Arc::new(KafkaLog(Arc::new(Cluster::connect(options)?))))
    }
}

impl Log for KafkaLog {
    fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
        self.0.create_topics(topics)
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.0.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        self.0.span(at)
    }

    fn ends(&self, places: &[TopicPartition]) -> Result<Vec<u64>, LogError> {
        self.0.ends(places)
    }

    fn undecided_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.0.undecided_end(at)
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        self.0.check(at)?;
        self.0.readers.read(at, from, max_bytes, &|| self.0.span(at))
    }

    fn fetch_ahead(&self, at: &TopicPartition, from: u64) {
        self.0.readers.fetch_ahead(at, from);
    }

    fn forget(&self, at: &TopicPartition) {
        self.0.readers.forget(at);
    }

    /// The cluster's id.
    fn name(&self) -> &str {
        &self.0.id
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        std::thread::sleep(timeout.min(LOOK));
        seen + 1
    }

    fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
        Ok(Box::new(KafkaWorker::new(self.0.clone(), spec)?))
    }
}
