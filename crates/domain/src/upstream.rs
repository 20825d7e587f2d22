//! What is known of a source that is asked: what was spent on it, and how each of its searches
//! stands. JSON in the topic of cursors, written by who asks, read by who shows it.

use crate::{Id, Micros};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// So many failures in a row open the breaker.
pub const TRIPS: u32 = 5;

/// The ledger of one source. Written before each call, so that it never counts less than was spent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// The source's name.
    pub source: String,
    /// What may be spent a day; `None` if nothing is said.
    pub budget: Option<u64>,
    /// The UTC date that `spent` is of.
    pub day: String,
    /// Calls on that day.
    pub spent: u64,
    /// Calls ever.
    pub calls: u64,
    /// When the last one began.
    pub called_at: Option<Micros>,
    /// Nothing is asked before.
    pub free_at: Option<Micros>,
    /// Whether the upstream has said so itself.
    pub told: bool,
    /// Calls in a row that failed.
    pub failures: u32,
    /// Why the last of them did.
    pub error: String,
    /// Who asks: a hash of the host and the credentials, which tells neither.
    pub account: String,
}

/// That a source is paused, or was, because too many of its rows could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: Micros,
    /// What is wrong.
    pub reason: String,
    /// The file, or the like, in which it was so.
    pub file: String,
    /// Of which configuration this is said.
    pub config: Id,
    /// Who has ended it, and when; `None` as long as it stands.
    pub resumed: Option<(String, Micros)>,
}

impl Pause {
    /// The key of its record. No cursor has it: theirs has a whole path behind the source.
    pub fn key(tenant: &str, source: &str) -> String {
        format!("pause/{tenant}/{source}")
    }

    /// Which source of the namespace a record of this key is about, if it is a pause's.
    pub fn whose<'a>(key: &'a str, tenant: &str) -> Option<&'a str> {
        key.strip_prefix("pause/")?.strip_prefix(tenant)?.strip_prefix('/')
    }
}

const DAY: i64 = 86_400_000_000;

/// The next midnight in UTC.
fn midnight(now: Micros) -> Micros {
    Micros((now.0.div_euclid(DAY) + 1).saturating_mul(DAY))
}

/// Whether a source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaker {
    /// It answers.
    Closed,
    /// It has failed too often, and is left alone until it is free.
    Open,
    /// It may be tried once.
    HalfOpen,
}

impl Breaker {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Breaker::Closed => "closed",
            Breaker::Open => "open",
            Breaker::HalfOpen => "half-open",
        }
    }
}

impl Quota {
    /// How the breaker stands at `now`.
    pub fn breaker(&self, now: Micros) -> Breaker {
        match self.free_at {
            _ if self.failures < TRIPS => Breaker::Closed,
            Some(free) if now < free => Breaker::Open,
            _ => Breaker::HalfOpen,
        }
    }

    /// What is left of the budget of the day that `now` is on.
    pub fn left(&self, now: Micros) -> Option<u64> {
        let spent = if now.date() > self.day { 0 } else { self.spent };
        self.budget.map(|budget| budget.saturating_sub(spent))
    }

    /// Until when nothing may be asked because the day's budget is spent.
    pub fn spent_until(&self, now: Micros) -> Option<Micros> {
        (self.left(now) == Some(0)).then(|| midnight(now))
    }

    /// The time from one call to the next, so that what is left of the budget lasts for the day.
    pub fn pace(&self, now: Micros) -> Duration {
        let day = midnight(now).since(now);
        let slow = |left: u64| day / u32::try_from(left.max(1)).unwrap_or(u32::MAX);
        self.left(now).map_or(Duration::ZERO, slow)
    }

