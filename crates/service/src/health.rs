//! Whether the process lives and whether it does its work, as its probes ask. Each part says so
//! itself; nothing is guessed from outside.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After how long without a turn a loop counts as dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(60);

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// It has not said anything yet.
    Starting,
    /// It cannot do its work, and why.
    Waiting {
        /// Why.
        reason: String,
    },
    /// It reads its state.
    Restoring {
        /// Records of its changelogs that it has read, or need not read because of a snapshot.
        restored: u64,
        /// Of so many.
        total: u64,
        /// How long the rest will take at the pace so far; `None` before anything was read.
        seconds_left: Option<u64>,
    },
    /// It does its work.
    Ready {
        /// On so many partitions: none is a process that stands by. Not said by what has none.
        #[serde(skip_serializing_if = "Option::is_none")]
        partitions: Option<usize>,
    },
}

impl State {
    /// Why it is not ready; `None` if it is.
    fn missing(&self) -> Option<String> {
        match self {
            State::Ready { .. } => None,
            State::Starting => Some("is starting".to_owned()),
            State::Waiting { reason } => Some(reason.clone()),
            State::Restoring { restored, total, seconds_left } => {
                let time = seconds_left.map(|seconds| format!(", about {seconds} s left"));
                let time = time.unwrap_or_default();
                Some(format!("is restoring its state, {restored} of {total} records{time}"))
            }
        }
    }
}

/// Every part of the process. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Part>>>);

#[derive(Debug)]
struct Part {
    state: State,
    /// When its loop last turned; `None` for what is no loop.
    turned: Option<Instant>,
}

/// What `/readyz` says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether every part does its work.
    pub ready: bool,
    /// The parts that do not, and why.
    pub missing: BTreeMap<&'static str, String>,
    /// How each part is.
    pub parts: BTreeMap<&'static str, State>,
}

impl Health {
    /// These parts are loops: each must become ready and must go on turning.
    pub fn of_loops(parts: &[&'static str]) -> Health {
        let health = Health::default();
        for part in parts {
            let part_state = Part { state: State::Starting, turned: Some(Instant::now()) };
            health.lock().insert(part, part_state);
        }
        health
    }

    /// How a part is from now on; one that is not known is added, as something that is no loop.
    pub fn set(&self, part: &'static str, state: State) {
        let mut parts = self.lock();
        let known = parts.entry(part).or_insert(Part { state: State::Starting, turned: None });
        known.state = state;
    }

    /// A loop has turned.
    pub fn turned(&self, part: &'static str) {
        if let Some(known) = self.lock().get_mut(part) {
            known.turned = Some(Instant::now());
        }
    }

    /// The loops that have not turned for [`DEAD_AFTER`]; empty if the process lives.
    pub fn dead(&self) -> Vec<String> {
        self.dead_at(Instant::now())
    }

    fn dead_at(&self, now: Instant) -> Vec<String> {
        let parts = self.lock();
        let silent = parts.iter().filter_map(|(name, part)| {
            let silent = now.saturating_duration_since(part.turned?);
            (silent >= DEAD_AFTER)
                .then(|| format!("{name} has not turned for {} s", silent.as_secs()))
        });
        silent.collect()
    }

    /// Whether every part does its work.
    pub fn report(&self) -> Report {
        let parts = self.lock();
        let missing: BTreeMap<_, _> =
            parts.iter().filter_map(|(name, part)| Some((*name, part.state.missing()?))).collect();
        let states = parts.iter().map(|(name, part)| (*name, part.state.clone())).collect();
        Report { ready: missing.is_empty(), missing, parts: states }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_part_says_so_and_not_before() {
        let health = Health::of_loops(&["detect", "project"]);
        assert_eq!(health.report().missing["detect"], "is starting");
        let restoring = |seconds_left| State::Restoring { restored: 3, total: 10, seconds_left };
        health.set("detect", restoring(None));
        health.set("project", State::Ready { partitions: Some(8) });
        let report = health.report();
        assert!(!report.ready && !report.missing.contains_key("project"));
        assert_eq!(report.missing["detect"], "is restoring its state, 3 of 10 records");
        health.set("detect", restoring(Some(7)));
        let missing = &health.report().missing["detect"];
        assert_eq!(missing, "is restoring its state, 3 of 10 records, about 7 s left");
        health.set("detect", State::Ready { partitions: Some(0) });
        assert!(health.report().ready);
        health.set("log", State::Waiting { reason: "nobody answers".into() });
        assert_eq!(health.report().missing["log"], "nobody answers");
    }

    #[test]
    fn a_loop_that_has_stopped_turning_is_dead_and_what_is_no_loop_never_is() {
        let health = Health::of_loops(&["detect", "send"]);
        health.set("log", State::Starting);
        assert!(health.dead().is_empty());
        let later = Instant::now() + DEAD_AFTER;
        assert_eq!(health.dead_at(later).len(), 2);
        assert!(health.dead_at(later)[0].starts_with("detect has not turned for 6"));
        health.turned("send");
        let soon = Instant::now() + DEAD_AFTER / 2;
        assert!(health.dead_at(soon).is_empty());
    }
}
