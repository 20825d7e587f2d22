//! The log in memory: the same contract, nothing durable. Backtests and simulations run on it, so it
//! is fast, keeps everything, and fails when it is told to.

use crate::chunk::Chunk;
use crate::embedded::bell::{Bell, lock};
use crate::embedded::worker::{Limit, Pass, Shelf, ShelfWorker, wait};
use crate::log::{CommitError, Log, LogError, Span, Transaction, Worker, WorkerSpec};
use crate::record::Batch;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;

/// How a commit fails in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done; the same transaction may be tried again.
    Busy,
    /// Nothing is done; the transaction must be dropped.
    Abort,
    /// Everything is done, but the worker does not learn it.
    LostAnswer,
    /// Nothing is done, and the worker does not learn that either.
    LostRequest,
}

/// Decides which commits fail.
type Faults = Box<dyn FnMut(&Transaction) -> Option<Fault> + Send>;

/// A log in memory.
pub struct MemoryLog {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    bell: Bell,
}

#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, Vec<Partition>>,
    offsets: HashMap<String, HashMap<TopicPartition, u64>>,
    epochs: HashMap<String, u64>,
    faults: Option<Faults>,
}

#[derive(Clone, Default)]
struct Partition {
    chunks: Vec<Chunk>,
    end: u64,
}

impl MemoryLog {
    /// A log without topics.
    pub fn new() -> Arc<MemoryLog> {
        Arc::new(MemoryLog { inner: Arc::default() })
    }

    /// From now on `faults` is asked before each commit whether, and how, it fails.
    pub fn fail_commits(&self, faults: impl FnMut(&Transaction) -> Option<Fault> + Send + 'static) {
        lock(&self.inner.state).faults = Some(Box::new(faults));
    }
}

impl Log for MemoryLog {
    fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
        let mut state = lock(&self.inner.state);
        for topic in topics {
            match state.topics.get(&*topic.name).map(|partitions| partitions.len() as u32) {
                None => {}
                Some(found) if found == topic.partitions => {}
                Some(found) => {
                    let (topic, wanted) = (topic.name.clone(), topic.partitions);
                    return Err(LogError::Partitions { topic, found, wanted });
                }
            }
        }
        for topic in topics {
            let partitions = vec![Partition::default(); topic.partitions as usize];
            state.topics.entry(topic.name.as_str().into()).or_insert(partitions);
        }
        Ok(())
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        self.inner.span(at)
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        self.inner.read(at, from, Limit { bytes: max_bytes, records: usize::MAX })
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
        lock(&self.state).partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        let end = lock(&self.state).partition(at)?.end;
        Ok(Span { start: 0, end })
    }

    fn read(&self, at: &TopicPartition, from: u64, limit: Limit) -> Result<Batch, LogError> {
        lock(&self.state).partition(at)?.read(at, from, limit)
    }

    fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        let state = lock(&self.state);
        state.partition(at)?;
        Ok(state.offsets.get(group).and_then(|offsets| offsets.get(at)).copied())
    }

    fn enter(&self, id: &str) -> Result<u64, LogError> {
        let mut state = lock(&self.state);
        let epoch = state.epochs.entry(id.to_owned()).or_default();
        *epoch += 1;
        Ok(*epoch)
    }

    fn commit(&self, pass: &Pass, transaction: &Transaction) -> Result<(), CommitError> {
        let mut state = lock(&self.state);
        state.admit(pass, transaction)?;
        let fault = state.faults.as_mut().and_then(|faults| faults(transaction));
        let injected = || "the simulation wants it so".to_owned();
        match fault {
            Some(Fault::Busy) => return Err(CommitError::Retriable(injected())),
            Some(Fault::Abort) => return Err(CommitError::Abort(injected())),
            Some(Fault::LostRequest) => return Err(CommitError::Unknown(injected())),
            Some(Fault::LostAnswer) | None => state.apply(&pass.group, transaction),
        }
        drop(state);
        self.bell.ring();
        if fault.is_none() { Ok(()) } else { Err(CommitError::Unknown(injected())) }
    }
}

