//! What people ask for, as facts: conditions, subscribers and watches in their compacted topics.
//! `tocsin.toml` declares some, `tocsin watch` adds others.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
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
/// ended. Facts that are there already are not written again. Several processes may do so at once:
/// it is done once.
pub fn declare(
    log: &dyn Log,
    conditions: &[Condition],
    watches: &[(Subscriber, Watch)],
) -> anyhow::Result<()> {
    publish(log, |asked, changes| {
        declare_conditions(asked, changes, conditions);
        declare_watches(asked, changes, watches);
    })
}

fn declare_conditions(asked: &Asked, changes: &mut Changes, conditions: &[Condition]) {
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
}

fn declare_watches(asked: &Asked, changes: &mut Changes, watches: &[(Subscriber, Watch)]) {
    for (subscriber, watch) in watches {
        let known = asked.watches.get(&watch.key());
        if known.is_some_and(|known| !known.active) && asked.declared.contains(&watch.key()) {
            // Somebody has ended it since: a person's no outlives a restart.
            tracing::warn!(watch = %watch.id, "a watch of the configuration was ended and stays so; `tocsin watch add` begins it again");
        } else {
            changes.wish(asked, subscriber, watch);
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
}

/// Publishes what `decide` makes of everything that is asked for now. Whoever publishes meanwhile
/// shuts this one out, and it reads and decides again: so every decision stands on what is there.
///
/// # Errors
/// If the log does not take it, however often it is offered.
pub fn publish(log: &dyn Log, decide: impl Fn(&Asked, &mut Changes)) -> anyhow::Result<()> {
    let spec = WorkerSpec { id: WORKER.to_owned(), ..WorkerSpec::default() };
    let decided = || {
        let mut changes = Changes::new(log)?;
        decide(&Asked::read(log)?, &mut changes);
        anyhow::Ok(changes.transaction)
    };
    if decided()?.is_empty() {
        return Ok(());
    }
    let mut last = String::new();
    for attempt in 0..TRIES {
        // First the worker, then the look: it shuts out everybody who looked before.
        let mut worker = log.worker(&spec)?;
        log.settle_topics(&CHANGED)?;
        let mut transaction = decided()?;
        transaction.time = now();
        if transaction.is_empty() {
            return Ok(());
        }
        match worker.commit(&mut transaction) {
            Ok(()) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        // Processes that began at the same moment must not go on in step.
        let apart = RandomState::new().build_hasher().finish() % (20 << attempt);
        std::thread::sleep(Duration::from_millis((10 << attempt) + apart));
    }
    Err(anyhow::anyhow!("cannot publish what was asked for: {last}; try again"))
}

/// Who publishes what is asked for.
const WORKER: &str = "asked-0";
/// Where it is published.
const CHANGED: [&str; 4] =
    [topics::CONDITIONS, topics::SUBSCRIBERS, topics::WATCHES, topics::INGEST_CURSORS_CHANGELOG];
/// How often facts are offered to the log.
const TRIES: u32 = 8;

/// Facts to be published together.
pub struct Changes {
    transaction: Transaction,
    topics: [usize; 4],
}

impl Changes {
    /// No facts yet.
    fn new(log: &dyn Log) -> anyhow::Result<Changes> {
        let mut transaction = Transaction::default();
        let mut numbers = [0; 4];
        for (number, name) in numbers.iter_mut().zip(CHANGED) {
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
    let places = (0..log.partitions(topic)?).map(|number| TopicPartition::new(topic, number));
    log.scan_each(&places.collect::<Vec<_>>(), take)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use std::sync::Barrier;
    use tocsin_domain::topics::Topics;
    use tocsin_stream::memory::MemoryLog;
    use tocsin_testkit::veil::Veiled;

    const CONFIG: &str = "[[detectors]]\nname = \"d\"\nkind = \"threshold\"\nmeasure = \"m\"\n\
        raise_above = 5\n[[watches]]\nemail = \"ada@example.org\"\ndetector = \"d\"\n";

    #[test]
    fn processes_that_declare_at_once_declare_once() {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let (log, begin): (&dyn Log, _) = (&*log, Barrier::new(6));
        std::thread::scope(|scope| {
            for process in 0..6 {
                let begin = &begin;
                scope.spawn(move || {
                    // Each has read its file at a moment of its own.
                    let settings = Settings::parse(CONFIG, "t.toml", Micros(process)).unwrap();
                    begin.wait();
                    declare(log, &settings.conditions, &settings.watches).unwrap();
                });
            }
        });
        for (topic, wanted) in
            [(topics::CONDITIONS, 1), (topics::SUBSCRIBERS, 1), (topics::WATCHES, 1)]
        {
            let mut found = 0;
            each(log, topic, &mut |_| {
                found += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!(found, wanted, "{topic}");
        }
    }

    #[test]
    fn what_another_process_has_just_declared_is_waited_for_until_it_can_be_seen() {
        let inner = MemoryLog::new();
        inner.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let log = Veiled::new(inner.clone());
        let settings = Settings::parse(CONFIG, "t.toml", Micros(0)).unwrap();
        log.hide(&CHANGED).unwrap();
        declare(&*inner, &settings.conditions, &settings.watches).unwrap();
        let again = || declare(&*log, &settings.conditions, &settings.watches);
        log.waited_for(again).unwrap();
        assert_eq!(all::<Watch>(&*inner, topics::WATCHES).unwrap().len(), 1, "once");
    }

    const SHOP: &str = "[[sources]]\nname = \"shop\"\nkind = \"http\"\nevent = \"listing\"\n\
        address = \"http://u/?q={search}\"\nlisting = \"{id}\"\nprice = \"1\"\ncurrency = \"EUR\"\n\
        every = \"10m\"\n";

    #[test]
    fn a_watch_asks_a_source_of_the_configuration_and_another_search_ends_it() {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let parse =
            |asks: &str| Settings::parse(&format!("{CONFIG}{asks}\n{SHOP}"), "t.toml", now());
        for search in ["lego", "duplo"] {
            let asks = format!("source = \"shop\"\nsearch = {search:?}\nevery = \"5m\"");
            let settings = parse(&asks).unwrap();
            declare(&*log, &settings.conditions, &settings.watches).unwrap();
            let all = Asked::read(&*log).unwrap().watches;
            let active = all.values().filter(|watch| watch.active);
            let found: Vec<_> = active.filter_map(|watch| watch.asks.as_ref()).collect();
            assert_eq!((found.len(), found[0].search.as_str()), (1, search));
            assert_eq!((found[0].source.as_str(), found[0].every), ("shop", Some(300)));
        }
        for (asks, wanted) in [
            ("source = \"shoe\"\nsearch = \"lego\"", "sources that are asked: shop"),
            ("source = \"shop\"", "nothing to search for"),
            ("search = \"lego\"", "no `source` is named"),
        ] {
            let error = parse(asks).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("ada@example.org"), "{error}");
        }
    }
}
