//! Whether the process lives and whether it does its work, as its probes ask. Each part says so
//! itself; nothing is guessed from outside. A loop that stands still while something outside of the
//! process does not answer is no dead loop: a new process would wait as well.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After how long without a turn a loop counts as dead, while everything outside answers.
pub const DEAD_AFTER: Duration = Duration::from_secs(60);
/// How long something outside may take to answer before it counts as away.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

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
        /// What some of its work waits for, while the rest goes on; not said if nothing waits.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting: Option<String>,
    },
}

impl State {
    /// It does its work on so many partitions, and nothing waits.
    pub fn ready(partitions: Option<usize>) -> State {
        State::Ready { partitions, waiting: None }
    }

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
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
    paused: Arc<Mutex<BTreeMap<String, String>>>,
}

#[derive(Debug)]
struct Part {
    state: State,
    pulse: Pulse,
}

/// What is known of a part beside its state.
#[derive(Debug)]
enum Pulse {
    /// A loop: when it last turned.
    Turned(Instant),
    /// A log, a database: since when it answers, and since when a question to it is open.
    Outside { answers: Option<Instant>, asked: Option<Instant> },
}

impl Part {
    /// Its state, unless it owes an answer.
    fn state_at(&self, now: Instant) -> State {
        match self.pulse {
            Pulse::Outside { asked: Some(asked), answers: Some(_) } if is_late(asked, now) => {
                let open = now.saturating_duration_since(asked).as_secs();
                State::Waiting { reason: format!("has not answered for {open} s") }
            }
            _ => self.state.clone(),
        }
    }
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
    /// Parts that work, and some of whose work waits, with what for: a process that is no better for
    /// being taken for away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waiting: BTreeMap<&'static str, String>,
    /// Sources that wait for a person, and why. The process does its work all the same.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub paused: BTreeMap<String, String>,
}

impl Health {
    /// These parts are loops: each must become ready and must go on turning.
    pub fn of_loops(parts: &[&'static str]) -> Health {
        let health = Health::default();
        parts.iter().for_each(|part| health.add_loop(part));
        health
    }

    /// This part is a loop as well, unless it is one already.
    pub fn add_loop(&self, part: &'static str) {
        let pulse = Pulse::Turned(Instant::now());
        self.lock().entry(part).or_insert(Part { state: State::Starting, pulse });
    }

    /// How a part is from now on; one that is not known is added, as something outside.
    pub fn set(&self, part: &'static str, state: State) {
        self.set_at(part, state, Instant::now());
    }

    fn set_at(&self, part: &'static str, state: State, now: Instant) {
        let mut parts = self.lock();
        let known = parts.entry(part).or_insert_with(outside);
        if let Pulse::Outside { answers, asked } = &mut known.pulse {
            let late = asked.take().is_some_and(|asked| is_late(asked, now));
            *answers = match state.missing() {
                None => answers.filter(|_| !late).or(Some(now)),
                Some(_) => None,
            };
        }
        known.state = state;
    }

    /// A source is paused, and why; `None` if it is not.
    pub fn paused(&self, source: &str, reason: Option<&str>) {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => _ = paused.insert(source.to_owned(), reason.to_owned()),
            None => _ = paused.remove(source),
        }
    }

    /// Something outside is asked whether it is there: it must be [`Health::set`] soon.
    pub fn ask(&self, part: &'static str) {
        self.ask_at(part, Instant::now());
    }

    fn ask_at(&self, part: &'static str, now: Instant) {
        let mut parts = self.lock();
        if let Pulse::Outside { asked, .. } = &mut parts.entry(part).or_insert_with(outside).pulse {
            *asked = Some(now);
        }
    }

    /// A loop has turned.
    pub fn turned(&self, part: &'static str) {
        if let Some(Part { pulse: Pulse::Turned(at), .. }) = self.lock().get_mut(part) {
            *at = Instant::now();
        }
    }

    /// The loops that have not turned for [`DEAD_AFTER`] although everything outside answered all
    /// the time; empty if the process lives.
    pub fn dead(&self) -> Vec<String> {
        self.dead_at(Instant::now())
    }

