//! One partition of a running service: its state, its snapshots, and how it is restored.

use crate::failure::Failure;
use crate::held::Origin;
use crate::log::{Log, Span};
use crate::snapshot::{self, Loaded};
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
    /// When everything was read last that there was to read.
    current: Micros,
}

impl Tail {
    fn look_for_progress(&mut self, origin: &Origin<'_>) -> Result<(), Failure> {
        let number = self.at.partition;
        self.has_progress = origin.inputs.iter().try_fold(false, |found, input| {
            let committed = origin.worker.committed(&TopicPartition::new(input, number))?;
            Ok::<bool, Failure>(found || committed.is_some())
        })?;
        Ok(())
    }
}

/// A tail of so many offsets is worth a snapshot.
const LONG_TAIL: u64 = 10_000;
/// About so much of a changelog is read at a time.
const PIECE: usize = 4 << 20;
/// A copy that was behind for so long may miss tombstones, as an old snapshot does.
const OLDEST_COPY: Duration = Duration::from_secs(3600);

impl<S: State> Restore<S> {
    /// Begins with a snapshot that can be trusted, if there is one. The partition is ours: nobody else
    /// writes to it any more, and its end is known.
    pub fn begin(
        origin: &Origin<'_>,
        number: u32,
        early: Option<Loaded<S>>,
    ) -> Result<Self, Failure> {
        let (mut restore, written) = Self::fresh(origin, number, early)?;
        if let Some(tail) = &mut restore.tail {
            tail.end = written;
            tail.look_for_progress(origin)?;
            if tail.next < tail.end {
                origin.log.fetch_ahead(&tail.at, tail.next);
            }
        }
        Ok(restore)
    }

    /// The same of a partition that is not ours, or not yet.
    pub fn copy(origin: &Origin<'_>, number: u32) -> Result<Self, Failure> {
        Ok(Self::fresh(origin, number, None)?.0)
    }

    /// Up to what is committed, and the end of what is written.
    fn fresh(
        origin: &Origin<'_>,
        number: u32,
        early: Option<Loaded<S>>,
    ) -> Result<(Self, u64), Failure> {
        let (log, now) = (origin.log, origin.now);
        let mut partition = Partition::empty(now);
        partition.store.set_now(now);
        let Some(topic) = origin.changelog else { return Ok((Self { partition, tail: None }, 0)) };
        let at = TopicPartition::new(topic, number);
        let Span { start, end } = log.span(&at)?;
        // What a worker that died had begun to write is decided before this end is reached.
        let written = log.undecided_end(&at)?;
        let mut next = start;
        if let Some(directory) = origin.snapshots
            && let Some(mut found) = early.or_else(|| snapshot::load(directory, &at))
        {
            if found.is_of_now(now) && (start..=written).contains(&found.next) {
                found.store.set_now(now);
                found.store.touch_all();
                (partition.store, next) = (found.store, found.next);
            } else {
                // It must not come to be trusted when the changelog has grown past it.
                snapshot::remove(directory, &at);
                tracing::warn!(changelog = %at, "the snapshot is too old; reading the whole changelog");
            }
        }
        // Who had to read much is spared it the next time.
        partition.changed = end.saturating_sub(next) > LONG_TAIL;
        let tail = Tail { at, next, end, has_progress: false, current: now };
        Ok((Self { partition, tail: Some(tail) }, written))
    }

    /// The partition of a copy is ours now: its end is asked anew. `false` if the changelog is not the
    /// one that was read.
    pub fn claim(&mut self, origin: &Origin<'_>) -> Result<bool, Failure> {
        let Some(tail) = &mut self.tail else { return Ok(true) };
        tail.look_for_progress(origin)?;
        let start = origin.log.span(&tail.at)?.start;
        tail.end = origin.log.undecided_end(&tail.at)?;
        self.partition.store.set_now(origin.now);
        self.partition.store.touch_all();
        Ok((start..=tail.end).contains(&tail.next))
    }

    /// Reads a piece of what was committed since, while the partition is not ours.
    pub fn follow(&mut self, origin: &Origin<'_>) -> Result<(), Failure> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        if tail.next >= tail.end {
            tail.end = origin.log.span(&tail.at)?.end;
        }
        self.partition.store.set_now(origin.now);
        if tail.next < tail.end {
            read_piece(tail, &mut self.partition.store, origin.log)?;
        }
        if tail.next >= tail.end {
            tail.current = origin.now;
        }
        Ok(())
    }

    /// Whether a copy can not be trusted any more, because it was behind for too long.
    pub fn is_old(&self, now: Micros) -> bool {
        self.tail.as_ref().is_some_and(|tail| now.since(tail.current) > OLDEST_COPY)
    }

    /// Reads a piece; whether nothing is left.
    pub fn step(&mut self, log: &dyn Log) -> Result<bool, Failure> {
        let Some(tail) = &mut self.tail else { return Ok(true) };
        if tail.next < tail.end {
            read_piece(tail, &mut self.partition.store, log)?;
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

fn read_piece<S: State>(
    tail: &mut Tail,
    store: &mut Store<S>,
    log: &dyn Log,
) -> Result<(), Failure> {
    let batch = log.read(&tail.at, tail.next, PIECE)?;
    for record in batch.records() {
        if !store.restore(record.key, record.value) {
            return Err(Failure::State(tail.at.clone()));
        }
    }
    tail.next = batch.next;
    if batch.is_empty() && log.span(&tail.at)?.end >= tail.end {
        // A gap at the end holds nothing to read.
        tail.next = tail.end;
    }
    Ok(())
}