impl State {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        let found = self.topics.get(topic).map(|partitions| partitions.len() as u32);
        found.ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))
    }

    fn partition(&self, at: &TopicPartition) -> Result<&Partition, LogError> {
        self.partitions(&at.topic)?;
        let found = self.topics.get(&at.topic).and_then(|all| all.get(at.partition as usize));
        found.ok_or_else(|| LogError::UnknownPartition(at.clone()))
    }

    /// Everything that can be refused is refused here, so that [`State::apply`] does all or nothing.
    fn admit(&self, pass: &Pass, work: &Transaction) -> Result<(), CommitError> {
        if self.epochs.get(&pass.id) != Some(&pass.epoch) {
            return Err(pass.fenced());
        }
        let fatal = |error: LogError| CommitError::Fatal(error.to_string());
        for output in work.outputs().iter().filter(|output| !output.is_empty()) {
            output.fits(|topic| self.partitions(topic))?;
        }
        work.progress.keys().try_for_each(|at| self.partition(at).map(drop)).map_err(fatal)
    }

    fn apply(&mut self, group: &str, work: &Transaction) {
        for output in work.outputs() {
            let Some(partitions) = self.topics.get_mut(&output.topic) else { continue };
            for (partition, builder) in partitions.iter_mut().zip(&output.partitions) {
                let (end, time) = (partition.end, work.time);
                partition.chunks.extend(builder.parts().map(|part| {
                    let (base, count) = (end + part.base, part.count);
                    Chunk { base, time, count, bytes: part.bytes.into() }
                }));
                partition.end += builder.span();
            }
        }
        let offsets = self.offsets.entry(group.to_owned()).or_default();
        offsets.extend(work.progress.iter().map(|(at, next)| (at.clone(), *next)));
    }
}

impl Partition {
    fn read(&self, at: &TopicPartition, from: u64, limit: Limit) -> Result<Batch, LogError> {
        Span { start: 0, end: self.end }.check(at, from)?;
        let (mut chunks, mut bytes, mut records) = (Vec::new(), 0, 0);
        let (topic, partition, mut next) = (at.topic.clone(), at.partition, from);
        let first = self.chunks.partition_point(|chunk| chunk.base <= from).saturating_sub(1);
        if from < self.end {
            for (i, chunk) in self.chunks.iter().enumerate().skip(first) {
                bytes += chunk.bytes.len();
                records += chunk.count as usize;
                chunks.push(chunk.clone());
                next = self.chunks.get(i + 1).map_or(self.end, |after| after.base);
                if bytes >= limit.bytes || records >= limit.records {
                    break;
                }
            }
        }
        Ok(Batch { topic, partition, from, next, chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_do_what_they_say() {
        let visible = [
            (None, 1, "Ok(())"),
            (Some(Fault::Busy), 0, "Err(Retriable"),
            (Some(Fault::Abort), 0, "Err(Abort"),
            (Some(Fault::LostAnswer), 1, "Err(Unknown"),
            (Some(Fault::LostRequest), 0, "Err(Unknown"),
        ];
        for (fault, records, answer) in visible {
            let log = MemoryLog::new();
            lock(&log.inner.state).topics.insert("t".into(), vec![Partition::default()]);
            log.fail_commits(move |_| fault);
            let mut worker =
                log.worker(&WorkerSpec { id: "w".into(), ..Default::default() }).unwrap();
            let mut work = Transaction::default();
            let topic = work.register("t", 1);
            work.to(topic, b"k").push(b"k", None);
            let answered = format!("{:?}", worker.commit(&mut work));
            assert!(answered.starts_with(answer), "{fault:?}: {answered}");
            let span = log.span(&TopicPartition::new("t", 0)).unwrap();
            assert_eq!(span, Span { start: 0, end: records }, "{fault:?}");
        }
    }
}
