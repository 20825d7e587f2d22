//! The topics, as `topics.yaml` says: compiled in, read once. It describes them; creating them is
//! the log's work.

use crate::wire::catalogue;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

/// Air-quality readings.
pub const AQI_READINGS: &str = "aqi.readings";
/// Observations of listings.
pub const MARKET_LISTINGS: &str = "market.listings";
/// Rows of orders.
pub const ORDERS_ROWS: &str = "orders.rows";
/// Rows of data sets.
pub const DATASETS_ROWS: &str = "datasets.rows";
/// Swipes.
pub const SOCIAL_SWIPES: &str = "social.swipes";
/// Subscribers, compacted.
pub const SUBSCRIBERS: &str = "subscribers";
/// Watches, compacted.
pub const WATCHES: &str = "watches";
/// Conditions, compacted.
pub const CONDITIONS: &str = "conditions";
/// Alerts.
pub const ALERTS: &str = "alerts";
/// Notices.
pub const NOTICES: &str = "notices";
/// Deliveries.
pub const DELIVERIES: &str = "deliveries";
/// Dead letters.
pub const DEAD_LETTERS: &str = "dead.letters";
/// What has become of dead letters.
pub const DEAD_DECISIONS: &str = "dead.decisions";
/// Late events.
pub const LATE_EVENTS: &str = "late.events";
/// The detectors' state.
pub const DETECT_SUBJECTS_CHANGELOG: &str = "detect.subjects.changelog";
/// The state of what subscribers are owed.
pub const NOTIFY_DELIVERIES_CHANGELOG: &str = "notify.deliveries.changelog";
/// The state of what is being sent.
pub const NOTIFY_SENDS_CHANGELOG: &str = "notify.sends.changelog";
/// How far each source has been read.
pub const INGEST_CURSORS_CHANGELOG: &str = "ingest.cursors.changelog";
/// The sums that tables show.
pub const PROJECT_TOTALS_CHANGELOG: &str = "project.totals.changelog";

/// The longest that a topic with personal data may be kept if it is not compacted.
const PERSONAL_LIMIT: Duration = Duration::from_hours(400 * 24);

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Lower-case words with dots between them.
    pub name: String,
    /// What it holds.
    pub purpose: String,
    /// What its keys are made of.
    pub key: String,
    /// Why they are.
    pub why: String,
    /// At least 1.
    pub partitions: u32,
    /// How long its records are kept.
    pub retention: Retention,
    /// The file under `schemas/`, `reading.avsc`; `None` for a store's raw state.
    #[serde(deserialize_with = "schema")]
    pub schema: Option<String>,
    /// Who may see it.
    pub data_class: DataClass,
    /// The services that write it.
    pub writers: Vec<String>,
    /// The services that read it.
    pub readers: Vec<String>,
    /// How long the watermark waits for late events; zero if it is not said.
    #[serde(default, deserialize_with = "lateness")]
    pub allowed_lateness: Duration,
}

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// By time.
    Keep(Keep),
    /// The latest record of a key, for ever: `compact`.
    Compact,
}

/// How long records are kept by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing is ever dropped: `for-ever`.
    ForEver,
    /// At least this long: `365d`.
    For(Duration),
}

/// Who may see a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataClass {
    /// Everybody.
    Public,
    /// It is about a person.
    Personal,
    /// Those who run Tocsin.
    Internal,
    /// Nobody but the service itself.
    Secret,
}

/// Every topic, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics(Vec<Topic>);

/// Why a list of topics is refused.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// It is not the YAML that it should be.
    #[error("cannot read the topics: {0}")]
    Yaml(#[from] serde_norway::Error),
    /// A topic breaks a rule.
    #[error("topic {topic:?} {reason}")]
    Rule {
        /// Its name.
        topic: String,
        /// Which rule, and what is allowed.
        reason: String,
    },
}

impl Topics {
    /// Reads and checks a list of topics. Unknown keys, bad names, no partitions, a schema that there
    /// is no file of, and personal data that is kept too long are refused.
    pub fn parse(yaml: &str) -> Result<Topics, TopicsError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            topics: Vec<Topic>,
        }
        let File { topics } = serde_norway::from_str(yaml)?;
        let mut names = BTreeSet::new();
        for topic in &topics {
            let twice = (!names.insert(&topic.name)).then(|| "stands twice in the list".to_owned());
            if let Some(reason) = twice.or_else(|| topic.fault()) {
                return Err(TopicsError::Rule { topic: topic.name.clone(), reason });
            }
        }
        Ok(Topics(topics))
    }

    /// The topics of `topics.yaml`. A test holds that the file is right, so it is never empty.
    pub fn builtin() -> &'static Topics {
        static TOPICS: OnceLock<Topics> = OnceLock::new();
        TOPICS.get_or_init(|| Topics::parse(BUILTIN).unwrap_or_default())
    }

    /// The topic of that name.
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.0.iter().find(|topic| topic.name == name)
    }

    /// Every topic, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Topic> {
        self.0.iter()
    }
}

const BUILTIN: &str = include_str!("../../../topics.yaml");

