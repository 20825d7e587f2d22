//! Before a source that several threads take in at the same time: counts its rows, shuts when too many
//! are dead, and opens when the log says that the source goes on. Whoever takes its rows in writes
//! the pause, with the last of them.

use super::{LOOK_EVERY, Standing, Whom};
use crate::folders::News;
use crate::poison::Rate;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tocsin_domain::Micros;
use tocsin_domain::upstream::Pause;
use tocsin_stream::{Log, LogError};

/// How long a pause of our own may take to come into the log. One that has not come by then was not
/// committed, nor were the rows that led to it.
const ON_ITS_WAY: Duration = Duration::from_secs(20);

/// Stands before one source.
#[derive(Debug)]
pub struct Guard {
    whom: Whom,
    /// Of a source of which no row was read yet.
    fresh: Rate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    standing: Standing,
    /// Why nothing may be taken in.
    shut: Option<Arc<str>>,
    /// When we have shut it, if the log does not say so yet.
    by_us: Option<Instant>,
}

/// What is to become of rows.
#[derive(Debug, PartialEq, Eq)]
pub enum Counted {
    /// They may be taken in.
    Fine,
    /// The source is paused, and why: none of them may.
    Shut(Arc<str>),
    /// With this many of the dead ones among them there are too many: this is to be written.
    Over(usize, Pause),
}

impl Guard {
    /// Open, until somebody looks.
    pub fn new(whom: Whom, fresh: Rate) -> Guard {
        let standing = Standing::new(whom.clone());
        let state = Mutex::new(State { rate: fresh, standing, shut: None, by_us: None });
        Guard { whom, fresh, state }
    }

    /// Before whom it stands.
    pub fn whom(&self) -> &Whom {
        &self.whom
    }

    /// Why nothing may be taken in; `None` if it may.
    pub fn shut(&self) -> Option<Arc<str>> {
        self.lock().shut.clone()
    }

    /// So many rows have come in a `file`, or the like; those with the numbers in `dead`, which
    /// ascend, cannot be read.
    pub fn count(&self, rows: usize, dead: &[usize], (file, now): (&str, Micros)) -> Counted {
        let mut state = self.lock();
        if let Some(reason) = &state.shut {
            return Counted::Shut(reason.clone());
        }
        let mut past = 0;
        for row in 0..rows {
            let is_dead = dead.get(past) == Some(&row);
            past += usize::from(is_dead);
            if state.rate.row(is_dead) {
                let reason = state.rate.reason();
                state.shut = Some(reason.as_str().into());
                state.by_us = Some(Instant::now());
                state.standing.forget();
                // After a pause the rows are looked at anew.
                state.rate = self.fresh;
                return Counted::Over(past, self.whom.pause((reason, file), now));
            }
        }
        Counted::Fine
    }

