//! A log as it was when it was so far, read once more from its start. What a worker publishes here
//! vanishes, and how far it is, is known here only: a service that runs on it changes nothing.

use crate::embedded::bell::{Bell, lock};
use crate::embedded::worker::{Limit, Pass, Shelf, ShelfWorker, wait};
use crate::log::{CommitError, Log, LogError, Span, Transaction, Worker, WorkerSpec};
use crate::record::Batch;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;

/// A view of another log.
pub struct Replay {
    inner: Arc<Inner>,
}

struct Inner {
    log: Arc<dyn Log>,
    /// Where each partition ends; one that is not named is empty.
    ends: Mutex<BTreeMap<TopicPartition, u64>>,
    progress: Mutex<BTreeMap<TopicPartition, u64>>,
    bell: Bell,
}

impl Replay {
    /// An empty view of a log.
    pub fn of(log: Arc<dyn Log>) -> Arc<Replay> {
        let (ends, progress) = (Mutex::default(), Mutex::default());
        Arc::new(Replay { inner: Arc::new(Inner { log, ends, progress, bell: Bell::default() }) })
    }

    /// From now on the named partitions end where it is said.
    pub fn extend(&self, ends: BTreeMap<TopicPartition, u64>) {
        lock(&self.inner.ends).extend(ends);
        self.inner.bell.ring();
    }
}

impl Log for Replay {
    fn create_topics(&self, _: &[&Topic]) -> Result<(), LogError> {
        Ok(())
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner.log.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        Shelf::span(&*self.inner, at)
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        Shelf::read(&*self.inner, at, from, Limit { bytes: max_bytes, records: usize::MAX })
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        wait(&*self.inner, seen, timeout)
    }

    fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
        Ok(Box::new(ShelfWorker::new(self.inner.clone(), spec)?))
    }
}

impl Shelf for Inner {
    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn glance(&self) {}

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        // Who takes his place before anything is named must stand where the log begins.
        let start = self.log.span(at)?.start;
        let end = lock(&self.ends).get(at).map_or(start, |end| start.max(*end));
        Ok(Span { start, end })
    }

    fn read(&self, at: &TopicPartition, from: u64, limit: Limit) -> Result<Batch, LogError> {
        let span = Shelf::span(self, at)?;
        span.check(at, from)?;
        if from == span.end {
            let (topic, partition) = (at.topic.clone(), at.partition);
            return Ok(Batch { topic, partition, from, next: from, chunks: Vec::new() });
        }
        let mut batch = self.log.read(at, from, limit.bytes)?;
        cut(&mut batch, span.end);
        Ok(batch)
    }

    fn committed(&self, _: &str, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        Ok(lock(&self.progress).get(at).copied())
    }

    fn enter(&self, _: &str) -> Result<u64, LogError> {
        Ok(0)
    }

    fn commit(&self, _: &Pass, transaction: &Transaction) -> Result<(), CommitError> {
        let moved = transaction.progress.iter().map(|(at, next)| (at.clone(), *next));
        lock(&self.progress).extend(moved);
        Ok(())
    }
}

/// Takes the records from `end` on out of the batch.
fn cut(batch: &mut Batch, end: u64) {
    if batch.next <= end {
        return;
    }
    batch.next = end;
    for chunk in &mut batch.chunks {
        let before = chunk.records(&batch.topic, batch.partition);
        chunk.count = before.take_while(|record| record.offset < end).count() as u32;
    }
    batch.chunks.retain(|chunk| chunk.count > 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{EmbeddedLog, Options};
    use crate::log::Polled;
    use crate::memory::MemoryLog;
    use tocsin_domain::Micros;
    use tocsin_domain::topics::{ALERTS, Topics};

    #[test]
    fn it_ends_where_it_is_told_to_and_leaves_no_trace() {
        let log: Arc<dyn Log> = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let mut work = Transaction::default();
        let topic = work.register(ALERTS, 8);
        for key in 0..10u8 {
            work.to_partition(topic, 0).push(&[key], Some(b"v"));
        }
        let spec = |inputs| WorkerSpec { id: "w".into(), group: "g".into(), inputs };
        log.worker(&spec(Vec::new())).unwrap().commit(&mut work).unwrap();

        let at = TopicPartition::new(ALERTS, 0);
        let replay = Replay::of(log.clone());
        let mut worker = replay.worker(&spec(vec![ALERTS.into()])).unwrap();
        assert!(matches!(worker.poll(100, Duration::ZERO).unwrap(), Polled::Assigned(_)));
        worker.open(&[0]);
        let poll = |worker: &mut Box<dyn Worker>| -> Vec<u64> {
            let Ok(Polled::Records(all)) = worker.poll(100, Duration::ZERO) else { panic!("none") };
            all.iter().flat_map(|b| b.records().map(|r| r.offset).collect::<Vec<_>>()).collect()
        };
        assert_eq!(poll(&mut worker), Vec::<u64>::new(), "nothing is named yet");
        replay.extend(BTreeMap::from([(at.clone(), 4)]));
        assert_eq!(poll(&mut worker), [0, 1, 2, 3], "cut within a chunk");
        work.clear();
        work.progress.insert(at.clone(), 4);
        work.to_partition(topic, 0).push(b"new", None);
        worker.commit(&mut work).unwrap();
        replay.extend(BTreeMap::from([(at.clone(), 10)]));
        assert_eq!(poll(&mut worker), [4, 5, 6, 7, 8, 9]);
        assert_eq!(log.span(&at).unwrap().end, 10, "nothing was published");
        let committed = log.worker(&spec(Vec::new())).unwrap().committed(&at).unwrap();
        assert_eq!(committed, None, "nothing was committed");
        let rest = TopicPartition::new(ALERTS, 1);
        assert!(replay.read(&rest, 1, 1).is_err() && replay.span(&rest).unwrap().end == 0);
    }

    #[test]
    fn it_begins_where_retention_has_left_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), Options::default()).unwrap();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let spec = |inputs| WorkerSpec { id: "w".into(), group: "g".into(), inputs };
        let later = Micros(1_700_000_000_000_000);
        for time in [Micros(1), later] {
            let mut work = Transaction::default();
            work.time = time;
            let topic = work.register(ALERTS, 8);
            work.to_partition(topic, 0).push(b"k", Some(b"v"));
            log.worker(&spec(Vec::new())).unwrap().commit(&mut work).unwrap();
        }
        assert_eq!(log.clean(later).unwrap().expired, 1);
        let replay = Replay::of(log);
        let mut worker = replay.worker(&spec(vec![ALERTS.into()])).unwrap();
        assert!(matches!(worker.poll(100, Duration::ZERO).unwrap(), Polled::Assigned(_)));
        worker.open(&[0]);
        replay.extend(BTreeMap::from([(TopicPartition::new(ALERTS, 0), 2)]));
        let Polled::Records(found) = worker.poll(100, Duration::ZERO).unwrap() else {
            panic!("nothing is assigned or revoked")
        };
        let offsets: Vec<u64> = found[0].records().map(|record| record.offset).collect();
        assert_eq!(offsets, [1]);
    }
}
