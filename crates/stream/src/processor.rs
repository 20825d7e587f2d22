//! The loop: poll, step, commit once. It performs what steps ask for, and nothing else does.
//!
//! One transaction holds the outputs, the changelog of the state, the dead letters and the input
//! offsets. State is folded in only after the commit. An abort drops the overlay and rewinds; an
//! outcome that is not known drops the worker and takes up what is committed.

use crate::crash;
use crate::effects::{Effects, Tally};
pub use crate::failure::Failure;
use crate::log::{CommitError, Log, LogError, Polled, Worker, WorkerSpec};
use crate::partition::{Partition, Restore, Restored};
use crate::progress::{Observer, Progress, positions};
use crate::record::Batch;
use crate::state::{Clock, Store};
use crate::step::{Ring, Step};
use crate::table::Tables;
use crate::topology::Topology;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::{Micros, TopicPartition};

/// How a processor runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// About how many records a transaction takes in.
    pub max_records: usize,
    /// Where snapshots are kept; `None` for no snapshots.
    pub snapshots: Option<PathBuf>,
    /// How often a snapshot is taken, by the wall clock, if the state has changed.
    pub snapshot_every: Duration,
    /// After how long without an event a subject's event time follows the wall clock.
    pub idle_after: Duration,
    /// The slot, for a group of several processes; part of the worker's stable id.
    pub slot: u32,
    /// Who is told how far it is.
    pub observer: Observer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_records: 10_000,
            snapshots: None,
            snapshot_every: Duration::from_secs(60),
            idle_after: Duration::from_secs(60),
            slot: 0,
            observer: Observer::default(),
        }
    }
}

/// Makes the rows that a step asked for, before the commit. Called again with the same rows after a
/// crash, so it must be idempotent.
pub trait Sink<W>: Send {
    /// Writes the rows; an error stops the processor before the commit, and nothing is lost.
    fn write(&mut self, rows: &mut Vec<W>) -> Result<(), String>;
}

/// For steps that write no rows.
impl<W> Sink<W> for () {
    fn write(&mut self, rows: &mut Vec<W>) -> Result<(), String> {
        rows.clear();
        Ok(())
    }
}

/// What one turn of the loop did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Inputs processed and committed.
    pub records: u64,
    /// Facts published and committed, the changelog included.
    pub published: u64,
    /// What the step counted.
    pub tally: Tally,
    /// How long the commit took; zero if there was nothing to commit.
    pub commit: Duration,
    /// Whether the transaction was dropped and will be done again.
    pub aborted: bool,
    /// How many partitions are worked on.
    pub partitions: u32,
    /// How many offsets of changelogs are still to be read before the others are, and one each.
    pub restoring: u64,
}

/// Runs one step over its topology.
pub struct Processor<S: Step> {
    topology: Topology,
    log: Arc<dyn Log>,
    step: S,
    sink: Box<dyn Sink<S::Write>>,
    options: Options,
    worker: Box<dyn Worker>,
    effects: Effects<S::Write>,
    changelog: Option<usize>,
    partitions: BTreeMap<u32, Partition<S::State>>,
    /// Those whose state is not there yet.
    restoring: VecDeque<(u32, Restore<S::State>)>,
    tables: Tables,
    /// When idle subjects were last looked for.
    looked: Micros,
    /// How often in a row a commit was aborted.
    aborts: u32,
}

impl<S: Step> Processor<S> {
    /// A processor that has read its tables and has no partition yet.
    pub fn new(
        topology: Topology,
        log: Arc<dyn Log>,
        step: S,
        sink: Box<dyn Sink<S::Write>>,
        options: Options,
    ) -> Result<Self, Failure> {
        let problems = topology.problems(Topics::builtin());
        if !problems.is_empty() {
            return Err(Failure::Topology(problems));
        }
        let outputs = topology
            .outputs
            .iter()
            .map(|topic| Ok((*topic, log.partitions(topic)?)))
            .collect::<Result<Vec<_>, LogError>>()?;
        let dead_letters = log.partitions(topics::DEAD_LETTERS)?;
        let late_events = log.partitions(topics::LATE_EVENTS)?;
        let mut effects = Effects::new(topology.service, &outputs, dead_letters, late_events);
        let changelog = match topology.changelog {
            Some(topic) => Some(effects.transaction.register(topic, log.partitions(topic)?)),
            None => None,
        };
        let worker = log.worker(&spec(&topology, options.slot))?;
        let (partitions, restoring) = (BTreeMap::new(), VecDeque::new());
        Ok(Self {
            topology,
            log,
            step,
            sink,
            options,
            worker,
            effects,
            changelog,
            partitions,
            restoring,
            tables: Tables::default(),
            looked: Micros::MIN,
            aborts: 0,
        })
    }

