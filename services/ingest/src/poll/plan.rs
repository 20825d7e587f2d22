//! Which search is asked next, and when. Pure. The one that is due longest comes first; if the
//! budget does not carry what all of them want, calls are spread over what is left of the day.

use super::ledger::{self, Limits};
use std::time::Duration;
use tocsin_domain::Micros;
use tocsin_domain::upstream::{Asked, Quota};

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Ask this search.
    Ask(usize),
    /// Nothing until then.
    Wait(Micros),
}

/// The next step for a source with these searches.
pub fn plan(now: Micros, quota: &Quota, limits: &Limits, searches: &[Asked]) -> Plan {
    let due = |asked: &Asked| asked.due_at.unwrap_or(Micros::MIN);
    let first = searches.iter().enumerate().min_by_key(|(_, asked)| (due(asked), asked.asked_at));
    let Some((which, next)) = first else {
        return Plan::Wait(now.plus(Duration::from_hours(1)));
    };
    let mut at = due(next).max(ledger::free_at(quota, limits, now));
    let limited = Quota { budget: limits.budget, ..quota.clone() };
    at = at.max(limited.spread_to(now, searches.iter(), next).unwrap_or(Micros::MIN));
    if at <= now { Plan::Ask(which) } else { Plan::Wait(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Micros = Micros(1_700_049_600_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    fn search(name: &str, every: u64, due: i64) -> Asked {
        let due_at = Some(Micros(NOON.0 + due * 1_000_000));
        Asked { search: name.into(), every, due_at, ..Asked::default() }
    }

    #[test]
    fn the_longest_due_comes_first_and_then_it_is_waited() {
        let limits = Limits::default();
        let quota = Quota::default();
        let never = Asked { due_at: None, ..search("n", 60, 0) };
        for (searches, wanted) in [
            (vec![], Plan::Wait(NOON.plus(HOUR))),
            (vec![search("a", 60, 5)], Plan::Wait(Micros(NOON.0 + 5_000_000))),
            (vec![search("a", 60, -1), search("b", 60, -9)], Plan::Ask(1)),
            (vec![search("a", 60, -1), never], Plan::Ask(1)),
            (vec![search("a", 60, 0)], Plan::Ask(0)),
        ] {
            assert_eq!(plan(NOON, &quota, &limits, &searches), wanted, "{searches:?}");
        }
    }

    /// A day of a source, turned by hand: when each search was asked.
    fn day(budget: u64, searches: &mut [Asked]) -> Vec<usize> {
        let limits = Limits { budget: Some(budget), gap: Duration::from_secs(1) };
        let (mut quota, mut now) = (Quota::default(), Micros(NOON.0 - 43_200_000_000));
        let midnight = Micros(NOON.0 + 43_200_000_000);
        let mut asked = vec![0; searches.len()];
        while now < midnight {
            match plan(now, &quota, &limits, searches) {
                Plan::Wait(at) => now = at,
                Plan::Ask(which) => {
                    ledger::charge(&mut quota, &limits, now);
                    let search = &mut searches[which];
                    search.asked_at = Some(now);
                    search.due_at = Some(now.plus(search.interval()));
                    asked[which] += 1;
                }
            }
            // Whatever time of the day it is, no more is spent than its share and one a search.
            let gone = now.since(Micros(NOON.0 - 43_200_000_000)).as_secs_f64() / 86_400.0;
            assert!(quota.spent as f64 <= budget as f64 * gone.min(1.0) + searches.len() as f64);
        }
        asked
    }

    #[test]
    fn a_budget_that_is_enough_gives_each_search_its_interval() {
        let mut searches = [search("a", 600, -50_000), search("b", 3_600, -50_000)];
        assert_eq!(day(1_000, &mut searches), [144, 24]);
    }

    #[test]
    fn a_budget_that_is_not_is_spread_over_the_day_and_nobody_starves() {
        let mut searches: Vec<_> = (0..10).map(|_| search("x", 120, -50_000)).collect();
        searches.push(search("slow", 7_200, -50_000));
        let asked = day(1_000, &mut searches);
        assert!(asked.iter().sum::<usize>() <= 1_000, "{asked:?}");
        assert!(asked[..10].iter().all(|n| (95..=100).contains(n)), "{asked:?}");
        assert!(asked[10] >= 10, "{asked:?}");
    }
}
