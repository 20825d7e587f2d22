//! What people ask for, as facts: conditions, subscribers and watches in their compacted topics.
//! `tocsin.toml` declares some, `tocsin watch` adds others.

use std::collections::BTreeMap;
use std::time::Duration;
use tocsin_domain::condition::Condition;
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::watch::Watch;
use tocsin_domain::wire::{self, Fact, SchemaIds};
use tocsin_domain::{Micros, TopicPartition, topics};
use tocsin_stream::Record;
use tocsin_stream::log::{Log, Transaction, WorkerSpec};

/// Everything that is asked for now, by key.
#[derive(Debug, Default)]
pub struct Asked {
    /// By `tenant/id`.
    pub conditions: BTreeMap<String, Condition>,
    /// By `tenant/id`.
    pub subscribers: BTreeMap<String, Subscriber>,
    /// By `tenant/id`.
    pub watches: BTreeMap<String, Watch>,
    /// The keys of the watches that the configuration declared last time.
    declared: Vec<String>,
}

/// The key, in the cursors' topic, of the list of watches that the configuration declared.
const DECLARED: &[u8] = b"config/watches";

impl Asked {
    /// Reads the compacted topics.
    pub fn read(log: &dyn Log) -> anyhow::Result<Asked> {
        let declared = values(log, topics::INGEST_CURSORS_CHANGELOG)?.remove(DECLARED);
        let declared = String::from_utf8(declared.unwrap_or_default()).unwrap_or_default();
        Ok(Asked {
            conditions: table(log, topics::CONDITIONS)?,
            subscribers: table(log, topics::SUBSCRIBERS)?,
            watches: table(log, topics::WATCHES)?,
            declared: declared.lines().map(str::to_owned).collect(),
        })
    }
}

/// Makes the topics say what the configuration says, and no more: what is no longer declared is
/// ended. Facts that are there already are not written again.
pub fn declare(
    log: &dyn Log,
    conditions: &[Condition],
    watches: &[(Subscriber, Watch)],
) -> anyhow::Result<()> {
    let asked = Asked::read(log)?;
    let mut changes = Changes::new(log)?;
    for condition in conditions {
        if asked.conditions.get(&condition.key()) != Some(condition) {
            changes.condition(condition);
        }
    }
    for (key, old) in &asked.conditions {
        if old.active && !conditions.iter().any(|new| new.key() == *key) {
            changes.condition(&Condition { active: false, ..old.clone() });
        }
    }
    for (subscriber, watch) in watches {
        let known = asked.watches.get(&watch.key());
        if known.is_some_and(|known| !known.active) && asked.declared.contains(&watch.key()) {
            // Somebody has ended it since: a person's no outlives a restart.
            tracing::warn!(watch = %watch.id, "a watch of the configuration was ended and stays so; `tocsin watch add` begins it again");
        } else {
            changes.wish(&asked, subscriber, watch);
        }
    }
    let keys: Vec<String> = watches.iter().map(|(_, watch)| watch.key()).collect();
    for key in asked.declared.iter().filter(|key| !keys.contains(key)) {
        if let Some(old) = asked.watches.get(key).filter(|old| old.active) {
            changes.watch(&Watch { active: false, ..old.clone() });
        }
    }
    if asked.declared != keys {
        changes.declared(&keys);
    }
    changes.commit(log, "config-0")
}

/// How often facts are offered to the log.
const TRIES: u32 = 6;

/// Facts to be published together.
pub struct Changes {
    transaction: Transaction,
    topics: [usize; 4],
}

impl Changes {
    /// No facts yet.
    pub fn new(log: &dyn Log) -> anyhow::Result<Changes> {
        let mut transaction = Transaction::default();
        let names = [
            topics::CONDITIONS,
            topics::SUBSCRIBERS,
            topics::WATCHES,
            topics::INGEST_CURSORS_CHANGELOG,
        ];
        let mut numbers = [0; 4];
        for (number, name) in numbers.iter_mut().zip(names) {
            *number = transaction.register(name, log.partitions(name)?);
        }
        Ok(Changes { transaction, topics: numbers })
    }