    /// One turn: catch up the tables, poll, step, ring what is due, commit.
    pub fn turn(&mut self, timeout: Duration, now: Micros) -> Result<Turn, Failure> {
        let turn = self.turn_once(timeout, now)?;
        let restoring = self.restoring.iter().map(|(_, restore)| restore.left() + 1).sum();
        Ok(Turn { partitions: self.partitions.len() as u32, restoring, ..turn })
    }

    fn turn_once(&mut self, timeout: Duration, now: Micros) -> Result<Turn, Failure> {
        self.restore_piece()?;
        let busy = !self.restoring.is_empty();
        let timeout = if busy { Duration::ZERO } else { timeout.min(self.until_next_ring(now)) };
        let polled_at = Instant::now();
        let polled = self.worker.poll(self.options.max_records, timeout)?;
        // What came while the poll waited must not seem to come from the future.
        let now = now.plus(polled_at.elapsed());
        self.partitions.values_mut().for_each(|partition| partition.store.set_now(now));
        match polled {
            Polled::Assigned(partitions) => self.assign(&partitions, now)?,
            Polled::Revoked { partitions, lost } => self.revoke(&partitions, lost, now),
            Polled::Records(batches) => {
                crash::point("after-poll");
                self.read_tables()?;
                let records = batches.iter().map(|batch| self.take(batch, now)).sum();
                self.ring_due(now);
                let turn = self.commit(records, now)?;
                self.take_snapshots(now, self.options.snapshot_every, &|_| true);
                return Ok(turn);
            }
        }
        Ok(Turn::default())
    }

    /// Runs until `stop` says so; then leaves snapshots behind. What was polled is committed.
    pub fn run(
        &mut self,
        stop: &dyn Fn() -> bool,
        clock: &dyn Fn() -> Micros,
        observe: &mut dyn FnMut(&Turn),
    ) -> Result<(), Failure> {
        while !stop() {
            let turn = self.turn(Duration::from_millis(250), clock())?;
            observe(&turn);
        }
        self.take_snapshots(clock(), Duration::ZERO, &|_| true);
        Ok(())
    }

    /// The input has ended: every wake in event time rings, in order, until none is left.
    pub fn finish(&mut self, now: Micros) -> Result<(), Failure> {
        loop {
            // None are assigned at the start, and after an outcome that was not known.
            while self.partitions.is_empty() || !self.restoring.is_empty() {
                self.turn(Duration::ZERO, now)?;
            }
            if !self.ring(Clock::Event, (Micros::MAX, Micros::MAX), now) {
                return Ok(());
            }
            self.commit(0, now)?;
        }
    }

