//! `[[watches]]` of `tocsin.toml`: each becomes a subscriber and a watch, as facts. It publishes
//! nothing.

use crate::channels::EMAIL;
use serde::Deserialize;
use tocsin_domain::alert::AlertState;
use tocsin_domain::condition::{Condition, EVERY_SUBJECT};
use tocsin_domain::subscriber::{Subscriber, check_address};
use tocsin_domain::watch::Watch;
use tocsin_domain::{Id, Micros};
use tocsin_service::config::{ConfigError, suggest};

/// One `[[watches]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchEntry {
    /// Who is told.
    pub email: String,
    /// How to greet.
    #[serde(default)]
    pub name: String,
    /// IANA name; times in mails are shown in it.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The name of one of `[[detectors]]`.
    pub detector: String,
    /// One subject, or `*`.
    #[serde(default = "every_subject")]
    pub subject: String,
    /// Which facts of an alert are worth a mail.
    #[serde(default = "raised_and_cleared")]
    pub on: Vec<AlertState>,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn every_subject() -> String {
    EVERY_SUBJECT.to_owned()
}

fn raised_and_cleared() -> Vec<AlertState> {
    vec![AlertState::Raised, AlertState::Cleared]
}

/// The facts that an entry says, as of `now`. The same entry gives the same ids.
///
/// # Errors
/// An address that cannot be one, a time zone that there is none of, a detector that is not among
/// `conditions` or does not cover the subject, and an empty `on`: all of them at once.
pub fn watch_facts(
    tenant: &str,
    entry: &WatchEntry,
    conditions: &[Condition],
    now: Micros,
) -> Result<(Subscriber, Watch), ConfigError> {
    let place = format!("[[watches]] of {:?}", entry.email);
    let found = condition(entry, conditions);
    let faults = [
        check_address(&entry.email).err().map(|fault| format!("the address {fault}")),
        jiff::tz::TimeZone::get(&entry.time_zone).err().map(|_| {
            let zone = &entry.time_zone;
            format!("unknown time zone {zone:?}; use an IANA name such as \"Europe/Berlin\"")
        }),
        entry.on.is_empty().then(|| {
            "on is empty, so nothing would be told; use \"raised\", \"updated\" or \"cleared\""
                .into()
        }),
        found.as_ref().err().cloned(),
    ];
    let problem = |fault: String| ConfigError::new(&place, fault);
    let error = faults.into_iter().flatten().map(problem);
    let condition = found.map(|condition| condition.id).unwrap_or_default();
    let (subscriber, watch) = facts(tenant, entry, condition, now);
    error.fold(ConfigError::default(), ConfigError::and).or_ok((subscriber, watch))
}

fn condition<'a>(entry: &WatchEntry, all: &'a [Condition]) -> Result<&'a Condition, String> {
    let subject = &entry.subject;
    let meets = |c: &&Condition| subject == EVERY_SUBJECT || c.covers(subject);
    let mut named = all.iter().filter(|c| c.name == entry.detector).peekable();
    if named.peek().is_none() {
        let names = all.iter().map(|condition| condition.name.as_str());
        let meant = suggest(&entry.detector, names.clone())
            .map(|name| format!(" did you mean {name:?}?"))
            .unwrap_or_default();
        let allowed = names.collect::<Vec<_>>().join(", ");
        return Err(format!("unknown detector {:?};{meant} allowed: {allowed}", entry.detector));
    }
    named.find(meets).ok_or_else(|| {
        format!("detector {:?} is not about subject {subject:?}; use \"*\"", entry.detector)
    })
}

fn facts(tenant: &str, entry: &WatchEntry, condition: Id, now: Micros) -> (Subscriber, Watch) {
    let subscriber = Subscriber {
        id: Subscriber::id_of(tenant, &entry.email),
        tenant: tenant.to_owned(),
        email: entry.email.clone(),
        name: entry.name.clone(),
        time_zone: entry.time_zone.clone(),
        active: true,
        created_at: now,
    };
    let mut on = entry.on.clone();
    on.sort_unstable();
    on.dedup();
    let watch = Watch {
        id: Watch::id_of(tenant, subscriber.id, condition, &entry.subject, EMAIL),
        tenant: tenant.to_owned(),
        subscriber: subscriber.id,
        condition,
        subject: entry.subject.clone(),
        channel: EMAIL.to_owned(),
        schedule: "at-once".to_owned(),
        on,
        active: true,
        created_at: now,
    };
    (subscriber, watch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_service::Document;

    fn read(text: &str) -> Result<(Subscriber, Watch), ConfigError> {
        let text = format!("[[watches]]\nemail = \"ada@example.org\"\n{text}");
        let entries = Document::parse(&text, "t.toml")?.list::<WatchEntry>("watches")?;
        let params = serde_json::json!({});
        let conditions = [
            Condition::new("default", "pm25-unhealthy", "threshold", EVERY_SUBJECT, &params),
            Condition::new("default", "lahore", "threshold", "lahore", &params),
        ];
        watch_facts("default", &entries[0], &conditions, Micros(7))
    }

    #[test]
    fn an_entry_becomes_two_facts() {
        let (subscriber, watch) = read("detector = \"pm25-unhealthy\"").unwrap();
        assert_eq!((subscriber.time_zone.as_str(), subscriber.id), ("UTC", watch.subscriber));
        assert_eq!((watch.subject.as_str(), watch.on.len(), watch.active), ("*", 2, true));
        let (_, other) = read("detector = \"lahore\"\non = [\"raised\", \"raised\"]").unwrap();
        assert_eq!(other.on, [AlertState::Raised]);
        assert_ne!(other.id, watch.id);
    }

    #[test]
    fn every_fault_is_told() {
        for (text, part) in [
            ("detector = \"pm25-unhealty\"", "did you mean \"pm25-unhealthy\"?"),
            ("detector = \"lahore\"\nsubject = \"delhi\"", "not about subject \"delhi\""),
            ("detector = \"lahore\"\ntime_zone = \"Mars/North\"", "Mars/North"),
            ("detector = \"lahore\"\non = []", "on is empty"),
            ("detector = \"lahore\"\non = [\"rised\"]", "did you mean `raised`?"),
            ("detector = \"lahore\"\ncolour = 1", "unknown key `colour`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let both = read("detector = \"x\"\non = []").unwrap_err().to_string();
        assert_eq!(both.lines().count(), 2, "{both}");
    }
}
