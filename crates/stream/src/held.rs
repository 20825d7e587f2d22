//! The partitions that a processor has: those that are ready, and those whose state is still being
//! restored, piece by piece between the batches of the others.

use crate::early::Early;
use crate::failure::Failure;
use crate::log::{Log, LogError, Worker};
use crate::partition::{Partition, Restore};
use crate::standby::Standby;
use crate::state::State;
use crate::terms::Options;
use crate::topology::Topology;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;
use tocsin_domain::{Micros, TopicPartition};

/// Partitions by their number.
pub(crate) struct Held<S> {
    pub(crate) ready: BTreeMap<u32, Partition<S>>,
    restoring: VecDeque<(u32, Option<Restore<S>>)>,
    /// Snapshots that were read before anything was ours; dropped once the first are restored.
    early: Option<Early<S>>,
    /// Copies of what others have, if they are wanted.
    standby: Option<Standby<S>>,
}

/// What the state of a partition is restored from.
pub(crate) struct Origin<'a> {
    pub(crate) log: &'a dyn Log,
    pub(crate) worker: &'a dyn Worker,
    pub(crate) inputs: &'a [&'static str],
    pub(crate) changelog: Option<&'static str>,
    pub(crate) snapshots: Option<&'a Path>,
    pub(crate) now: Micros,
}

impl<'a> Origin<'a> {
    pub(crate) fn of(
        (log, worker): (&'a dyn Log, &'a dyn Worker),
        topology: &'a Topology,
        options: &'a Options,
        now: Micros,
    ) -> Origin<'a> {
        let (inputs, changelog) = (topology.inputs.as_slice(), topology.changelog);
        Origin { log, worker, inputs, changelog, snapshots: options.snapshots.as_deref(), now }
    }
}

impl<S: State> Held<S> {
    pub(crate) fn new(early: Option<Early<S>>, standby: bool) -> Held<S> {
        let standby = standby.then(Standby::new);
        Held { ready: BTreeMap::new(), restoring: VecDeque::new(), early, standby }
    }

    /// Nothing is ours any more.
    pub(crate) fn lose_all(&mut self) {
        self.ready.clear();
        self.restoring.clear();
    }

    /// Reads on in the copy of a partition that is not ours, if copies are wanted.
    pub(crate) fn follow(&mut self, origin: &Origin<'_>) {
        let (ready, restoring) = (&self.ready, &self.restoring);
        let ours = |number| {
            ready.contains_key(&number) || restoring.iter().any(|(other, _)| *other == number)
        };
        if let Some(standby) = &mut self.standby {
            standby.follow(origin, &ours);
        }
    }

    /// How many offsets the copies are behind; `None` if none are wanted.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.standby.as_ref().map(Standby::behind)
    }

    /// Whether there is something to read before anybody waits for input.
    pub(crate) fn is_busy(&self, now: Micros) -> bool {
        !self.restoring.is_empty() || self.standby.as_ref().is_some_and(|it| it.is_eager(now))
    }

    /// These are ours now; their state is not there yet.
    pub(crate) fn come(&mut self, partitions: &[u32]) {
        self.restoring.extend(partitions.iter().map(|number| (*number, None)));
    }

    /// These are ours no longer.
    pub(crate) fn go(&mut self, partitions: &[u32]) {
        self.ready.retain(|number, _| !partitions.contains(number));
        self.restoring.retain(|(number, _)| !partitions.contains(number));
    }

    /// How many offsets of changelogs are still to be read, and one for each partition.
    pub(crate) fn left(&self) -> u64 {
        let left = |(_, restore): &(u32, Option<Restore<S>>)| {
            1 + restore.as_ref().map_or(0, Restore::left)
        };
        self.restoring.iter().map(left).sum()
    }

    /// The partition that is restored next.
    pub(crate) fn coming(&self) -> &[u32] {
        self.restoring.front().map_or(&[], |(number, _)| std::slice::from_ref(number))
    }

    /// How many partitions are not ready.
    pub(crate) fn restoring(&self) -> usize {
        self.restoring.len()
    }

    /// Restores a piece of the partition whose turn it is; gives it once it is ready. After an
    /// error the same piece is tried again.
    pub(crate) fn restore_piece(&mut self, origin: &Origin<'_>) -> Result<Option<u32>, Failure> {
        match self.step_first(origin) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                // Whatever this one waits for, the others need not.
                if !self.restoring.is_empty() {
                    self.restoring.rotate_left(1);
                }
                return Err(error);
            }
        }
        let Some((number, Some(restore))) = self.restoring.pop_front() else { return Ok(None) };
        self.ready.insert(number, restore.finish()?);
        if self.restoring.is_empty() {
            self.early = None;
        }
        Ok(Some(number))
    }

    /// A piece of the first; whether nothing is left of it. One after the other, so that most are
    /// ready before the last is; the second begins already, and what it needs comes meanwhile.
    fn step_first(&mut self, origin: &Origin<'_>) -> Result<bool, Failure> {
        self.begin(0, origin)?;
        if let Err(error) = self.begin(1, origin) {
            tracing::debug!(%error, "cannot begin to restore yet");
        }
        match self.restoring.front_mut() {
            Some((_, Some(restore))) => restore.step(origin.log),
            _ => Ok(false),
        }
    }

    /// Begins to restore the partition at this place in the line, if there is one that has not begun.
    fn begin(&mut self, place: usize, origin: &Origin<'_>) -> Result<(), Failure> {
        let Some((number, restore @ None)) = self.restoring.get_mut(place) else { return Ok(()) };
        let copy = self.standby.as_mut().map(|standby| standby.claim(origin, *number));
        *restore = Some(match copy.transpose()?.flatten() {
            Some(copy) => copy,
            None => {
                let early = self.early.as_mut().and_then(|early| early.take(*number));
                Restore::begin(origin, *number, early)?
            }
        });
        Ok(())
    }

    /// Takes the snapshots that are due. Where the changelog ends is asked first and whether it is
    /// still ours afterwards: otherwise another worker's records could stand before that end.
    pub(crate) fn take_snapshots(
        &mut self,
        (directory, changelog): (&Path, &str),
        (log, worker): (&dyn Log, &mut Box<dyn Worker>),
        (now, every): (Micros, Duration),
        which: &dyn Fn(u32) -> bool,
    ) {
        let due = |(number, partition): &(&u32, &Partition<S>)| {
            which(**number) && partition.wants_snapshot(now, every)
        };
        let ends: Result<Vec<_>, LogError> = (self.ready.iter().filter(due))
            .map(|(number, _)| TopicPartition::new(changelog, *number))
            .map(|at| Ok((at.clone(), log.span(&at)?.end)))
            .collect();
        let ends = ends.map_err(|error| error.to_string()).and_then(|ends| match ends.is_empty() {
            true => Ok(ends),
            false => worker.confirm().map(|()| ends).map_err(|error| error.to_string()),
        });
        match ends {
            Err(reason) => tracing::warn!(reason, "cannot take snapshots now"),
            Ok(ends) => ends.into_iter().for_each(|(at, end)| {
                if let Some(partition) = self.ready.get_mut(&at.partition) {
                    partition.write_snapshot(directory, &at, end, now);
                }
            }),
        }
    }
}
