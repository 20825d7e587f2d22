//! How the services of this process are: what they tell of themselves becomes health for probes and
//! gauges for scrapes. It decides nothing and changes nothing.

use crate::facts;
use crate::restoring::Restoring;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tocsin_domain::{TopicPartition, topics};
use tocsin_service::health::State;
use tocsin_service::{Health, Metrics, Stop};
use tocsin_store::Store;
use tocsin_stream::{Log, LogError, Observer, Progress, snapshot};

/// How often lag and snapshots are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is known of every part. Clones are the same.
#[derive(Clone)]
pub struct Vitals {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What probes are told.
    pub health: Health,
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

/// A loop over the log.
#[derive(Default)]
struct Part {
    /// `None` until it was given any, or none of them.
    partitions: Option<BTreeSet<u32>>,
    /// Where each input goes on from.
    positions: BTreeMap<TopicPartition, u64>,
    /// What stood between each position and the end of its input at the last look.
    gaps: BTreeMap<TopicPartition, Gap>,
    /// Where each input went on from when it came here.
    entered: BTreeMap<TopicPartition, u64>,
    /// While state is read.
    restoring: Option<Restoring>,
    /// What some of its partitions wait for, while the others go on.
    waiting: Option<String>,
    /// The directory of snapshots and the changelog that they are of.
    snapshots: Option<(PathBuf, &'static str)>,
}

/// Offsets that a part has not come to.
#[derive(Clone, Copy, PartialEq)]
struct Gap {
    next: u64,
    end: u64,
    /// Whether no record is among them; `None` as long as nobody has looked.
    is_bare: Option<bool>,
}

impl Vitals {
    /// Of these loops, none of which has said anything yet.
    pub fn of(loops: &[&'static str]) -> Vitals {
        let (metrics, health) = (Metrics::new(), Health::of_loops(loops));
        health.set("log", State::Starting);
        Vitals { metrics, health, parts: Arc::default() }
    }

    /// Hears what a part says; its snapshots, if it has any, are of that changelog.
    pub fn observer(
        &self,
        part: &'static str,
        snapshots: Option<(PathBuf, &'static str)>,
    ) -> Observer {
        self.lock().insert(part, Part { snapshots, ..Part::default() });
        let vitals = self.clone();
        Observer::new(move |progress| vitals.hear(part, progress))
    }

    /// A loop is about to turn.
    pub fn turned(&self, part: &'static str) {
        self.health.turned(part);
        self.metrics.loop_turned(part, facts::now());
    }

    /// The inputs that a part has, and where each went on from when it came here.
    pub fn entered(&self, part: &str) -> BTreeMap<TopicPartition, u64> {
        self.lock().get(part).map(|known| known.entered.clone()).unwrap_or_default()
    }

    fn hear(&self, name: &'static str, progress: Progress<'_>) {
        self.turned(name);
        let mut parts = self.lock();
        let part = parts.entry(name).or_default();
        match progress {
            Progress::Positions(positions) => {
                for (at, next) in positions {
                    part.entered.entry(at.clone()).or_insert(*next);
                    part.positions.insert(at.clone(), *next);
                }
            }
            Progress::Assigned(partitions) => {
                let ours: BTreeSet<u32> = partitions.iter().copied().collect();
                let metrics = &self.metrics;
                part.entered.retain(|at, _| ours.contains(&at.partition));
                part.gaps.retain(|at, _| ours.contains(&at.partition));
                part.positions.retain(|at, _| {
                    let keep = ours.contains(&at.partition);
                    if !keep {
                        metrics.consumer_lag(name, &at.topic, at.partition, None);
                    }
                    keep
                });
                metrics.assigned_partitions(name, ours.len());
                part.partitions = Some(ours);
            }
            Progress::Waits(waits) => {
                self.metrics.partitions_waiting(name, waits.map_or(0, |(count, _)| count));
                part.waiting = waits.map(|(count, why)| {
                    format!("{count} of its partitions wait, and the others go on: {why}")
                });
            }
        }
    }

    /// So many records of its changelogs has a part still to read before it works on everything
    /// that it was given.
    pub fn restoring(&self, name: &'static str, left: u64) {
        let mut parts = self.lock();
        let Some(part) = parts.get_mut(name) else { return };
        if left == 0 && part.restoring.is_none() && part.partitions.is_none() {
            return;
        }
        let state = match left {
            0 => self.restored(name, part),
            _ => self.restores(name, part, left),
        };
        self.health.set(name, state);
    }

    fn restored(&self, name: &'static str, part: &mut Part) -> State {
        if let Some(restoring) = part.restoring.take() {
            let (took, records) = (restoring.took(Instant::now()), restoring.total());
            self.metrics.restored(name, took);
            tracing::info!(service = name, records, ?took, "the state is restored");
        }
        self.metrics.restore_left(name, 0, Some(Duration::ZERO));
        let partitions = Some(part.partitions.as_ref().map_or(0, BTreeSet::len));
        State::Ready { partitions, waiting: part.waiting.clone() }
    }

    fn restores(&self, name: &'static str, part: &mut Part, left: u64) -> State {
        let now = Instant::now();
        let restoring = part.restoring.get_or_insert_with(|| Restoring::begin(left, now));
        *restoring = restoring.on(left);
        let (restored, total, time) =
            (restoring.restored, restoring.total(), restoring.time_left(now));
        self.metrics.restore_left(name, left, time);
        let seconds_left = time.map(|time| time.as_secs());
        if restoring.tell(now) {
            tracing::info!(service = name, restored, total, seconds_left, "restoring the state");
        }
        State::Restoring { restored, total, seconds_left }
    }

    /// Looks until it is told to stop. A log that does not answer makes the process not ready.
    pub fn run(&self, log: &dyn Log, stop: &Stop) {
        let somewhere = TopicPartition::new(topics::WATCHES, 0);
        self.ask("log", stop, || {
            log.span(&somewhere)?;
            self.health.set("log", State::ready(None));
            self.look(log)
        });
    }

    /// The same for the tables.
    pub fn run_store(&self, store: &dyn Store, stop: &Stop) {
        self.ask("store", stop, || tocsin_project::are_ready(store).map(drop));
    }

    /// Asks now and then whether something outside is there.
    fn ask<E: Display>(
        &self,
        name: &'static str,
        stop: &Stop,
        question: impl Fn() -> Result<(), E>,
    ) {
        loop {
            self.health.ask(name);
            self.health.set(
                name,
                match question() {
                    Ok(()) => State::ready(None),
                    Err(error) => State::Waiting { reason: format!("does not answer: {error}") },
                },
            );
            if stop.sleep(LOOK_EVERY) {
                return;
            }
        }
    }

    /// Notes how far behind each part is, and how old its snapshots are.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn look(&self, log: &dyn Log) -> Result<(), LogError> {
        for (name, positions) in self.positions() {
            for (at, next) in positions {
                let gap = self.gap(log, name, &at, next)?;
                self.note_gap(name, &at, gap);
            }
        }
        self.note_snapshots();
        Ok(())
    }

    /// Nobody waits for the lock while the log is asked.
    fn positions(&self) -> Vec<(&'static str, BTreeMap<TopicPartition, u64>)> {
        self.lock().iter().map(|(name, part)| (*name, part.positions.clone())).collect()
    }

    /// The marks of transactions have offsets too, and nobody ever comes to the last one. So a gap
    /// that is as it was at the last look is looked into, once.
    fn gap(
        &self,
        log: &dyn Log,
        name: &'static str,
        at: &TopicPartition,
        next: u64,
    ) -> Result<Gap, LogError> {
        let end = log.span(at)?.end.max(next);
        let before = self.lock().get(name).and_then(|part| part.gaps.get(at).copied());
        Ok(match before.filter(|gap| (gap.next, gap.end) == (next, end)) {
            Some(gap) if gap.is_bare.is_none() && next < end => {
                let read = log.read(at, next, 1);
                let is_bare =
                    read.is_ok_and(|batch| batch.next >= end && batch.records().next().is_none());
                log.forget(at);
                Gap { is_bare: Some(is_bare), ..gap }
            }
            known => known.unwrap_or(Gap { next, end, is_bare: None }),
        })
    }

    /// What has gone to another process since is not noted any more.
    fn note_gap(&self, name: &'static str, at: &TopicPartition, gap: Gap) {
        let mut parts = self.lock();
        let part = parts.get_mut(name).filter(|part| part.positions.contains_key(at));
        if let Some(part) = part {
            let lag = if gap.is_bare == Some(true) { 0 } else { gap.end - gap.next };
            self.metrics.consumer_lag(name, &at.topic, at.partition, Some(lag));
            part.gaps.insert(at.clone(), gap);
        }
    }

    fn note_snapshots(&self) {
        for (name, part) in self.lock().iter() {
            let Some((directory, changelog)) = &part.snapshots else { continue };
            let written = part.partitions.iter().flatten().filter_map(|number| {
                snapshot::written(directory, &TopicPartition::new(changelog, *number))
            });
            if let Some(age) = written.min().and_then(|oldest| oldest.elapsed().ok()) {
                self.metrics.snapshot_age(name, age);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::topics::{AQI_READINGS, Topics};
    use tocsin_stream::log::{Transaction, WorkerSpec};
    use tocsin_stream::memory::MemoryLog;

    #[test]
    fn a_part_is_ready_once_it_was_given_its_partitions_and_has_their_state() {
        let vitals = Vitals::of(&["detect"]);
        let observer = vitals.observer("detect", None);
        let state = || vitals.health.report().parts["detect"].clone();
        vitals.restoring("detect", 0);
        assert_eq!(state(), State::Starting, "nothing was given yet");
        for (left, restored) in [(10, 0), (4, 6)] {
            vitals.restoring("detect", left);
            let seconds_left = (restored > 0).then_some(0);
            assert_eq!(state(), State::Restoring { restored, total: 10, seconds_left });
        }
        observer.tell(Progress::Assigned(&[1, 2]));
        assert!(matches!(state(), State::Restoring { restored: 6, .. }), "not all of it");
        vitals.restoring("detect", 0);
        assert_eq!(state(), State::ready(Some(2)));
        observer.tell(Progress::Waits(Some((1, "for schema id 7"))));
        vitals.restoring("detect", 0);
        let report = vitals.health.report();
        assert!(report.waiting["detect"].contains("schema id 7"), "{report:?}");
        assert!(!report.missing.contains_key("detect"), "the other partition goes on");
        assert!(vitals.metrics.encode().contains("partitions_waiting{service=\"detect\"} 1"));
        observer.tell(Progress::Waits(None));
        observer.tell(Progress::Assigned(&[]));
        vitals.restoring("detect", 0);
        assert_eq!(state(), State::ready(Some(0)), "it stands by");
    }

    #[test]
    fn lag_is_what_is_not_committed_of_the_partitions_that_are_here() {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let mut work = Transaction::default();
        let topic = work.register(AQI_READINGS, 8);
        for partition in [0, 0, 0, 1] {
            work.to_partition(topic, partition).push(b"k", None);
        }
        let spec = WorkerSpec { id: "w".into(), ..WorkerSpec::default() };
        log.worker(&spec).unwrap().commit(&mut work).unwrap();
        let vitals = Vitals::of(&["detect"]);
        let observer = vitals.observer("detect", None);
        let at = |partition| TopicPartition::new(AQI_READINGS, partition);
        observer.tell(Progress::Positions(&BTreeMap::from([(at(0), 0), (at(1), 0)])));
        observer.tell(Progress::Assigned(&[0, 1]));
        observer.tell(Progress::Positions(&BTreeMap::from([(at(0), 1)])));
        vitals.look(&*log).unwrap();
        let line = |partition: u32, lag: u32| {
            format!(
                "tocsin_consumer_lag{{service=\"detect\",topic=\"aqi.readings\",partition=\"{partition}\"}} {lag}\n"
            )
        };
        let text = vitals.metrics.encode();
        assert!(text.contains(&line(0, 2)) && text.contains(&line(1, 1)), "{text}");
        assert_eq!(vitals.entered("detect")[&at(0)], 0, "where it came in, not where it is");
        observer.tell(Progress::Assigned(&[1]));
        vitals.look(&*log).unwrap();
        let text = vitals.metrics.encode();
        assert!(!text.contains("partition=\"0\"") && text.contains(&line(1, 1)), "{text}");
    }
}
