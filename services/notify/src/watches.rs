//! `[[watches]]` of `tocsin.toml`: each becomes a subscriber and a watch, as facts. It publishes
//! nothing.

use crate::channels::EMAIL;
use serde::Deserialize;
use tocsin_domain::alert::AlertState;
use tocsin_domain::condition::{Condition, EVERY_SUBJECT};
use tocsin_domain::subscriber::{Subscriber, check_address};
use tocsin_domain::watch::{Ask, Watch};
use tocsin_domain::{Id, Micros};
use tocsin_service::config::{ConfigError, duration, suggest};

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
    /// The name of one of `[[sources]]`, which is asked as long as the watch stands.
    pub source: Option<String>,
    /// What it is asked for.
    pub search: Option<String>,
    /// How often; as often as the source says if nothing is said.
    pub every: Option<String>,
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
/// `conditions` or does not cover the subject, an empty `on`, and a search of no source or with no
/// interval: all of them at once. Whether the source can be asked so is for who knows the sources.
pub fn watch_facts(
    tenant: &str,
    entry: &WatchEntry,
    conditions: &[Condition],
    now: Micros,
) -> Result<(Subscriber, Watch), ConfigError> {
    let place = format!("[[watches]] of {:?}", entry.email);
    let found = condition(entry, conditions);
    let asks = asks(entry);
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
        asks.as_ref().err().cloned(),
    ];
    let problem = |fault: String| ConfigError::new(&place, fault);
    let error = faults.into_iter().flatten().map(problem);
    let condition = found.map(|condition| condition.id).unwrap_or_default();
    let said = facts(tenant, entry, condition, asks.unwrap_or_default(), now);
    error.fold(ConfigError::default(), ConfigError::and).or_ok(said)
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

fn asks(entry: &WatchEntry) -> Result<Option<Ask>, String> {
    let Some(source) = &entry.source else {
        let alone = [("search", &entry.search), ("every", &entry.every)];
        return match alone.iter().find(|(_, given)| given.is_some()) {
            None => Ok(None),
            Some((key, _)) => Err(format!(
                "`{key}` says what a source is asked, and no `source` is named; name one of \
                 [[sources]], or leave it out"
            )),
        };
    };
    let every = entry.every.as_deref().map(|text| {
        let every = duration::parse(text).map(|every| every.as_secs());
        every.filter(|seconds| *seconds > 0).ok_or_else(|| {
            format!("`every` is {text:?}; use a second or more, such as \"10m\" or \"1h\"")
        })
    });
    let search = entry.search.clone().unwrap_or_default();
    Ok(Some(Ask { source: source.clone(), search, every: every.transpose()? }))
}

fn facts(
    tenant: &str,
    entry: &WatchEntry,
    condition: Id,
    asks: Option<Ask>,
    now: Micros,
) -> (Subscriber, Watch) {
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
        id: Watch::id_of(tenant, subscriber.id, condition, &entry.subject, EMAIL, asks.as_ref()),
        tenant: tenant.to_owned(),
        subscriber: subscriber.id,
        condition,
        subject: entry.subject.clone(),
        channel: EMAIL.to_owned(),
        schedule: "at-once".to_owned(),
        on,
        active: true,
        created_at: now,
        asks,
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
    fn a_watch_may_ask() {
        let lahore = "detector = \"lahore\"\n";
        let (_, none) = read(lahore).unwrap();
        let mut ids = vec![none.id];
        for (text, search, every) in [
            ("source = \"s\"", "", None),
            ("source = \"s\"\nsearch = \"lego 75192\"", "lego 75192", None),
            ("source = \"s\"\nsearch = \"duplo\"\nevery = \"1h 30m\"", "duplo", Some(5_400)),
        ] {
            let (_, watch) = read(&format!("{lahore}{text}")).unwrap();
            assert_eq!(watch.asks, Some(Ask { source: "s".into(), search: search.into(), every }));
            assert!(!ids.contains(&watch.id), "{text}");
            ids.push(watch.id);
        }
        assert_eq!(none.asks, None);
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
            ("detector = \"lahore\"\nsearch = \"lego\"", "no `source` is named"),
            ("detector = \"lahore\"\nevery = \"1h\"", "no `source` is named"),
            ("detector = \"lahore\"\nsource = \"s\"\nevery = \"often\"", "`every` is \"often\""),
            ("detector = \"lahore\"\nsource = \"s\"\nevery = \"5ms\"", "a second or more"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let both = read("detector = \"x\"\non = []").unwrap_err().to_string();
        assert_eq!(both.lines().count(), 2, "{both}");
    }
}
