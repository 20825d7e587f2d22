//! The loop: poll, step, commit once. It performs what steps ask for, and nothing else does.
//!
//! One transaction holds the outputs, the changelog of the state, the dead letters and the input
//! offsets. State changes are final only after the commit. An abort takes them back and rewinds; an
//! outcome that is not known drops the worker and takes up what is committed.

use crate::crash;
use crate::effects::{Effects, Tally};
pub use crate::failure::Failure;
use crate::log::{CommitError, Log, LogError, Polled, Worker, WorkerSpec};
use crate::partition::Partition;
use crate::record::Batch;
use crate::state::{Clock, Store};
use crate::step::{Ring, Step};
use crate::table::Tables;
use crate::topology::Topology;
use std::collections::BTreeMap;
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_records: 10_000,
            snapshots: None,
            snapshot_every: Duration::from_secs(60),
            idle_after: Duration::from_secs(60),
            slot: 0,
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
        let (partitions, tables) = (BTreeMap::new(), Tables::default());
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
            tables,
            looked: Micros::MIN,
            aborts: 0,
        })
    }

    /// One turn: catch up the tables, poll, step, ring what is due, commit.
    pub fn turn(&mut self, timeout: Duration, now: Micros) -> Result<Turn, Failure> {
        let timeout = timeout.min(self.until_next_ring(now));
        let polled_at = Instant::now();
        let polled = self.worker.poll(self.options.max_records, timeout)?;
        // What came while the poll waited must not seem to come from the future.
        let now = now.plus(polled_at.elapsed());
        self.partitions.values_mut().for_each(|partition| partition.store.set_now(now));
        match polled {
            Polled::Assigned(partitions) => self.assign(&partitions, now)?,
            Polled::Revoked { partitions, .. } => self.revoke(&partitions, now),
            Polled::Records(batches) => {
                crash::point("after-poll");
                self.read_tables()?;
                let records = batches.iter().map(|batch| self.take(batch, now)).sum();
                self.ring_due(now);
                let turn = self.commit(records, now)?;
                self.take_snapshots(now, self.options.snapshot_every);
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
        self.take_snapshots(clock(), Duration::ZERO);
        Ok(())
    }

    /// The input has ended: every wake in event time rings, in order, until none is left.
    pub fn finish(&mut self, now: Micros) -> Result<(), Failure> {
        loop {
            // None are assigned at the start, and after an outcome that was not known.
            while self.partitions.is_empty() {
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
        let aborted = match self.commit_patiently() {
            Ok(()) => {
                crash::point("after-commit");
                self.fold();
                self.aborts = 0;
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
        Ok(Turn { records, published, tally, commit: started.elapsed(), aborted })
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
        Ok(())
    }

    fn assign(&mut self, partitions: &[u32], now: Micros) -> Result<(), Failure> {
        self.tables.assign(&*self.log, &self.topology.tables, partitions)?;
        self.read_tables()?;
        for number in partitions {
            let partition = match self.topology.changelog {
                Some(topic) => {
                    let changelog = TopicPartition::new(topic, *number);
                    let snapshots = self.options.snapshots.as_deref();
                    Partition::restore(&*self.log, snapshots, &changelog, now)?
                }
                None => Partition::empty(now),
            };
            self.partitions.insert(*number, partition);
        }
        Ok(())
    }

    /// Everything that was polled is committed already, so there is nothing to finish.
    fn revoke(&mut self, partitions: &[u32], now: Micros) {
        self.take_snapshots(now, Duration::ZERO);
        partitions.iter().for_each(|number| {
            self.partitions.remove(number);
        });
    }

    fn take_snapshots(&mut self, now: Micros, every: Duration) {
        let (Some(directory), Some(topic)) = (&self.options.snapshots, self.topology.changelog)
        else {
            return;
        };
        for (number, partition) in &mut self.partitions {
            let changelog = TopicPartition::new(topic, *number);
            partition.take_snapshot(&*self.log, directory, &changelog, (now, every));
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
