//! One partition of a running service: its state, its snapshots, and how it is restored.

use crate::failure::Failure;
use crate::held::Origin;
use crate::log::Log;
use crate::snapshot;
use crate::state::{State, Store};
use std::path::Path;
use std::time::Duration;
use tocsin_domain::{Micros, TopicPartition};

pub struct Partition<S> {
    pub store: Store<S>,
    /// Whether the state has changed since the last snapshot.
    pub changed: bool,
    /// When that was taken.
    snapshot: Micros,
}

impl<S: State> Partition<S> {
    /// A partition without state.
    pub fn empty(now: Micros) -> Self {
        Self { store: Store::default(), changed: false, snapshot: now }
    }

    /// Whether a snapshot is worth its time: the state has changed, and the last one is old enough.
    pub fn wants_snapshot(&self, now: Micros, every: Duration) -> bool {
        self.changed && now.since(self.snapshot) >= every
    }

    /// Writes a snapshot of the state as it is after changelog offset `next`. One that cannot be
    /// written costs time at the next start and nothing else.
    pub fn write_snapshot(
        &mut self,
        directory: &Path,
        changelog: &TopicPartition,
        next: u64,
        now: Micros,
    ) {
        match snapshot::write(directory, changelog, next, now, &self.store) {
            Ok(()) => self.changed = false,
            Err(reason) => tracing::warn!(%changelog, %reason, "cannot write a snapshot"),
        }
        self.snapshot = now;
    }
}

/// A partition whose state is being restored, a piece at a time, so that others need not wait.
pub struct Restore<S> {
    partition: Partition<S>,
    /// What there is still to read; `None` for a service that keeps no state.
    tail: Option<Tail>,
}

/// A changelog from an offset on.
struct Tail {
    at: TopicPartition,
    next: u64,
    end: u64,
    /// Whether it is known up to which inputs the state goes.
    has_progress: bool,
}

/// About so much of a changelog is read at a time.
const PIECE: usize = 4 << 20;

impl<S: State> Restore<S> {
    /// Begins with a snapshot that can be trusted, if there is one.
    pub fn begin(origin: &Origin<'_>, number: u32) -> Result<Self, Failure> {
        let (log, now) = (origin.log, origin.now);
        let mut partition = Partition::empty(now);
        partition.store.set_now(now);
        let Some(topic) = origin.changelog else { return Ok(Self { partition, tail: None }) };
        let at = TopicPartition::new(topic, number);
        let has_progress = origin.inputs.iter().try_fold(false, |found, input| {
            let committed = origin.worker.committed(&TopicPartition::new(input, number))?;
            Ok::<bool, Failure>(found || committed.is_some())
        })?;
        let span = log.span(&at)?;
        // What a worker that died had begun to write is decided before this end is reached.
        let end = log.undecided_end(&at)?;
        let store = &mut partition.store;
        let found = origin.snapshots.and_then(|dir| snapshot::read(dir, &at, now, store));
        let next = match found {
            Some(next) if (span.start..=end).contains(&next) => next,
            refused => {
                // It must not come to be trusted when the changelog has grown past it.
                if let (Some(_), Some(directory)) = (refused, origin.snapshots) {
                    snapshot::remove(directory, &at);
                }
                *store = Store::default();
                store.set_now(now);
                span.start
            }
        };
        Ok(Self { partition, tail: Some(Tail { at, next, end, has_progress }) })
    }

    /// Reads a piece; whether nothing is left.
    pub fn step(&mut self, log: &dyn Log) -> Result<bool, Failure> {
        let Some(tail) = &mut self.tail else { return Ok(true) };
        if tail.next < tail.end {
            let batch = log.read(&tail.at, tail.next, PIECE)?;
            for record in batch.records() {
                if !self.partition.store.restore(record.key, record.value) {
                    return Err(Failure::State(tail.at.clone()));
                }
            }
            tail.next = batch.next;
            if batch.is_empty() && log.span(&tail.at)?.end >= tail.end {
                // A gap at the end holds nothing to read.
                tail.next = tail.end;
            }
        }
        if tail.next >= tail.end {
            log.forget(&tail.at);
        }
        Ok(tail.next >= tail.end)
    }

    /// The partition, once nothing is left. State without progress is refused: everything would
    /// be taken in once more.
    pub fn finish(self) -> Result<Partition<S>, Failure> {
        match self.tail {
            Some(tail) if !tail.has_progress && !self.partition.store.is_empty() => {
                Err(Failure::Offsets(tail.at))
            }
            _ => Ok(self.partition),
        }
    }

    /// How many offsets of the changelog are still to be read.
    pub fn left(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.end.saturating_sub(tail.next))
    }
}