    /// Wakes a turn that waits for input; from any thread.
    pub fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.worker.waker()
    }

    /// The state of a partition, for looking at.
    pub fn store(&self, partition: u32) -> Option<&Store<S::State>> {
        self.partitions.get(&partition).map(|partition| &partition.store)
    }

    fn read_tables(&mut self) -> Result<(), Failure> {
        let step = &mut self.step;
        self.tables.catch_up(&*self.log, &mut |record| {
            if let Err(poison) = step.on_table(record.topic, record.key, record.value) {
                tracing::error!(position = %record.position(), %poison, "a table's record cannot be read and is left out");
            }
        })?;
        Ok(())
    }

    fn take(&mut self, batch: &Batch, now: Micros) -> u64 {
        let Some(partition) = self.partitions.get_mut(&batch.partition) else { return 0 };
        let mut count = 0;
        for record in batch.records() {
            count += 1;
            let done = self.step.on_record(&record, now, &mut partition.store, &mut self.effects);
            if let Err(poison) = done {
                self.effects.dead_letter(&record, poison.class, &poison.reason);
            }
        }
        let at = TopicPartition { topic: batch.topic.clone(), partition: batch.partition };
        self.effects.transaction.progress.insert(at, batch.next);
        count
    }

    fn ring_due(&mut self, now: Micros) {
        self.ring(Clock::Processing, (now, Micros::MAX), now);
        // Whoever is still busy is looked at, and passed over, at every look: so not too often.
        if now.since(self.looked) >= self.options.idle_after / 4 {
            self.looked = now;
            let idle_since = now.minus(self.options.idle_after);
            self.ring(Clock::Event, (idle_since, idle_since), now);
        }
    }

    /// Rings every wake up to `until` of keys that are quiet since then; whether there was one.
    fn ring(&mut self, clock: Clock, (until, quiet): (Micros, Micros), now: Micros) -> bool {
        let mut rang = false;
        for partition in self.partitions.values_mut() {
            for (_, key) in partition.store.due(clock, until, quiet) {
                rang = true;
                let ring = Ring { key: &key, clock, event_time: until, now };
                self.step.on_wake(ring, &mut partition.store, &mut self.effects);
            }
        }
        rang
    }

    fn until_next_ring(&self, now: Micros) -> Duration {
        let next = |partition: &Partition<S::State>| {
            Some(partition.store.next_wake(Clock::Processing)?.0.since(now))
        };
        self.partitions.values().filter_map(next).min().unwrap_or(Duration::MAX)
    }

    fn commit(&mut self, records: u64, now: Micros) -> Result<Turn, Failure> {
        if let Some(changelog) = self.changelog {
            for (number, partition) in &mut self.partitions {
                partition.changed |= partition.store.is_dirty();
                let out = self.effects.transaction.to_partition(changelog, *number);
                partition.store.write_changes(out);
            }
        }
        if self.effects.transaction.is_empty() {
            self.fold();
            return Ok(Turn::default());
        }
        self.sink.write(&mut self.effects.writes).map_err(Failure::Sink)?;
        crash::point("before-commit");
        let (started, tally) = (Instant::now(), self.effects.tally);
        let published = self.effects.transaction.records() as u64;
        self.effects.transaction.time = now;
        let progress = self.options.observer.keep(&self.effects.transaction.progress);
        let aborted = match self.commit_patiently() {
            Ok(()) => {
                crash::point("after-commit");
                self.fold();
                self.aborts = 0;
                self.options.observer.tell(Progress::Positions(&progress));
                false
            }
            Err(error @ CommitError::Fatal(_)) => return Err(error.into()),
            Err(CommitError::Unknown(reason)) => {
                tracing::warn!(service = self.topology.service, %reason, "taking up what is committed");
                self.start_over()?;
                true
            }
            Err(error) => {
                tracing::warn!(service = self.topology.service, %error, "doing the batch again");
                self.partitions.values_mut().for_each(|partition| partition.store.abort());
                self.worker.rewind()?;
                // A disk that is full stays full for a while.
                std::thread::sleep(Duration::from_millis(10 << self.aborts.min(8)));
                self.aborts += 1;
                true
            }
        };
        self.effects.clear();
        if aborted {
            return Ok(Turn { aborted, ..Turn::default() });
        }
        let commit = started.elapsed();
        Ok(Turn { records, published, tally, commit, ..Turn::default() })
    }

    fn fold(&mut self) {
        self.partitions.values_mut().for_each(|partition| partition.store.fold());
    }

    /// Calls again while the log is only busy; what is busy for long is an abort.
    fn commit_patiently(&mut self) -> Result<(), CommitError> {
        let mut pause = Duration::from_millis(1);
        loop {
            match self.worker.commit(&mut self.effects.transaction) {
                Err(CommitError::Retriable(_)) if pause < Duration::from_secs(2) => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                Err(CommitError::Retriable(reason)) => return Err(CommitError::Abort(reason)),
                done => return done,
            }
        }
    }

    fn start_over(&mut self) -> Result<(), Failure> {
        self.worker = self.log.worker(&spec(&self.topology, self.options.slot))?;
        self.partitions.clear();
        self.restoring.clear();
        Ok(())
    }

    fn assign(&mut self, partitions: &[u32], now: Micros) -> Result<(), Failure> {
        self.tables.assign(&*self.log, &self.topology.tables, partitions)?;
        self.read_tables()?;
        for number in partitions {
            let changelog = self.changelog_of(*number);
            let snapshots = self.options.snapshots.as_deref();
            let restore = Restore::begin(&*self.log, snapshots, changelog, now)?;
            self.restoring.push_back((*number, restore));
        }
        if self.restoring.is_empty() {
            // Nothing is new, perhaps nothing at all: that is said, too.
            self.tell_partitions();
        }
        self.restore_piece()
    }

    /// Restores each partition in turn, piece by piece, between the batches of those that are ready.
    fn restore_piece(&mut self) -> Result<(), Failure> {
        for _ in 0..if self.partitions.is_empty() { self.restoring.len() } else { 1 } {
            let Some((number, restore)) = self.restoring.pop_front() else { break };
            match restore.step(&*self.log)? {
                Restored::More(restore) => self.restoring.push_back((number, restore)),
                Restored::Done(partition) => {
                    self.check_progress(number, &partition)?;
                    self.partitions.insert(number, partition);
                    self.worker.open(&[number]);
                    if self.options.observer.listens() {
                        let inputs = (self.topology.inputs.as_slice(), number);
                        let found = positions(&*self.log, &*self.worker, inputs)?;
                        self.options.observer.tell(Progress::Positions(&found));
                        self.tell_partitions();
                    }
                }
            }
        }
        Ok(())
    }

    fn tell_partitions(&self) {
        let ours: Vec<u32> = self.partitions.keys().copied().collect();
        self.options.observer.tell(Progress::Assigned(&ours));
    }

    /// State without progress would take in everything once more.
    fn check_progress(&self, number: u32, partition: &Partition<S::State>) -> Result<(), Failure> {
        let Some(changelog) = self.changelog_of(number).filter(|_| !partition.store.is_empty())
        else {
            return Ok(());
        };
        for input in &self.topology.inputs {
            if self.worker.committed(&TopicPartition::new(input, number))?.is_some() {
                return Ok(());
            }
        }
        Err(Failure::Offsets(changelog))
    }

    fn changelog_of(&self, partition: u32) -> Option<TopicPartition> {
        Some(TopicPartition::new(self.topology.changelog?, partition))
    }

    /// Everything that was polled is committed already, so there is nothing to finish.
    fn revoke(&mut self, partitions: &[u32], lost: bool, now: Micros) {
        if !lost {
            self.take_snapshots(now, Duration::ZERO, &|number| partitions.contains(&number));
        }
        self.partitions.retain(|number, _| !partitions.contains(number));
        self.restoring.retain(|(number, _)| !partitions.contains(number));
        self.tell_partitions();
    }

    /// Takes the snapshots that are due. Where the changelog ends is asked first and whether it is
    /// still ours afterwards: otherwise another worker's records could stand before that end.
    fn take_snapshots(&mut self, now: Micros, every: Duration, which: &dyn Fn(u32) -> bool) {
        let (Some(directory), Some(topic)) = (&self.options.snapshots, self.topology.changelog)
        else {
            return;
        };
        let due = |(number, partition): &(&u32, &Partition<S::State>)| {
            which(**number) && partition.wants_snapshot(now, every)
        };
        let ends: Result<Vec<_>, LogError> = (self.partitions.iter().filter(due))
            .map(|(number, _)| TopicPartition::new(topic, *number))
            .map(|at| Ok((at.clone(), self.log.span(&at)?.end)))
            .collect();
        let ends = ends.map_err(|error| error.to_string()).and_then(|ends| match ends.is_empty() {
            true => Ok(ends),
            false => self.worker.confirm().map(|()| ends).map_err(|error| error.to_string()),
        });
        match ends {
            Err(reason) => tracing::warn!(reason, "cannot take snapshots now"),
            Ok(ends) => ends.into_iter().for_each(|(at, end)| {
                if let Some(partition) = self.partitions.get_mut(&at.partition) {
                    partition.write_snapshot(directory, &at, end, now);
                }
            }),
        }
    }
}

fn spec(topology: &Topology, slot: u32) -> WorkerSpec {
    WorkerSpec {
        id: format!("{}-{slot}", topology.service),
        group: topology.service.to_owned(),
        inputs: topology.inputs.iter().map(|topic| (*topic).into()).collect(),
    }
}