    fn dead_at(&self, now: Instant) -> Vec<String> {
        let (parts, mut answers) = (self.lock(), None);
        for part in parts.values() {
            let Pulse::Outside { answers: since, .. } = &part.pulse else { continue };
            if part.state_at(now).missing().is_some() {
                return Vec::new();
            }
            answers = answers.max(*since);
        }
        let silent = parts.iter().filter_map(|(name, part)| {
            let Pulse::Turned(turned) = part.pulse else { return None };
            let since = answers.map_or(turned, |answers| answers.max(turned));
            let silent = now.saturating_duration_since(since);
            (silent >= DEAD_AFTER)
                .then(|| format!("{name} has not turned for {} s", silent.as_secs()))
        });
        silent.collect()
    }

    /// Whether every part does its work.
    pub fn report(&self) -> Report {
        self.report_at(Instant::now())
    }

    fn report_at(&self, now: Instant) -> Report {
        let parts: BTreeMap<_, _> =
            self.lock().iter().map(|(name, part)| (*name, part.state_at(now))).collect();
        let missing: BTreeMap<_, _> =
            parts.iter().filter_map(|(name, state)| Some((*name, state.missing()?))).collect();
        let waits = |(name, state): (&&'static str, &State)| match state {
            State::Ready { waiting: Some(reason), .. } => Some((*name, reason.clone())),
            _ => None,
        };
        let waiting = parts.iter().filter_map(waits).collect();
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report { ready: missing.is_empty(), missing, parts, waiting, paused }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_late(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) > ANSWER_WITHIN
}

/// Something outside that was not asked yet.
fn outside() -> Part {
    Part { state: State::Starting, pulse: Pulse::Outside { answers: None, asked: None } }
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
        health.set("project", State::ready(Some(8)));
        let report = health.report();
        assert!(!report.ready && !report.missing.contains_key("project"));
        assert_eq!(report.missing["detect"], "is restoring its state, 3 of 10 records");
        health.set("detect", restoring(Some(7)));
        let missing = &health.report().missing["detect"];
        assert_eq!(missing, "is restoring its state, 3 of 10 records, about 7 s left");
        health.set("detect", State::ready(Some(0)));
        assert!(health.report().ready);
        let waiting = Some("for schema 7".to_owned());
        health.set("detect", State::Ready { partitions: Some(1), waiting });
        let report = health.report();
        assert!(report.ready && report.missing.is_empty(), "the rest goes on");
        assert_eq!(report.waiting["detect"], "for schema 7");
        health.set("log", State::Waiting { reason: "nobody answers".into() });
        assert_eq!(health.report().missing["log"], "nobody answers");
    }

    #[test]
    fn a_loop_that_has_stopped_turning_is_dead_and_what_is_no_loop_never_is() {
        let health = Health::of_loops(&["detect", "send"]);
        health.set("log", State::ready(None));
        assert!(health.dead().is_empty());
        let later = Instant::now() + DEAD_AFTER;
        assert_eq!(health.dead_at(later).len(), 2);
        assert!(health.dead_at(later)[0].starts_with("detect has not turned for 6"));
        health.turned("send");
        let soon = Instant::now() + DEAD_AFTER / 2;
        assert!(health.dead_at(soon).is_empty());
    }

    #[test]
    fn a_loop_that_stands_still_while_something_outside_is_away_is_not_dead() {
        let health = Health::of_loops(&["project"]);
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let ready = || State::ready(None);
        for outside in ["log", "store"] {
            health.set_at(outside, ready(), begun);
        }
        let away = || State::Waiting { reason: "does not answer".into() };
        health.set_at("store", away(), after(10));
        health.set_at("log", ready(), after(120));
        assert!(health.dead_at(after(130)).is_empty(), "it waits for two minutes");
        health.set_at("store", ready(), after(130));
        health.set_at("store", ready(), after(185));
        assert!(health.dead_at(after(189)).is_empty(), "it has had no minute yet since then");
        assert_eq!(health.dead_at(after(190)), ["project has not turned for 60 s"]);
    }

    #[test]
    fn what_owes_an_answer_counts_as_away_before_it_has_failed() {
        let health = Health::of_loops(&["detect"]);
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        health.set("detect", State::ready(Some(8)));
        health.set_at("log", State::ready(None), begun);
        health.ask_at("log", after(60));
        assert!(health.report_at(after(65)).ready, "it may think for a while");
        let late = health.report_at(after(68));
        assert_eq!(late.missing["log"], "has not answered for 8 s");
        assert!(health.dead_at(after(90)).is_empty(), "and nobody is dead because of it");
        health.set_at("log", State::ready(None), after(90));
        assert!(health.report_at(after(91)).ready && health.dead_at(after(149)).is_empty());
    }
}
