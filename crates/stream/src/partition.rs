//! One partition of a running service: its state, its snapshots, and how it is restored.

use crate::failure::Failure;
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
    /// What there is still to read.
    tail: Option<Tail>,
    records: u64,
}

/// A changelog from an offset on.
struct Tail {
    at: TopicPartition,
    next: u64,
    end: u64,
}

/// About so much of a changelog is read at a time.
const PIECE: usize = 4 << 20;

impl<S: State> Restore<S> {
    /// Begins with a snapshot that can be trusted, if there is one. Without a changelog there is
    /// nothing to restore.
    pub fn begin(
        log: &dyn Log,
        snapshots: Option<&Path>,
        changelog: Option<TopicPartition>,
        now: Micros,
    ) -> Result<Self, Failure> {
        let mut partition = Partition::empty(now);
        let Some(at) = changelog else { return Ok(Self { partition, tail: None, records: 0 }) };
        let store = &mut partition.store;
        store.set_now(now);
        let span = log.span(&at)?;
        // What a worker that died had begun to write is decided before this end is reached.
        let end = log.undecided_end(&at)?;
        let found = snapshots.and_then(|directory| snapshot::read(directory, &at, now, store));
        let next = match found {
            Some(next) if (span.start..=end).contains(&next) => next,
            refused => {
                // It must not come to be trusted when the changelog has grown past it.
                if let (Some(_), Some(directory)) = (refused, snapshots) {
                    snapshot::remove(directory, &at);
                }
                *store = Store::default();
                store.set_now(now);
                span.start
            }
        };
        Ok(Self { partition, tail: Some(Tail { at, next, end }), records: 0 })
    }

    /// Reads a piece; gives the partition once nothing is left.
    pub fn step(mut self, log: &dyn Log) -> Result<Restored<S>, Failure> {
        let Some(tail) = &mut self.tail else { return Ok(Restored::Done(self.partition)) };
        if tail.next < tail.end {
            let batch = log.read(&tail.at, tail.next, PIECE)?;
            for record in batch.records() {
                self.records += 1;
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
        if tail.next < tail.end {
            return Ok(Restored::More(self));
        }
        log.forget(&tail.at);
        Ok(Restored::Done(self.partition))
    }

    /// How many offsets of the changelog are still to be read.
    pub fn left(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.end.saturating_sub(tail.next))
    }
}

/// What a piece of a restore has led to.
pub enum Restored<S> {
    /// There is more to read.
    More(Restore<S>),
    /// The state is as it was last committed.
    Done(Partition<S>),
}
