//! A log that notes what its workers' commits say. Otherwise it is the log that it stands for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;
use tocsin_stream::kafka::KafkaLog;
use tocsin_stream::{
    Batch, CommitError, Log, LogError, Polled, Span, Transaction, Worker, WorkerSpec,
};

/// What a commit said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Done,
    Retriable,
    Abort,
    Unknown,
    Fatal,
}

impl Class {
    fn of(said: &Result<(), CommitError>) -> Class {
        match said {
            Ok(()) => Class::Done,
            Err(CommitError::Retriable(_)) => Class::Retriable,
            Err(CommitError::Abort(_)) => Class::Abort,
            Err(CommitError::Unknown(_)) => Class::Unknown,
            Err(CommitError::Fatal(_)) => Class::Fatal,
        }
    }
}

type Said = Arc<Mutex<Vec<Class>>>;

pub struct Watched {
    log: Arc<KafkaLog>,
    said: Said,
    /// How many records were read without a group, by topic.
    read: Mutex<HashMap<String, u64>>,
}

impl Watched {
    pub fn new(log: Arc<KafkaLog>) -> Arc<Watched> {
        Arc::new(Watched { log, said: Said::default(), read: Mutex::default() })
    }

    /// How many records of the topic were read without a group.
    pub fn records(&self, topic: &str) -> u64 {
        self.read.lock().unwrap().get(topic).copied().unwrap_or_default()
    }

    /// What commits said since this was asked last.
    pub fn said(&self) -> Vec<Class> {
        std::mem::take(&mut *self.said.lock().unwrap())
    }
}

impl Log for Watched {
    fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
        self.log.create_topics(topics)
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        self.log.span(at)
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        let batch = self.log.read(at, from, max_bytes)?;
        let records = batch.records().count() as u64;
        *self.read.lock().unwrap().entry(at.topic.to_string()).or_default() += records;
        Ok(batch)
    }

    fn undecided_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.log.undecided_end(at)
    }

    fn forget(&self, at: &TopicPartition) {
        self.log.forget(at);
    }

    fn name(&self) -> &str {
        self.log.name()
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        self.log.wait(seen, timeout)
    }

    fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
        Ok(Box::new(Watching { worker: self.log.worker(spec)?, said: self.said.clone() }))
    }
}

struct Watching {
    worker: Box<dyn Worker>,
    said: Said,
}

impl Worker for Watching {
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Polled, LogError> {
        self.worker.poll(max_records, timeout)
    }

    fn open(&mut self, partitions: &[u32]) {
        self.worker.open(partitions);
    }

    fn close(&mut self, partitions: &[u32]) {
        self.worker.close(partitions);
    }

    fn commit(&mut self, transaction: &mut Transaction) -> Result<(), CommitError> {
        let said = self.worker.commit(transaction);
        self.said.lock().unwrap().push(Class::of(&said));
        if let Err(CommitError::Fatal(_) | CommitError::Unknown(_)) = said {
            // Nobody asks it any more; if somebody did, it would say the same.
            let again = self.worker.commit(transaction);
            assert_eq!(Class::of(&again), Class::of(&said), "{said:?}, then {again:?}");
        }
        said
    }

    fn confirm(&mut self) -> Result<(), CommitError> {
        self.worker.confirm()
    }

    fn rewind(&mut self) -> Result<(), LogError> {
        self.worker.rewind()
    }

    fn committed(&self, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.worker.committed(at)
    }

    fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.worker.waker()
    }
}
