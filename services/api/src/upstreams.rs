//! How the sources stand that are asked: read along in the topic of cursors, where `ingest` commits
//! it. What was read once is not read again.

use crate::answer::Fault;
use crate::app::App;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use tocsin_domain::topics::INGEST_CURSORS_CHANGELOG as TOPIC;
use tocsin_domain::upstream::{Asked, Pause, Quota};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::{Log, LogError, Record};

/// Everything that is known of the sources of a tenant.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    next: HashMap<u32, u64>,
    sources: BTreeMap<String, Standing>,
    pauses: HashMap<String, Pause>,
}

/// One source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Its ledger.
    pub quota: Quota,
    /// Its searches, by what is asked for.
    pub searches: BTreeMap<String, Asked>,
    /// That it is not asked, because too many of its rows could not be read.
    pub pause: Option<Pause>,
}

impl Upstreams {
    /// Reads what was committed since the last look.
    fn read_on(&mut self, log: &dyn Log, tenant: &str) -> Result<(), LogError> {
        for partition in 0..log.partitions(TOPIC)? {
            let at = TopicPartition::new(TOPIC, partition);
            let start = log.span(&at)?.start;
            let from = self.next.get(&partition).copied().unwrap_or(start).max(start);
            let next = log.scan(&at, from, |record| {
                self.take(record, tenant);
                Ok::<(), LogError>(())
            })?;
            self.next.insert(partition, next);
        }
        Ok(())
    }

    /// Folds in a record that is about a source; there are others in the topic.
    fn take(&mut self, record: &Record<'_>, tenant: &str) {
        let Ok(key) = std::str::from_utf8(record.key) else { return };
        let value = record.value.unwrap_or_default();
        if let Some(source) = Pause::whose(key, tenant) {
            if let Ok(pause) = serde_json::from_slice(value) {
                self.pauses.insert(source.to_owned(), pause);
            }
            return;
        }
        let Some(rest) = key.strip_prefix(tenant).and_then(|key| key.strip_prefix('/')) else {
            return;
        };
        let Some((source, what)) = rest.split_once('/') else { return };
        if what == "quota"
            && let Ok(quota) = serde_json::from_slice::<Quota>(value)
        {
            self.sources.entry(source.to_owned()).or_default().quota = quota;
        } else if let Some(search) = what.strip_prefix("search/") {
            let standing = self.sources.entry(source.to_owned()).or_default();
            match serde_json::from_slice::<Asked>(value) {
                Ok(asked) => _ = standing.searches.insert(search.to_owned(), asked),
                Err(_) => _ = standing.searches.remove(search),
            }
        }
    }
}

/// Every source that is asked, or was, by name.
pub(crate) fn all(app: &App) -> Result<Vec<(String, Standing)>, Fault> {
    let mut upstreams = app.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
    upstreams.read_on(&*app.log, &app.tenant)?;
    let all = upstreams.sources.iter().map(|(name, one)| {
        let pause = upstreams.pauses.get(name).filter(|pause| one.is_paused(pause));
        (name.clone(), Standing { pause: pause.cloned(), ..one.clone() })
    });
    Ok(all.collect())
}

impl Standing {
    /// Whether that pause stands. Who is asked again goes on: with another configuration, that is
    /// all that says so.
    fn is_paused(&self, pause: &Pause) -> bool {
        pause.resumed.is_none() && self.quota.called_at.is_none_or(|called| called <= pause.at)
    }

    /// When it may be asked again.
    pub fn next_call(&self, asked: &Asked, now: Micros) -> Option<Micros> {
        let Standing { quota, searches, .. } = self;
        let budget = quota.spent_until(now).max(quota.spread_to(now, searches.values(), asked));
        asked.due_at.max(quota.free_at).max(budget)
    }

    /// For machines.
    pub fn json(&self, name: &str, now: Micros) -> Json {
        let quota = &self.quota;
        let searches = self.searches.values().map(|asked| {
            json!({
                "search": asked.search, "every_seconds": asked.every,
                "asked_at": asked.asked_at, "answered_at": asked.answered_at,
                "next_call_at": self.next_call(asked, now), "calls": asked.calls,
                "events": asked.events, "failures": asked.failures, "error": asked.error,
                "warning": asked.warning,
            })
        });
        json!({
            "source": name, "breaker": quota.breaker(now).as_str(), "budget": quota.budget,
            "left": quota.left(now), "day": quota.day, "spent": quota.spent, "calls": quota.calls,
            "called_at": quota.called_at, "free_at": quota.free_at,
            "failures": quota.failures, "error": quota.error,
            "paused": self.pause.as_ref().map(|one| json!({"since": one.at, "reason": one.reason})),
            "searches": searches.collect::<Vec<_>>(),
        })
    }
}