    /// A watch and its subscriber, as far as they are news. Who is known keeps the date.
    pub fn wish(&mut self, asked: &Asked, subscriber: &Subscriber, watch: &Watch) {
        let mut subscriber = subscriber.clone();
        let known = asked.subscribers.get(&subscriber.key());
        if let Some(known) = known {
            subscriber.created_at = known.created_at;
        }
        if known != Some(&subscriber) {
            self.put(1, &subscriber.key(), &subscriber);
        }
        let mut watch = watch.clone();
        let known = asked.watches.get(&watch.key());
        if let Some(known) = known {
            watch.created_at = known.created_at;
        }
        if known != Some(&watch) {
            self.watch(&watch);
        }
    }

    /// A watch.
    pub fn watch(&mut self, watch: &Watch) {
        self.put(2, &watch.key(), watch);
    }

    fn condition(&mut self, condition: &Condition) {
        self.put(0, &condition.key(), condition);
    }

    fn declared(&mut self, keys: &[String]) {
        let builder = self.transaction.to(self.topics[3], DECLARED);
        builder.push(DECLARED, Some(keys.join("\n").as_bytes()));
    }

    fn put<'a>(&mut self, topic: usize, key: &str, fact: &impl Fact<'a>) {
        let builder = self.transaction.to(self.topics[topic], key.as_bytes());
        builder.push_with(key.as_bytes(), |out| wire::write(fact, out));
    }

    /// Publishes them, if there are any.
    ///
    /// # Errors
    /// If the log does not take them, however often they are offered.
    pub fn commit(mut self, log: &dyn Log, worker: &str) -> anyhow::Result<()> {
        if self.transaction.is_empty() {
            return Ok(());
        }
        self.transaction.time = now();
        let spec = WorkerSpec { id: worker.to_owned(), ..WorkerSpec::default() };
        let mut last = None;
        for attempt in 0..TRIES {
            // A new worker each time: another command may have taken this one's place. What an
            // unknown outcome publishes twice is the same fact of the same key.
            match log.worker(&spec)?.commit(&mut self.transaction) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
            std::thread::sleep(Duration::from_millis(20 << attempt));
        }
        let error = last.map_or_else(String::new, |error| error.to_string());
        Err(anyhow::anyhow!("cannot publish what was asked for: {error}; try again"))
    }
}

/// The wall clock.
pub fn now() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Micros(since.unwrap_or_default().as_micros() as i64)
}

/// Every fact of a topic, by partition and offset.
///
/// # Errors
/// If the log does not answer, or holds something that is no such fact.
pub fn all<F: for<'a> Fact<'a>>(log: &dyn Log, topic: &str) -> anyhow::Result<Vec<F>> {
    let (ids, mut facts) = (SchemaIds::default(), Vec::new());
    each(log, topic, &mut |record| {
        let read = |value| wire::read_owned::<F>(value, &ids);
        let fact = record.value.map(read).transpose();
        facts.extend(fact.map_err(|e| anyhow::anyhow!("{}: {e}", record.position()))?);
        Ok(())
    })?;
    Ok(facts)
}

/// The newest fact of each key.
fn table<F: for<'a> Fact<'a>>(log: &dyn Log, topic: &str) -> anyhow::Result<BTreeMap<String, F>> {
    let ids = SchemaIds::default();
    values(log, topic)?
        .into_iter()
        .map(|(key, value)| {
            let fact = wire::read_owned::<F>(&value, &ids);
            let fact =
                fact.map_err(|e| anyhow::anyhow!("a record of {topic} cannot be read: {e}"))?;
            Ok((String::from_utf8_lossy(&key).into_owned(), fact))
        })
        .collect()
}

fn values(log: &dyn Log, topic: &str) -> anyhow::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut all = BTreeMap::new();
    each(log, topic, &mut |record| {
        match record.value {
            Some(value) => all.insert(record.key.to_vec(), value.to_vec()),
            None => all.remove(record.key),
        };
        Ok(())
    })?;
    Ok(all)
}

fn each(
    log: &dyn Log,
    topic: &str,
    take: &mut dyn FnMut(&Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for partition in 0..log.partitions(topic)? {
        log.scan_all(&TopicPartition::new(topic, partition), &mut *take)?;
    }
    Ok(())
}
