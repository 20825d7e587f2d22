//! The loop: poll, step, commit once. It performs what steps ask for, and nothing else does.
//!
//! One transaction holds the outputs, the changelog of the state, the dead letters and the input
//! offsets. State changes are final only after the commit. An abort takes them back and rewinds; an
//! outcome that is not known drops the worker and takes up what is committed.

mod intake;
mod restore;

use crate::crash;
use crate::early::Early;
use crate::effects::Effects;
pub use crate::failure::Failure;
use crate::held::Held;
use crate::log::{CommitError, Log, LogError, PATIENCE, Polled, Worker, WorkerSpec};
use crate::partition::Partition;
use crate::progress::{Progress, positions};
use crate::state::{Clock, Store};
use crate::step::{Ring, Step};
use crate::table::Tables;
pub use crate::terms::{Options, Sink, SinkError, Turn};
use crate::topology::Topology;
use intake::Waiting;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::Micros;
use tocsin_domain::topics::{self, Topics};

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
    held: Held<S::State>,
    tables: Tables,
    waiting: Waiting,
    /// Whose state is there, but perhaps not the tables that their records must meet.
    unopened: Vec<u32>,
    /// When idle subjects were last looked for.
    looked: Micros,
    /// Until when nothing is restored, because it did not work.
    stalled: Option<Instant>,
    /// How often in a row what was begun had to be dropped.
    aborts: u32,
    /// What the worker needs before it polls again.
    repair: Repair,
}

