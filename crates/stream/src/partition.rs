//! One partition of a running service: its state, when it was last busy, and its snapshots.

use crate::failure::Failure;
use crate::log::Log;
use crate::processor::Options;
use crate::progress::Progress;
use crate::snapshot;
use crate::state::{State, Store};
use std::path::Path;
use std::time::Duration;
use tocsin_domain::{Micros, TopicPartition};

/// After how many records of a changelog it is told how many are left.
const TELL_EVERY: u32 = 10_000;

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

    /// The state as it was last committed: a snapshot that can be trusted and the changelog after
    /// it, or the whole changelog.
    pub fn restore(
        log: &dyn Log,
        options: &Options,
        changelog: &TopicPartition,
        now: Micros,
    ) -> Result<Self, Failure> {
        let snapshots = options.snapshots.as_deref();
        let mut partition = Self::empty(now);
        let store = &mut partition.store;
        store.set_now(now);
        let span = log.span(changelog)?;
        let found = snapshots.and_then(|at| snapshot::read(at, changelog, now, store));
        let from = match found {
            Some(next) if (span.start..=span.end).contains(&next) => next,
            refused => {
                // It must not come to be trusted when the changelog has grown past it.
                if let (Some(_), Some(at)) = (refused, snapshots) {
                    snapshot::remove(at, changelog);
                }
                *store = Store::default();
                store.set_now(now);
                span.start
            }
        };
        let left = |next: u64| {
            let (partition, left) = (changelog.partition, span.end.saturating_sub(next));
            options.observer.tell(Progress::Restoring { partition, left });
        };
        left(from);
        let mut read: u32 = 0;
        log.scan(changelog, from, |record| {
            read = read.wrapping_add(1);
            if read.is_multiple_of(TELL_EVERY) {
                left(record.offset);
            }
            match store.restore(record.key, record.value) {
                true => Ok(()),
                false => Err(Failure::State(changelog.clone())),
            }
        })?;
        left(span.end);
        Ok(partition)
    }

    /// Takes a snapshot if the state has changed and the last one is old enough. One that cannot
    /// be written costs time at the next start and nothing else.
    pub fn take_snapshot(
        &mut self,
        log: &dyn Log,
        directory: &Path,
        changelog: &TopicPartition,
        (now, every): (Micros, Duration),
    ) {
        if !self.changed || now.since(self.snapshot) < every {
            return;
        }
        let written = log.span(changelog).map_err(|e| e.to_string()).and_then(|span| {
            snapshot::write(directory, changelog, span.end, now, &self.store)
                .map_err(|e| e.to_string())
        });
        match written {
            Ok(()) => self.changed = false,
            Err(reason) => tracing::warn!(%changelog, reason, "cannot write a snapshot"),
        }
        self.snapshot = now;
    }
}
