//! What a cluster's topics should be, and what of that it has not: pure, from topics.yaml and what
//! was found to a list of changes. It never wishes for more partitions, and for nothing to be deleted.

use std::collections::BTreeMap;
use std::fmt;
use tocsin_domain::topics::{Keep, Retention, Topic, Topics};

/// How many copies of each partition a cluster keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// On how many brokers; -1 for as many as the brokers say.
    pub replication: i32,
    /// How many of them must have a record before it counts as written.
    pub in_sync: u32,
}

/// Configuration of a topic by the broker's names.
pub type Config = BTreeMap<String, String>;

/// How many copies must have a record, by the broker's name.
const IN_SYNC: &str = "min.insync.replicas";

/// What a topic is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// At least 1.
    pub partitions: u32,
    /// As [`Copies::replication`].
    pub replication: i32,
    /// What is said of it; all else is as the brokers say.
    pub config: Config,
}

impl Wanted {
    /// What `topic` needs on a cluster that keeps so many copies.
    pub fn of(topic: &Topic, copies: Copies) -> Wanted {
        let named = topic_config(topic).into_iter();
        let mut config: Config = named.map(|(name, value)| (name.to_owned(), value)).collect();
        config.insert(IN_SYNC.to_owned(), copies.in_sync.to_string());
        let (name, partitions) = (topic.name.clone(), topic.partitions);
        Wanted { name, partitions, replication: copies.replication, config }
    }
}

/// What a topic of the cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many partitions it has.
    pub partitions: u32,
    /// How many copies its partitions have at least.
    pub replication: u32,
    /// All that is in force, defaults among it; empty if nobody asked.
    pub config: Config,
}

/// One difference between what should be and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The topic is not there: it is created.
    Create(Wanted),
    /// A configuration is another: it is set.
    Configure {
        /// Whose.
        topic: String,
        /// The broker's name of it.
        name: String,
        /// What is in force; `None` if the broker does not know it.
        from: Option<String>,
        /// What should be.
        to: String,
    },
    /// It has another number of partitions: nobody changes that, because keys would move.
    Partitions {
        /// Which topic.
        topic: String,
        /// How many there are.
        found: u32,
        /// How many there should be.
        wanted: u32,
    },
    /// Its partitions have another number of copies: moving copies is the cluster's work.
    Replication {
        /// Which topic.
        topic: String,
        /// How many there are.
        found: u32,
        /// How many there should be.
        wanted: u32,
    },
    /// It is named like a topic of ours, and topics.yaml does not know it. It is left alone.
    Unknown {
        /// Which topic.
        topic: String,
    },
}

/// What can be done about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// `topics apply` does it.
    Apply,
    /// A person must.
    ByHand,
    /// Nothing needs to be done.
    None,
}

impl Change {
    /// What can be done about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Change::Create(_) | Change::Configure { .. } => Remedy::Apply,
            Change::Partitions { .. } | Change::Replication { .. } => Remedy::ByHand,
            Change::Unknown { .. } => Remedy::None,
        }
    }

    /// Which topic it is about.
    pub fn topic(&self) -> &str {
        match self {
            Change::Create(wanted) => &wanted.name,
            Change::Configure { topic, .. }
            | Change::Partitions { topic, .. }
            | Change::Replication { topic, .. }
            | Change::Unknown { topic } => topic,
        }
    }
}

/// One line: `+` will be created, `~` will be set, `!` somebody must see to, `?` is only told.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Create(wanted) => {
                let (name, partitions) = (&wanted.name, wanted.partitions);
                write!(f, "+ {name}: {partitions} partitions")?;
                if wanted.replication > 0 {
                    write!(f, ", {} copies", wanted.replication)?;
                }
                wanted.config.iter().try_for_each(|(name, value)| write!(f, ", {name}={value}"))
            }
            Change::Configure { topic, name, from, to } => {
                let from = from.as_deref().unwrap_or("nothing");
                write!(f, "~ {topic}: {name} from {from} to {to}")
            }
            Change::Partitions { topic, found, wanted } => write!(
                f,
                "! {topic}: has {found} partitions and must have {wanted}; that is never changed, because keys would move: make a new topic by hand and copy its records, or deploy the version that made it"
            ),
            Change::Replication { topic, found, wanted } => write!(
                f,
                "! {topic}: has {found} copies and should have {wanted}; move them with kafka-reassign-partitions, or say `replication_factor = {found}` in [log]"
            ),
            Change::Unknown { topic } => {
                write!(f, "? {topic}: topics.yaml does not know it; it is left alone")
            }
        }
    }
}

