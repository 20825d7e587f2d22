//! The quota ledger: what a call costs, when the next one may be made, what a failure means for
//! all. Pure: changes a [`Quota`] that somebody else commits.

use std::time::Duration;
use tocsin_domain::Micros;
use tocsin_domain::upstream::{Quota, TRIPS};

/// How long the first failure that opens the breaker keeps it open, at most.
const BACKOFF: Duration = Duration::from_secs(30);
/// However often it fails.
const BACKOFF_CAP: Duration = Duration::from_hours(1);
/// An upstream that wants less rest than that gets it nevertheless.
const LEAST: Duration = Duration::from_secs(1);
/// An upstream that wants more rest than that is asked again anyway.
const REST_CAP: Duration = Duration::from_hours(36);

/// What the configuration allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls a UTC day.
    pub budget: Option<u64>,
    /// The least time from one call to the next.
    pub gap: Duration,
}

/// A call is about to be made.
pub fn charge(quota: &mut Quota, limits: &Limits, now: Micros) {
    let today = now.date();
    // A clock that goes back gives no second budget.
    if today > quota.day {
        (quota.day, quota.spent) = (today, 0);
    }
    quota.budget = limits.budget;
    quota.spent += 1;
    quota.calls += 1;
    quota.called_at = Some(now);
}

/// When the next call may be made; in the past if it may be made now.
pub fn free_at(quota: &Quota, limits: &Limits, now: Micros) -> Micros {
    let rested = quota.free_at.unwrap_or(Micros::MIN);
    let spaced = quota.called_at.map_or(Micros::MIN, |last| last.min(now).plus(limits.gap));
    let spent = Quota { budget: limits.budget, ..quota.clone() }.spent_until(now);
    rested.max(spaced).max(spent.unwrap_or(Micros::MIN))
}

/// Nothing stands against it any more: it has answered, or what was said before does not count.
pub fn clear(quota: &mut Quota) {
    quota.failures = 0;
    quota.free_at = None;
    quota.told = false;
    quota.error.clear();
}

/// It has not answered. `after` is how long it wants to be left alone; `roll` is a draw from 0 to 1.
/// An upstream that wants no rest at all, or hardly any, gets it nevertheless once the breaker opens.
pub fn failed(quota: &mut Quota, now: Micros, reason: &str, after: Option<Duration>, roll: f64) {
    quota.failures = quota.failures.saturating_add(1);
    reason.clone_into(&mut quota.error);
    let is_open = quota.failures >= TRIPS;
    let own = is_open.then(|| backoff(quota.failures.saturating_sub(TRIPS), roll));
    let told = after.filter(|after| !after.is_zero()).map(|after| after.clamp(LEAST, REST_CAP));
    let Some(rest) = told.max(own) else { return };
    let until = now.plus(rest);
    if quota.free_at.is_none_or(|free| free <= until) {
        quota.told = told >= own;
        quota.free_at = Some(until);
    }
}

/// Exponential, with full jitter: anything from nothing to the double of the last limit, so that
/// many who failed together do not come back together.
pub fn backoff(failures: u32, roll: f64) -> Duration {
    let limit = BACKOFF.saturating_mul(1 << failures.min(20)).min(BACKOFF_CAP);
    limit.mul_f64(roll.clamp(0.0, 1.0)).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;
    /// A noon.
    const NOON: Micros = Micros(1_700_000_000_000_000 / DAY * DAY + DAY / 2);
    const LIMITS: Limits = Limits { budget: Some(3), gap: Duration::from_secs(2) };

    #[test]
    fn a_spent_budget_waits_for_the_next_day_and_not_for_a_clock_that_goes_back() {
        let mut quota = Quota::default();
        assert!(free_at(&quota, &LIMITS, NOON) <= NOON);
        for spent in 1..=3 {
            charge(&mut quota, &LIMITS, NOON);
            assert_eq!((quota.spent, quota.calls), (spent, spent));
        }
        let tomorrow = Micros(NOON.0 + DAY / 2);
        assert_eq!(free_at(&quota, &LIMITS, NOON), tomorrow);
        let yesterday = NOON.minus(Duration::from_hours(24));
        assert_eq!(free_at(&quota, &LIMITS, yesterday), Micros(NOON.0 - DAY / 2));
        charge(&mut quota, &LIMITS, yesterday);
        assert_eq!(quota.spent, 4);
        assert!(free_at(&quota, &LIMITS, tomorrow) <= tomorrow);
        charge(&mut quota, &LIMITS, tomorrow);
        assert_eq!((quota.spent, quota.calls, quota.left(tomorrow)), (1, 5, Some(2)));
    }

    #[test]
    fn calls_are_spaced_and_paced() {
        let mut quota = Quota::default();
        charge(&mut quota, &LIMITS, NOON);
        assert_eq!(free_at(&quota, &LIMITS, NOON), NOON.plus(Duration::from_secs(2)));
        assert_eq!(
            Quota { budget: LIMITS.budget, ..quota }.pace(NOON),
            Duration::from_hours(6),
            "two for half a day"
        );
        assert_eq!(Quota::default().pace(NOON), Duration::ZERO);
    }

    #[test]
    fn failures_open_the_breaker_and_what_the_upstream_says_counts_at_once() {
        let second = |quota: &Quota| quota.free_at.map(|at| at.since(NOON).as_secs());
        let mut quota = Quota::default();
        for _ in 1..TRIPS {
            failed(&mut quota, NOON, "down", None, 0.5);
            assert_eq!(second(&quota), None);
        }
        for wanted in [15, 30, 60] {
            failed(&mut quota, NOON, "down", None, 0.5);
            assert_eq!((second(&quota), quota.error.as_str()), (Some(wanted), "down"));
        }
        clear(&mut quota);
        assert_eq!((quota.failures, second(&quota)), (0, None));
        failed(&mut quota, NOON, "busy", Some(Duration::from_secs(7)), 0.0);
        assert_eq!((quota.failures, second(&quota), quota.told), (1, Some(7), true));
        failed(&mut quota, NOON, "busy", None, 0.0);
        assert_eq!((quota.failures, second(&quota), quota.told), (2, Some(7), true));
    }

    #[test]
    fn who_wants_no_rest_or_hardly_any_gets_it_when_the_breaker_opens() {
        for (after, first, later) in [(0, None, 15), (1, Some(1), 15), (40, Some(40), 40)] {
            let (mut quota, after) = (Quota::default(), Some(Duration::from_secs(after)));
            let second = |quota: &Quota| quota.free_at.map(|at| at.since(NOON).as_secs());
            failed(&mut quota, NOON, "busy", after, 0.5);
            assert_eq!(second(&quota), first, "{after:?}");
            for _ in 1..TRIPS {
                failed(&mut quota, NOON, "busy", after, 0.5);
            }
            assert_eq!(second(&quota), Some(later), "{after:?}");
            assert_eq!(quota.breaker(NOON).as_str(), "open");
        }
        let mut quota = Quota::default();
        failed(&mut quota, NOON, "busy", Some(Duration::from_millis(3)), 0.5);
        assert_eq!(quota.free_at, Some(NOON.plus(LEAST)));
    }

    #[test]
    fn the_backoff_grows_to_a_limit_and_is_never_nothing() {
        for (failures, roll, seconds) in
            [(0, 1.0, 30), (1, 1.0, 60), (3, 0.5, 120), (40, 1.0, 3_600), (3, 0.0, 1)]
        {
            assert_eq!(backoff(failures, roll).as_secs(), seconds, "{failures} {roll}");
        }
    }
}
