//! What the end of a run means for its search and for the whole source. Pure.

use super::ledger;
use super::talk::End;
use std::time::Duration;
use tocsin_domain::Micros;
use tocsin_domain::upstream::{Asked, Quota};

/// How long a search rests that was refused: until somebody looks after it.
const REFUSED: Duration = Duration::from_hours(1);
/// How long a source rests at least that says no more may be asked, and not until when.
const EXHAUSTED: Duration = Duration::from_mins(1);

impl End {
    /// Its name, and why it was so.
    pub fn said(&self) -> (&'static str, &str) {
        match self {
            End::Done => ("read", ""),
            End::Unchanged => ("unchanged", ""),
            End::Nothing(reason) => ("nothing", reason),
            End::Unfinished(reason) => ("unfinished", reason),
            End::Later(_, reason) => ("later", reason),
            End::Exhausted(_, reason) => ("exhausted", reason),
            End::Refused(reason) => ("refused", reason),
            End::Broken(reason) => ("broken", reason),
            End::Paused(reason) => ("paused", reason),
        }
    }
}

/// Notes how a search went and when it is due again; `roll` is a draw from 0 to 1.
pub(super) fn note(asked: &mut Asked, end: &End, reason: &str, now: Micros, roll: f64) {
    let every = asked.interval();
    asked.asked_at = Some(now);
    reason.clone_into(&mut asked.error);
    asked.failures = match end {
        End::Done | End::Unchanged | End::Nothing(_) | End::Unfinished(_) | End::Paused(_) => 0,
        _ => asked.failures.saturating_add(1),
    };
    let rest = match end {
        End::Done | End::Unchanged => {
            asked.answered_at = Some(now);
            every
        }
        End::Nothing(_) | End::Unfinished(_) | End::Broken(_) => every,
        // Earlier than it would be asked anyway; whether at all, the ledger says.
        End::Later(..) => ledger::backoff(asked.failures - 1, roll).min(every),
        // Whether at all, the ledger says, and who resumes the source.
        End::Exhausted(..) | End::Paused(_) => Duration::ZERO,
        End::Refused(_) => every.max(REFUSED),
    };
    asked.due_at = Some(now.plus(rest));
}

/// Notes in the ledger what that means for all searches of the source.
pub(super) fn settle(quota: &mut Quota, end: &End, reason: &str, now: Micros, roll: f64) {
    match end {
        End::Done | End::Unchanged | End::Nothing(_) | End::Paused(_) => ledger::clear(quota),
        End::Unfinished(_) => {}
        End::Later(after, _) => ledger::failed(quota, now, reason, *after, roll),
        End::Refused(_) | End::Broken(_) => ledger::failed(quota, now, reason, None, roll),
        End::Exhausted(after, _) => {
            let longer = EXHAUSTED * (1 << quota.failures.min(6));
            // Now, or at a time that is over, says nothing: it would be the same a moment later.
            let said = after.filter(|after| !after.is_zero());
            ledger::failed(quota, now, reason, Some(said.unwrap_or(longer)), roll);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_says_when_to_ask_again() {
        let (some, text) = (Some(Duration::from_secs(7)), || "x".to_owned());
        for (end, search, source, failures) in [
            (End::Done, 600, None, 0),
            (End::Unchanged, 600, None, 0),
            (End::Nothing(text()), 600, None, 0),
            (End::Unfinished(text()), 600, None, 2),
            (End::Later(None, text()), 15, None, 3),
            (End::Later(some, text()), 15, Some(7), 3),
            (End::Exhausted(some, text()), 0, Some(7), 3),
            (End::Exhausted(None, text()), 0, Some(240), 3),
            (End::Exhausted(Some(Duration::ZERO), text()), 0, Some(240), 3),
            (End::Refused(text()), 3_600, None, 3),
            (End::Broken(text()), 600, None, 3),
            (End::Paused(text()), 0, None, 0),
        ] {
            let now = Micros(1_000_000);
            let mut asked = Asked { every: 600, ..Asked::default() };
            let mut quota = Quota { failures: 2, ..Quota::default() };
            note(&mut asked, &end, end.said().1, now, 0.5);
            settle(&mut quota, &end, end.said().1, now, 0.5);
            let rest = |at: Option<Micros>| at.map(|at| at.since(now).as_secs());
            assert_eq!(rest(asked.due_at), Some(search), "{end:?}");
            assert_eq!((rest(quota.free_at), quota.failures), (source, failures), "{end:?}");
            let well = matches!(end, End::Done | End::Unchanged);
            assert_eq!((asked.answered_at.is_some(), asked.error.is_empty()), (well, well));
        }
    }
}