/// What is to be done so that the cluster has every topic as it should be, in the order of the
/// names. Nothing, if that is so already.
pub fn plan(wanted: &[Wanted], found: &BTreeMap<String, Found>) -> Vec<Change> {
    let mut changes: Vec<Change> =
        wanted.iter().flat_map(|wanted| differences(wanted, found.get(&wanted.name))).collect();
    let known = |name: &String| wanted.iter().any(|wanted| wanted.name == *name);
    let foreign = found.keys().filter(|name| !known(name) && is_like_ours(name, wanted));
    changes.extend(foreign.map(|topic| Change::Unknown { topic: topic.clone() }));
    changes.sort_by(|a, b| a.topic().cmp(b.topic()));
    changes
}

fn differences(wanted: &Wanted, found: Option<&Found>) -> Vec<Change> {
    let Some(found) = found else { return vec![Change::Create(wanted.clone())] };
    let topic = || wanted.name.clone();
    let mut changes = Vec::new();
    if found.partitions != wanted.partitions {
        let (found, wanted) = (found.partitions, wanted.partitions);
        changes.push(Change::Partitions { topic: topic(), found, wanted });
    }
    if let Ok(copies @ 1..) = u32::try_from(wanted.replication)
        && found.replication != copies
    {
        let found = found.replication;
        changes.push(Change::Replication { topic: topic(), found, wanted: copies });
    }
    for (name, to) in &wanted.config {
        let from = found.config.get(name).cloned();
        if from.as_ref() != Some(to) && !stops_writing(name, to, found) {
            let (name, to) = (name.clone(), to.clone());
            changes.push(Change::Configure { topic: topic(), name, from, to });
        }
    }
    changes
}

/// Whether a setting would ask for more copies than there are: nobody could write any more. That the
/// copies are too few is said by itself.
fn stops_writing(name: &str, to: &str, found: &Found) -> bool {
    name == IN_SYNC && to.parse::<u32>().is_ok_and(|in_sync| in_sync > found.replication)
}

/// Whether a topic's first word, up to its dot, is that of a topic of ours.
fn is_like_ours(name: &str, wanted: &[Wanted]) -> bool {
    let first = |name: &str| name.split_once('.').map(|(first, _)| first.to_owned());
    let ours = first(name);
    ours.is_some() && wanted.iter().any(|wanted| first(&wanted.name) == ours)
}

/// Every topic of topics.yaml as it should be.
pub fn wanted(copies: Copies) -> Vec<Wanted> {
    Topics::builtin().iter().map(|topic| Wanted::of(topic, copies)).collect()
}