    /// Looks what the log says.
    ///
    /// # Errors
    /// Those of the log. That it does not answer is one only as long as nothing is known at all; later
    /// it stays as it is.
    pub fn look(&self, log: &dyn Log, now: Micros) -> Result<(), LogError> {
        let mut standing = self.lock().standing.clone();
        let mut news = None;
        let paused = standing.look(log, now, &mut |reason| news = Some(reason.map(Arc::from)))?;
        if standing.paused.is_none() {
            let reason = "it is not known yet whether the source is paused".to_owned();
            return Err(LogError::Unavailable(reason));
        }
        let mut state = self.lock();
        state.standing = standing;
        if let Some(shut @ Some(_)) = news {
            state.shut = shut;
        }
        if paused {
            state.by_us = None;
        } else if state.by_us.is_none_or(|since| since.elapsed() > ON_ITS_WAY) {
            (state.shut, state.by_us) = (None, None);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after all of them until `go_on` says no; `tell` hears how each stands.
///
/// # Errors
/// If the log fails for good.
pub fn keep_looking(
    guards: &[Arc<Guard>],
    log: &dyn Log,
    now: &dyn Fn() -> Micros,
    go_on: &dyn Fn(Duration) -> bool,
    tell: &dyn Fn(News<'_>),
) -> Result<(), LogError> {
    loop {
        for guard in guards {
            match guard.look(log, now()) {
                Err(LogError::Unavailable(_)) => continue,
                looked => looked?,
            }
            tell(News::Paused(&guard.whom.name, guard.shut().as_deref()));
        }
        if !go_on(LOOK_EVERY) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::resume;
    use super::*;
    use crate::cursor;
    use tocsin_domain::topics::Topics;
    use tocsin_stream::memory::MemoryLog;
    use tocsin_stream::{Transaction, WorkerSpec};

    fn whom(config: &str) -> Whom {
        Whom::of("push:shop".to_owned(), "acme", &config)
    }

    fn guard(config: &str) -> Guard {
        Guard::new(whom(config), Rate::of(None).unwrap())
    }

    fn new_log() -> Arc<dyn Log> {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        log
    }

    fn commit(log: &dyn Log, pause: &Pause) {
        let mut work = Transaction::default();
        let topic = work.register(cursor::TOPIC, log.partitions(cursor::TOPIC).unwrap());
        whom("a").write(pause, &mut work, topic).unwrap();
        log.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
    }

    #[test]
    fn it_shuts_at_the_row_that_is_too_many_and_before_every_one_that_follows() {
        let guard = guard("a");
        let all: Vec<usize> = (0..500).collect();
        assert_eq!(guard.count(90, &[], ("f", Micros(1))), Counted::Fine);
        assert_eq!(guard.count(9, &[0, 8], ("f", Micros(2))), Counted::Fine);
        let over = guard.count(500, &all, ("f", Micros(3)));
        let Counted::Over(dead, pause) = over else { panic!("{over:?}") };
        assert_eq!((dead, pause.at, pause.file.as_str()), (96, Micros(3), "f"));
        assert!(pause.reason.starts_with("98 of the last 195 rows"), "{}", pause.reason);
        let Counted::Shut(reason) = guard.count(1, &[], ("f", Micros(4))) else { panic!() };
        assert_eq!(*reason, *pause.reason);
    }

    #[test]
    fn it_is_as_the_log_says_whoever_wrote_it_and_opens_when_somebody_says_so() {
        let (log, ours, others) = (new_log(), guard("a"), guard("a"));
        let changed = guard("b");
        let all: Vec<usize> = (0..100).collect();
        let at = |seconds: u64| Micros(1_000_000).plus(Duration::from_secs(seconds));
        let is_shut = |guard: &Guard, seconds| {
            guard.look(&*log, at(seconds)).unwrap();
            guard.shut().is_some()
        };
        assert!(!is_shut(&ours, 0) && !is_shut(&others, 0) && !is_shut(&changed, 0));
        let Counted::Over(100, pause) = ours.count(100, &all, ("f", at(1))) else { panic!() };
        assert!(is_shut(&ours, 1), "what is not in the log yet is on its way");
        commit(&*log, &pause);
        assert!(!is_shut(&others, 1), "it looks now and then");
        assert!(is_shut(&ours, 3) && is_shut(&others, 3) && !is_shut(&changed, 3));
        assert!(resume(&*log, &whom("b"), ("me", at(4))).unwrap().is_none());
        assert!(resume(&*log, &whom("a"), ("me", at(4))).unwrap().is_some());
        assert!(!is_shut(&ours, 6) && !is_shut(&others, 6));
        assert_eq!(ours.count(99, &all, ("f", at(7))), Counted::Fine, "it counts anew");
    }

    #[test]
    fn a_pause_that_was_never_committed_does_not_last() {
        let (log, guard) = (new_log(), guard("a"));
        let all: Vec<usize> = (0..100).collect();
        assert!(matches!(guard.count(100, &all, ("f", Micros(1))), Counted::Over(100, _)));
        guard.lock().by_us = Instant::now().checked_sub(2 * ON_ITS_WAY);
        guard.look(&*log, Micros(2)).unwrap();
        assert_eq!(guard.shut(), None);
    }
}