impl Topic {
    /// Whether only the latest record of a key is kept.
    pub fn is_compacted(&self) -> bool {
        self.retention == Retention::Compact
    }

    fn fault(&self) -> Option<String> {
        let kept = match self.retention {
            Retention::Keep(Keep::For(time)) => Some(time),
            _ => None,
        };
        let too_long = kept.is_none_or(|time| time > PERSONAL_LIMIT) && !self.is_compacted();
        let no_schema = self.schema.as_deref().and_then(|file| catalogue::by_file(file).err());
        if !is_name(&self.name) {
            Some("must be lower-case words of a-z, 0-9 and - with dots between them".to_owned())
        } else if self.partitions == 0 {
            Some("has no partitions, it must have at least 1".to_owned())
        } else if let Some(error) = no_schema {
            Some(format!("names a schema that does not exist: {}", error.reason))
        } else if kept.is_some_and(|time| self.allowed_lateness > time) {
            Some("allows events to be later than it keeps them".to_owned())
        } else if self.data_class == DataClass::Personal && too_long {
            Some("holds personal data: compact it or keep it at most 400d".to_owned())
        } else {
            None
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 200 && name.split('.').all(|word| !word.is_empty() && word.chars().all(letter))
}

/// Reads `365d`, `P90D`, `PT0S` or `2h 30m`; a day has 24 hours. `None` if it is negative or none.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let exact = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    exact.try_into().ok()
}

fn duration<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    parse_duration(text).ok_or_else(|| {
        E::custom(format!("{text:?} is not a length of time such as 365d, PT1H or 2h 30m"))
    })
}

fn lateness<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    duration(&String::deserialize(d)?)
}

fn schema<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(d)?).filter(|file| file != "state"))
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "compact" => Ok(Retention::Compact),
            "for-ever" => Ok(Retention::Keep(Keep::ForEver)),
            text => duration(text).map(|time| Retention::Keep(Keep::For(time))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_list_is_right_and_has_exactly_these_topics() {
        Topics::parse(BUILTIN).unwrap();
        let names: Vec<_> = Topics::builtin().iter().map(|topic| topic.name.as_str()).collect();
        let wanted = [
            AQI_READINGS,
            MARKET_LISTINGS,
            ORDERS_ROWS,
            DATASETS_ROWS,
            SOCIAL_SWIPES,
            SUBSCRIBERS,
            WATCHES,
            CONDITIONS,
            ALERTS,
            NOTICES,
            DELIVERIES,
            DEAD_LETTERS,
            DEAD_DECISIONS,
            LATE_EVENTS,
            DETECT_SUBJECTS_CHANGELOG,
            NOTIFY_DELIVERIES_CHANGELOG,
            NOTIFY_SENDS_CHANGELOG,
            INGEST_CURSORS_CHANGELOG,
            PROJECT_TOTALS_CHANGELOG,
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn only_services_write_and_read_and_every_topic_has_both() {
        let services = [
            "ingest",
            "detect",
            "match",
            "deliver",
            "send",
            "project",
            "api",
            "tocsin watch",
            "tocsin dlq",
        ];
        for topic in Topics::builtin().iter() {
            for who in [&topic.writers, &topic.readers] {
                assert!(!who.is_empty(), "{}", topic.name);
                assert!(who.iter().all(|name| services.contains(&name.as_str())), "{who:?}");
            }
            assert_eq!(topic.schema.is_none(), topic.name.ends_with(".changelog"));
            assert_eq!(topic.allowed_lateness, Duration::ZERO);
        }
    }

    #[test]
    fn each_rule_is_held() {
        let good = "topics: [{name: a.b, purpose: p, key: k, why: w, partitions: 1, \
                    retention: 9d, schema: swipe.avsc, data_class: personal, writers: [ingest], \
                    readers: [api], allowed_lateness: PT1H}]";
        let topics = Topics::parse(good).unwrap();
        let topic = topics.get("a.b").unwrap();
        assert_eq!(topic.retention, Retention::Keep(Keep::For(Duration::from_hours(9 * 24))));
        assert_eq!(topic.allowed_lateness, Duration::from_hours(1));
        for (from, to, says) in [
            ("purpose", "porpoise", "porpoise"),
            ("a.b", "A.b", "lower-case"),
            ("a.b", "a..b", "lower-case"),
            ("partitions: 1", "partitions: 0", "at least 1"),
            ("partitions: 1", "partitions: -1", "partitions"),
            ("9d", "401d", "400d"),
            ("9d", "for-ever", "400d"),
            ("9d", "soon", "soon"),
            ("9d", "30m", "later"),
            ("PT1H", "-PT1H", "-PT1H"),
            ("swipe.avsc", "swoop.avsc", "swoop"),
            ("personal", "private", "private"),
            (
                "}]",
                "}, {name: a.b, purpose: p, key: k, why: w, partitions: 1, retention: 9d, \
               schema: state, data_class: public, writers: [], readers: []}]",
                "twice",
            ),
        ] {
            let error = Topics::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(says), "{to}: {error}");
        }
    }
}
