//! A log whose last commits cannot be seen yet, though they were acknowledged: so it is on Kafka for a
//! moment after each commit, until its marks are written, partition by partition. Workers see through
//! the veil: it hides records from whoever reads without a group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;
use tocsin_stream::{Batch, Log, LogError, Span, Worker, WorkerSpec};

/// A log behind a veil.
pub struct Veiled {
    log: Arc<dyn Log>,
    veils: Mutex<HashMap<TopicPartition, u64>>,
}

impl Veiled {
    /// Nothing is hidden yet.
    pub fn new(log: Arc<dyn Log>) -> Arc<Veiled> {
        Arc::new(Veiled { log, veils: Mutex::default() })
    }

    /// From that offset on, the first of a commit, the partition is undecided until [`Veiled::lift`].
    pub fn draw(&self, at: TopicPartition, from: u64) {
        self.veils().insert(at, from);
    }

    /// Everything is decided.
    pub fn lift(&self) {
        self.veils().clear();
    }

    /// Does what must wait until everything is decided, and lifts the veil meanwhile.
    ///
    /// # Panics
    /// If it does not wait.
    pub fn waited_for<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            std::thread::sleep(Duration::from_millis(100));
            assert!(!work.is_finished(), "it does not wait for what is not decided");
            self.lift();
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Nothing of these topics can be seen.
    ///
    /// # Errors
    /// If the log has no such topic.
    pub fn hide(&self, topics: &[&str]) -> Result<(), LogError> {
        for topic in topics {
            for number in 0..self.log.partitions(topic)? {
                self.draw(TopicPartition::new(topic, number), 0);
            }
        }
        Ok(())
    }

    fn veils(&self) -> std::sync::MutexGuard<'_, HashMap<TopicPartition, u64>> {
        self.veils.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn veil(&self, at: &TopicPartition) -> u64 {
        self.veils().get(at).copied().unwrap_or(u64::MAX)
    }
}

impl Log for Veiled {
    fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
        self.log.create_topics(topics)
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        let Span { start, end } = self.log.span(at)?;
        Ok(Span { start, end: end.min(self.veil(at)) })
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        let mut batch = self.log.read(at, from, max_bytes)?;
        let veil = self.veil(at);
        batch.next = batch.next.min(veil.max(from));
        batch.chunks.retain(|chunk| {
            chunk.records(&at.topic, at.partition).all(|record| record.offset < veil)
        });
        Ok(batch)
    }

    fn undecided_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.log.undecided_end(at)
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        self.log.wait(seen, timeout)
    }

    fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
        self.log.worker(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::topics::{ALERTS, Topics};
    use tocsin_stream::Transaction;
    use tocsin_stream::memory::MemoryLog;

    fn commit(log: &dyn Log, value: &str) {
        let mut work = Transaction::default();
        let topic = work.register(ALERTS, log.partitions(ALERTS).unwrap());
        work.to_partition(topic, 0).push(b"k", Some(value.as_bytes()));
        log.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
    }

    fn seen(log: &dyn Log, at: &TopicPartition) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        log.scan_all(at, |record| {
            found.extend(record.value.map(<[u8]>::to_vec));
            Ok::<(), LogError>(())
        })
        .unwrap();
        found
    }

    #[test]
    fn whoever_settles_first_sees_what_whoever_does_not_may_miss() {
        let inner = MemoryLog::new();
        inner.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let at = TopicPartition::new(ALERTS, 0);
        let log = Veiled::new(inner);
        let log: &Veiled = &log;
        commit(log, "a");
        log.draw(at.clone(), 1);
        commit(log, "b");
        assert_eq!(seen(log, &at), [b"a"]);

        let (shared, places): (&dyn Log, _) = (log, (log as &dyn Log).places(ALERTS).unwrap());
        assert_eq!(places.len(), 8);
        let refused = shared.settle(&places, Duration::from_millis(30)).unwrap_err();
        let LogError::Unavailable(reason) = refused else { panic!("{refused}") };
        assert!(reason.contains("alerts/0 is decided up to offset 1"), "{reason}");

        log.waited_for(|| shared.settle(&places, Duration::from_secs(60))).unwrap();
        assert_eq!(seen(log, &at), [b"a", b"b"]);
    }
}
