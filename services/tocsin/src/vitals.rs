//! How the services of this process are: what they tell of themselves becomes health for probes and
//! gauges for scrapes. It decides nothing and changes nothing.

use crate::facts;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tocsin_domain::{TopicPartition, topics};
use tocsin_service::health::State;
use tocsin_service::{Health, Metrics, Stop};
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
    /// While state is read: since when, and how much there was to read.
    restoring: Option<(Instant, u64)>,
    /// The directory of snapshots and the changelog that they are of.
    snapshots: Option<(PathBuf, &'static str)>,
}

impl Vitals {
    /// Of these loops, none of which has said anything yet.
    pub fn of(loops: &[&'static str]) -> Vitals {
        let (metrics, health) = (Metrics::new(), Health::of_loops(loops));
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

    /// The partitions that a part has now.
    pub fn partitions(&self, part: &str) -> BTreeSet<u32> {
        self.lock().get(part).and_then(|known| known.partitions.clone()).unwrap_or_default()
    }

    fn hear(&self, name: &'static str, progress: Progress<'_>) {
        self.turned(name);
        let mut parts = self.lock();
        let part = parts.entry(name).or_default();
        match progress {
            Progress::Positions(positions) => {
                part.positions.extend(positions.iter().map(|(at, next)| (at.clone(), *next)));
            }
            Progress::Assigned(partitions) => {
                let ours: BTreeSet<u32> = partitions.iter().copied().collect();
                let metrics = &self.metrics;
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
        }
    }

    /// So many records of its changelogs has a part still to read before it works on everything
    /// that it was given.
    pub fn restoring(&self, name: &'static str, left: u64) {
        let mut parts = self.lock();
        let Some(part) = parts.get_mut(name) else { return };
        let state = match (part.restoring, &part.partitions, left) {
            (None, None, 0) => return,
            (known, ours, 0) => {
                if let Some((began, _)) = known {
                    self.metrics.restored(name, began.elapsed());
                }
                part.restoring = None;
                State::Ready { partitions: Some(ours.as_ref().map_or(0, BTreeSet::len)) }
            }
            (known, _, _) => {
                let (began, total) = known.unwrap_or((Instant::now(), left));
                let total = total.max(left);
                part.restoring = Some((began, total));
                State::Restoring { restored: total - left, total }
            }
        };
        self.metrics.restore_left(name, left);
        self.health.set(name, state);
    }

    /// Looks until it is told to stop. A log that does not answer makes the process not ready.
    pub fn run(&self, log: &dyn Log, stop: &Stop) {
        loop {
            let state = match self.look(log) {
                Ok(()) => State::Ready { partitions: None },
                Err(error) => State::Waiting { reason: format!("does not answer: {error}") },
            };
            self.health.set("log", state);
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
        log.span(&TopicPartition::new(topics::WATCHES, 0))?;
        for (name, positions) in self.positions() {
            for (at, next) in positions {
                let lag = log.span(&at)?.end.saturating_sub(next);
                self.note_lag(name, &at, lag);
            }
        }
        self.note_snapshots();
        Ok(())
    }

    /// Nobody waits for the lock while the log is asked.
    fn positions(&self) -> Vec<(&'static str, BTreeMap<TopicPartition, u64>)> {
        self.lock().iter().map(|(name, part)| (*name, part.positions.clone())).collect()
    }

    /// What has gone to another process since is not noted any more.
    fn note_lag(&self, name: &'static str, at: &TopicPartition, lag: u64) {
        let parts = self.lock();
        if parts.get(name).is_some_and(|part| part.positions.contains_key(at)) {
            self.metrics.consumer_lag(name, &at.topic, at.partition, Some(lag));
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
