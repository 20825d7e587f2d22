//! A worker on a log that lives in this process: it has every partition, so that nothing is ever
//! revoked. The embedded and the in-memory log share it. It does not know how records are kept.

use crate::embedded::bell::{Bell, deadline};
use crate::log::{
    CommitError, LogError, Polled, Span, Transaction, Worker, WorkerSpec, equal_partitions,
};
use crate::record::Batch;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;

/// What one poll loads of one partition, at most and a chunk.
const POLL_BYTES: usize = 1 << 20;
/// How late the commits of other processes may be seen.
const GLANCE: Duration = Duration::from_millis(100);

/// How much a read shall bring: it ends with the chunk that reaches one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

/// What a worker needs of its log.
pub(crate) trait Shelf: Send + Sync + 'static {
    /// Rung after each commit.
    fn bell(&self) -> &Bell;
    /// Looks for commits of other processes, if the last look was a while ago.
    fn glance(&self);
    fn partitions(&self, topic: &str) -> Result<u32, LogError>;
    fn span(&self, at: &TopicPartition) -> Result<Span, LogError>;
    fn read(&self, at: &TopicPartition, from: u64, limit: Limit) -> Result<Batch, LogError>;
    fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError>;
    /// Fences whoever had the id before; returns the epoch to commit with.
    fn enter(&self, id: &str) -> Result<u64, LogError>;
    fn commit(&self, pass: &Pass, transaction: &Transaction) -> Result<(), CommitError>;
}

/// What a worker shows with each commit.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) id: String,
    pub(crate) epoch: u64,
    pub(crate) group: String,
}

impl Pass {
    /// The answer to a worker whose id another one has taken.
    pub(crate) fn fenced(&self) -> CommitError {
        CommitError::Fatal(format!(
            "another worker has taken the id {:?}; give every worker that runs an id of its own",
            self.id
        ))
    }
}

/// Waits until something is committed, `flag` is set, or `until`; sees other processes' commits.
pub(crate) fn rest(log: &dyn Shelf, seen: u64, until: Instant, flag: &AtomicBool) -> u64 {
    let now = log.bell().wait(seen, until.min(Instant::now() + GLANCE), flag);
    log.glance();
    now
}

/// [`crate::Log::wait`] for any shelf.
pub(crate) fn wait(log: &dyn Shelf, seen: u64, timeout: Duration) -> u64 {
    let (until, never) = (deadline(timeout), AtomicBool::new(false));
    log.glance();
    while log.bell().count() == seen && Instant::now() < until {
        rest(log, seen, until, &never);
    }
    log.bell().count()
}

/// The hold of one thread on the log.
pub(crate) struct ShelfWorker<L> {
    log: Arc<L>,
    pass: Pass,
    partitions: u32,
    seats: Vec<Seat>,
    /// The seat that is served first by the next poll.
    turn: usize,
    assigned: bool,
    woken: Arc<AtomicBool>,
}

/// A partition and where its next read begins.
struct Seat {
    at: TopicPartition,
    next: u64,
    open: bool,
}

impl<L: Shelf> ShelfWorker<L> {
    pub(crate) fn new(log: Arc<L>, spec: &WorkerSpec) -> Result<ShelfWorker<L>, LogError> {
        let (partitions, seats) = seats(&*log, &spec.inputs)?;
        let epoch = log.enter(&spec.id)?;
        let pass = Pass { id: spec.id.clone(), epoch, group: spec.group.clone() };
        let (assigned, woken) = (seats.is_empty(), Arc::default());
        let mut worker = ShelfWorker { log, pass, partitions, seats, turn: 0, assigned, woken };
        worker.rewind()?;
        Ok(worker)
    }

    fn set_open(&mut self, partitions: &[u32], open: bool) {
        let named = |seat: &&mut Seat| partitions.contains(&seat.at.partition);
        self.seats.iter_mut().filter(named).for_each(|seat| seat.open = open);
    }

    /// One round over the partitions, beginning where the last round stopped.
    fn take(&mut self, max_records: usize) -> Result<Vec<Batch>, LogError> {
        let (mut batches, mut left) = (Vec::new(), max_records.max(1));
        let first = self.turn;
        for i in 0..self.seats.len() {
            let turn = (first + i) % self.seats.len();
            let seat = &mut self.seats[turn];
            if !seat.open || self.log.span(&seat.at)?.end == seat.next {
                continue;
            }
            let limit = Limit { bytes: POLL_BYTES, records: left };
            let batch = self.log.read(&seat.at, seat.next, limit)?;
            seat.next = batch.next;
            let records: usize = batch.chunks.iter().map(|chunk| chunk.count as usize).sum();
            if records > 0 {
                batches.push(batch);
            }
            self.turn = turn + 1;
            left = left.saturating_sub(records);
            if left == 0 {
                break;
            }
        }
        Ok(batches)
    }
}

impl<L: Shelf> Worker for ShelfWorker<L> {
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Polled, LogError> {
        if !std::mem::replace(&mut self.assigned, true) {
            return Ok(Polled::Assigned((0..self.partitions).collect()));
        }
        let until = deadline(timeout);
        loop {
            let seen = self.log.bell().count();
            self.log.glance();
            let batches = self.take(max_records)?;
            let woken = self.woken.swap(false, Ordering::AcqRel);
            if woken || !batches.is_empty() || Instant::now() >= until {
                return Ok(Polled::Records(batches));
            }
            rest(&*self.log, seen, until, &self.woken);
        }
    }

    fn open(&mut self, partitions: &[u32]) {
        self.set_open(partitions, true);
    }

    fn close(&mut self, partitions: &[u32]) {
        self.set_open(partitions, false);
    }

    fn confirm(&mut self) -> Result<(), CommitError> {
        self.log.commit(&self.pass, &Transaction::default())
    }

    fn commit(&mut self, transaction: &mut Transaction) -> Result<(), CommitError> {
        if !transaction.is_empty() {
            self.log.commit(&self.pass, transaction)?;
            transaction.clear();
        }
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), LogError> {
        for seat in &mut self.seats {
            seat.next = match self.log.committed(&self.pass.group, &seat.at)? {
                Some(next) => next,
                None => self.log.span(&seat.at)?.start,
            };
        }
        Ok(())
    }

    fn committed(&self, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.log.committed(&self.pass.group, at)
    }

    fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (log, woken) = (self.log.clone(), self.woken.clone());
        Arc::new(move || log.bell().wake(&woken))
    }
}

/// Every partition of every input, partition by partition: inputs that are joined advance together.
fn seats(log: &dyn Shelf, inputs: &[Arc<str>]) -> Result<(u32, Vec<Seat>), LogError> {
    let partitions = equal_partitions(inputs, |topic| log.partitions(topic))?;
    let at = |partition| {
        inputs.iter().map(move |topic| TopicPartition { topic: topic.clone(), partition })
    };
    let seats = (0..partitions).flat_map(at);
    Ok((partitions, seats.map(|at| Seat { at, next: 0, open: false }).collect()))
}