/// What has to be done with a worker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Repair {
    Nothing,
    /// It must go back to the last commit.
    Rewind,
    /// It cannot know what is committed: another one takes its place.
    Replace,
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
        let (mut changelog, mut early) = (None, None);
        if let Some(topic) = topology.changelog {
            let partitions = log.partitions(topic)?;
            changelog = Some(effects.transaction.register(topic, partitions));
            let directory = options.snapshots.clone();
            early = directory.map(|directory| Early::begin(directory, topic, partitions));
        }
        let worker = log.worker(&spec(&topology, options.slot))?;
        let standby = options.standby;
        Ok(Self {
            topology,
            log,
            step,
            sink,
            options,
            worker,
            effects,
            changelog,
            held: Held::new(early, standby),
            tables: Tables::default(),
            waiting: Waiting::default(),
            unopened: Vec::new(),
            looked: Micros::MIN,
            stalled: None,
            aborts: 0,
            repair: Repair::Nothing,
        })
    }

    /// One turn: catch up the tables, poll, step, ring what is due, commit.
    pub fn turn(&mut self, timeout: Duration, now: Micros) -> Result<Turn, Failure> {
        let turn = match self.turn_once(timeout, now) {
            Err(Failure::Log(LogError::Unavailable(reason)) | Failure::Away(reason)) => {
                tracing::warn!(service = self.topology.service, reason, "waiting");
                self.drop_work();
                Turn { aborted: true, ..Turn::default() }
            }
            Err(Failure::Log(LogError::Lost(reason))) => {
                tracing::warn!(
                    service = self.topology.service,
                    reason,
                    "taking up what is committed"
                );
                self.drop_work();
                self.repair = Repair::Replace;
                Turn { aborted: true, ..Turn::default() }
            }
            done => done?,
        };
        let partitions = self.held.ready.len() as u32;
        let (restoring, standby) = (self.held.left(), self.held.behind());
        Ok(Turn { partitions, restoring, standby, ..turn })
    }

    fn turn_once(&mut self, timeout: Duration, now: Micros) -> Result<Turn, Failure> {
        self.repair()?;
        self.restore_pieces(now)?;
        let timeout = if self.held.is_busy(now) && self.stalled.is_none() {
            Duration::ZERO
        } else {
            self.waiting.patience(timeout.min(self.until_next_ring(now)))
        };
        let polled_at = Instant::now();
        let polled = self.worker.poll(self.options.max_records, timeout)?;
        // What came while the poll waited must not seem to come from the future.
        let now = now.plus(polled_at.elapsed());
        self.held.ready.values_mut().for_each(|partition| partition.store.set_now(now));
        match polled {
            Polled::Assigned(partitions) => {
                self.held.come(&partitions);
                self.tell_partitions();
                self.restore_pieces(now)?;
            }
            Polled::Revoked { partitions, lost } => self.revoke(&partitions, lost, now),
            Polled::Records(batches) => {
                crash::point("after-poll");
                self.read_tables()?;
                let records = self.take_all(batches, now);
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
            while self.held.ready.is_empty()
                || self.held.restoring() > 0
                || self.repair != Repair::Nothing
            {
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
        self.held.ready.get(&partition).map(|partition| &partition.store)
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
        for (number, partition) in &mut self.held.ready {
            if clock == Clock::Event && self.waiting.has(*number) {
                continue;
            }
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
        self.held.ready.values().filter_map(next).min().unwrap_or(Duration::MAX)
    }

    fn commit(&mut self, records: u64, now: Micros) -> Result<Turn, Failure> {
        if let Some(changelog) = self.changelog {
            for (number, partition) in &mut self.held.ready {
                partition.changed |= partition.store.is_dirty();
                let out = self.effects.transaction.to_partition(changelog, *number);
                partition.store.write_changes(out);
            }
        }
        if self.effects.transaction.is_empty() {
            self.fold();
            return Ok(Turn::default());
        }
        self.sink.write(&mut self.effects.writes).map_err(|error| match error {
            SinkError::Away(reason) => Failure::Away(reason),
            SinkError::Refused(reason) => Failure::Sink(reason),
        })?;
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
                self.drop_work();
                self.repair = Repair::Replace;
                true
            }
            Err(error) => {
                tracing::warn!(service = self.topology.service, %error, "doing the batch again");
                self.drop_work();
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
        self.held.ready.values_mut().for_each(|partition| partition.store.fold());
    }

    /// Calls again while the log is only busy; what is busy for long is an abort.
    fn commit_patiently(&mut self) -> Result<(), CommitError> {
        match self.worker.commit_patiently(&mut self.effects.transaction, PATIENCE) {
            Err(CommitError::Retriable(reason)) => Err(CommitError::Abort(reason)),
            done => done,
        }
    }

    /// Nothing of what was begun since the last commit counts; it is polled again.
    fn drop_work(&mut self) {
        self.held.ready.values_mut().for_each(|partition| partition.store.abort());
        self.effects.clear();
        let waited = self.waiting.clear();
        self.worker.open(&waited);
        self.repair = self.repair.max(Repair::Rewind);
        // A disk that is full stays full for a while.
        std::thread::sleep(Duration::from_millis(10 << self.aborts.min(6)));
        self.aborts += 1;
    }

    fn repair(&mut self) -> Result<(), Failure> {
        match self.repair {
            Repair::Nothing => {}
            Repair::Rewind => self.worker.rewind()?,
            Repair::Replace => {
                self.held.lose_all();
                self.unopened.clear();
                self.tell_partitions();
                self.worker = self.log.worker(&spec(&self.topology, self.options.slot))?;
            }
        }
        self.repair = Repair::Nothing;
        Ok(())
    }

    fn tell_partitions(&self) {
        let ours: Vec<u32> = self.held.ready.keys().copied().collect();
        self.options.observer.tell(Progress::Assigned(&ours));
    }

    fn tell_position(&self, number: u32) {
        if self.options.observer.listens() {
            let inputs = (self.topology.inputs.as_slice(), number);
            match positions(&*self.log, &*self.worker, inputs) {
                Ok(found) => self.options.observer.tell(Progress::Positions(&found)),
                Err(error) => tracing::warn!(%error, "cannot tell where a partition begins"),
            }
        }
    }

    /// Everything that was polled is committed already, so there is nothing to finish.
    fn revoke(&mut self, partitions: &[u32], lost: bool, now: Micros) {
        if !lost {
            self.take_snapshots(now, Duration::ZERO, &|number| partitions.contains(&number));
        }
        self.held.go(partitions);
        self.waiting.go(partitions);
        self.unopened.retain(|number| !partitions.contains(number));
        self.tell_partitions();
    }

    fn take_snapshots(&mut self, now: Micros, every: Duration, which: &dyn Fn(u32) -> bool) {
        if let (Some(directory), Some(topic)) = (&self.options.snapshots, self.topology.changelog) {
            let log = (&*self.log, &mut self.worker);
            self.held.take_snapshots((directory, topic), log, (now, every), which);
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