/// The configuration that a topic of Tocsin has on the broker.
pub fn topic_config(topic: &Topic) -> BTreeMap<&'static str, String> {
    let mut config = BTreeMap::from([
        // Records of up to 8 MB; what is larger is refused before it is written.
        ("max.message.bytes", "8388608".to_owned()),
        ("message.timestamp.type", "CreateTime".to_owned()),
    ]);
    match topic.retention {
        Retention::Compact => {
            config.insert("cleanup.policy", "compact".to_owned());
            // Longer than a snapshot is trusted: see `snapshot::OLDEST`.
            config.insert("delete.retention.ms", "86400000".to_owned());
        }
        Retention::Keep(keep) => {
            config.insert("cleanup.policy", "delete".to_owned());
            // Kept for so long, however much it is.
            config.insert("retention.bytes", "-1".to_owned());
            let millis = match keep {
                Keep::ForEver => "-1".to_owned(),
                Keep::For(time) => time.as_millis().to_string(),
            };
            config.insert("retention.ms", millis);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIES: Copies = Copies { replication: 3, in_sync: 2 };

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn wanted_topic(name: &str) -> Wanted {
        let config = config(&[("a", "1"), ("b", "2")]);
        Wanted { name: name.to_owned(), partitions: 8, replication: 3, config }
    }

    fn found_topic(partitions: u32, replication: u32, pairs: &[(&str, &str)]) -> Found {
        Found { partitions, replication, config: config(pairs) }
    }

    #[test]
    fn each_difference_is_one_line() {
        let right = [("a", "1"), ("b", "2"), ("c", "3")];
        let wanted = [wanted_topic("aqi.readings"), wanted_topic("alerts")];
        for (name, found, lines) in [
            ("aqi.readings", found_topic(8, 3, &right), vec![]),
            ("aqi.readings", found_topic(4, 3, &right), vec!["! aqi.readings: has 4 partitions"]),
            ("aqi.readings", found_topic(9, 3, &right), vec!["! aqi.readings: has 9 partitions"]),
            ("aqi.readings", found_topic(8, 1, &right), vec!["! aqi.readings: has 1 copies"]),
            (
                "aqi.readings",
                found_topic(8, 3, &[("a", "0"), ("b", "2")]),
                vec!["~ aqi.readings: a from 0 to 1"],
            ),
            (
                "aqi.readings",
                found_topic(8, 3, &[("a", "1")]),
                vec!["~ aqi.readings: b from nothing to 2"],
            ),
            ("aqi.seen", found_topic(1, 1, &[]), vec!["+ aqi.readings: 8 p", "? aqi.seen: topics"]),
            ("billing.rows", found_topic(1, 1, &[]), vec!["+ aqi.readings: 8 partitions, 3 cop"]),
            // Without a dot there is no word that it could share.
            ("aqi", found_topic(1, 1, &[]), vec!["+ aqi.readings: 8 partitions, 3 copies, a=1"]),
        ] {
            let alerts = ("alerts".to_owned(), found_topic(8, 3, &right));
            let cluster = BTreeMap::from([alerts, (name.to_owned(), found)]);
            let changes: Vec<String> =
                plan(&wanted, &cluster).iter().map(ToString::to_string).collect();
            assert_eq!(changes.len(), lines.len(), "{changes:?}");
            for (change, line) in changes.iter().zip(lines) {
                assert!(change.starts_with(line), "{change:?} does not start with {line:?}");
            }
        }
    }

    #[test]
    fn a_cluster_without_topics_gets_each_of_them_and_then_nothing_is_left() {
        let wanted = wanted(COPIES);
        let changes = plan(&wanted, &BTreeMap::new());
        assert_eq!(changes.len(), Topics::builtin().iter().count());
        assert!(changes.iter().all(|change| change.remedy() == Remedy::Apply));
        let found = |wanted: &Wanted| {
            let (partitions, config) = (wanted.partitions, wanted.config.clone());
            (wanted.name.clone(), Found { partitions, replication: 3, config })
        };
        assert_eq!(plan(&wanted, &wanted.iter().map(found).collect()), []);
    }

    #[test]
    fn no_more_copies_must_have_a_record_than_there_are() {
        let wanted = Wanted::of(Topics::builtin().iter().next().unwrap(), COPIES);
        for (replication, changes) in [(1, 1), (2, 2), (3, 1)] {
            let mut config = wanted.config.clone();
            config.insert(IN_SYNC.to_owned(), "1".to_owned());
            let found = Found { partitions: wanted.partitions, replication, config };
            let cluster = BTreeMap::from([(wanted.name.clone(), found)]);
            let planned = plan(std::slice::from_ref(&wanted), &cluster);
            assert_eq!(planned.len(), changes, "{replication}: {planned:?}");
            let sets = planned.iter().any(|change| change.remedy() == Remedy::Apply);
            assert_eq!(sets, replication >= 2, "{replication}: {planned:?}");
        }
    }

    #[test]
    fn as_many_copies_as_the_brokers_say_is_never_a_difference() {
        let mut wanted = wanted_topic("alerts");
        wanted.replication = -1;
        let found = found_topic(8, 5, &[("a", "1"), ("b", "2")]);
        assert_eq!(plan(&[wanted], &BTreeMap::from([("alerts".to_owned(), found)])), []);
    }

    #[test]
    fn every_topic_is_compacted_or_kept_by_time() {
        for topic in Topics::builtin().iter() {
            let config = Wanted::of(topic, COPIES).config;
            assert_eq!(config["min.insync.replicas"], "2", "{}", topic.name);
            match topic.is_compacted() {
                true => assert_eq!(config["cleanup.policy"], "compact", "{}", topic.name),
                false => assert!(config["retention.ms"].parse::<i64>().is_ok(), "{}", topic.name),
            }
        }
    }
}