    /// When `next` is asked at the earliest, if all these searches want more than the budget carries: then
    /// calls are spread over what is left of the day.
    pub fn spread_to<'a>(
        &self,
        now: Micros,
        searches: impl Iterator<Item = &'a Asked>,
        next: &Asked,
    ) -> Option<Micros> {
        let one = |asked: &Asked| asked.calls.max(1) as f64 / asked.every.max(1) as f64;
        let (pace, last) = (self.pace(now), self.called_at?);
        let is_short = searches.map(one).sum::<f64>() * pace.as_secs_f64() > 1.0;
        let cost = u32::try_from(next.calls.max(1)).unwrap_or(u32::MAX);
        is_short.then(|| last.min(now).plus(pace.saturating_mul(cost)))
    }

    /// The key of its record.
    pub fn key(tenant: &str, source: &str) -> String {
        format!("{tenant}/{source}/quota")
    }
}

/// How one search of a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The source's name.
    pub source: String,
    /// What is asked for; empty where there is but one thing.
    pub search: String,
    /// How often, in seconds.
    pub every: u64,
    /// When it was asked last.
    pub asked_at: Option<Micros>,
    /// When it was last answered well.
    pub answered_at: Option<Micros>,
    /// When it is due again.
    pub due_at: Option<Micros>,
    /// How many calls that took.
    pub calls: u64,
    /// How many events came of it, ever.
    pub events: u64,
    /// How often in a row it failed.
    pub failures: u32,
    /// What was wrong the last time; empty if nothing was.
    pub error: String,
    /// What the last answer warned of; empty if of nothing.
    pub warning: String,
    /// What the answer was called by the upstream.
    pub etag: String,
    /// When it had changed, as the upstream says.
    pub last_modified: String,
    /// The hash of the answer, if it was a single one.
    pub sha256: String,
    /// How it was read: another mapping reads the same answer again.
    pub mapping: String,
}

impl Asked {
    /// The key of its record.
    pub fn key(tenant: &str, source: &str, search: &str) -> String {
        format!("{tenant}/{source}/search/{search}")
    }

    /// How often it is asked.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_after_failures_and_is_tried_when_it_is_free() {
        let (now, later) = (Micros(5), Some(Micros(9)));
        for (failures, free_at, wanted) in [
            (0, None, "closed"),
            (TRIPS - 1, later, "closed"),
            (TRIPS, later, "open"),
            (TRIPS, Some(now), "half-open"),
            (TRIPS + 9, None, "half-open"),
        ] {
            let quota = Quota { failures, free_at, ..Quota::default() };
            assert_eq!(quota.breaker(now).as_str(), wanted, "{failures} {free_at:?}");
        }
    }

    #[test]
    fn the_next_call_waits_for_its_share_of_the_budget() {
        let noon = Micros(1_700_000_000_000_000 / DAY * DAY + DAY / 2);
        let (budget, day) = (Some(12), noon.date());
        let quota = Quota { budget, day, called_at: Some(noon), ..Quota::default() };
        let search = |every| Asked { every, ..Asked::default() };
        // An hour for each of the twelve; who wants less is not held up.
        for (every, wanted) in [(60, Some(noon.plus(Duration::from_hours(1)))), (86_400, None)] {
            let next = search(every);
            assert_eq!(quota.spread_to(noon, [next.clone()].iter(), &next), wanted);
        }
        assert_eq!(quota.spent_until(noon), None);
        let spent = Quota { spent: 12, ..quota };
        assert_eq!(spent.spent_until(noon), Some(Micros(noon.0 + DAY / 2)));
    }

    #[test]
    fn a_record_of_another_version_is_read() {
        let quota: Quota = serde_json::from_str("{\"spent\":3,\"new\":1}").unwrap();
        assert_eq!(quota.spent, 3);
        let text = serde_json::to_string(&Asked { search: "a b".into(), ..Asked::default() });
        assert_eq!(serde_json::from_str::<Asked>(&text.unwrap()).unwrap().search, "a b");
    }

    #[test]
    fn a_pause_is_found_by_its_key_and_by_no_other() {
        let key = Pause::key("house", "epa");
        assert_eq!(Pause::whose(&key, "house"), Some("epa"));
        assert_eq!(Pause::whose(&key, "hous"), None, "another namespace");
        assert_eq!(Pause::whose("house/epa/quota", "house"), None, "another fact");
    }
}
