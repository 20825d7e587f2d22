//! The dead letters as they stand: every one that the log holds, with what has become of it. Reads
//! `dead.letters` and `dead.decisions`, and goes on from where it was; keeps no bytes of any letter.

use crate::log::{Log, LogError};
use crate::record::Record;
use std::collections::{BTreeMap, HashMap};
use tocsin_domain::dead_letter::{DeadDecision, DeadLetter, Group};
use tocsin_domain::topics::{DEAD_DECISIONS, DEAD_LETTERS};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, Micros, Position, TopicPartition};

/// All of them.
#[derive(Debug, Default)]
pub struct Letters {
    letters: BTreeMap<Id, Known>,
    groups: Vec<Group>,
    numbers: HashMap<Group, u32>,
    decisions: HashMap<Id, DeadDecision>,
    next: HashMap<TopicPartition, u64>,
    /// Records of `dead.letters` that are none.
    pub unreadable: u64,
}

/// What is known of one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    partition: u32,
    offset: u64,
    group: u32,
    at: Micros,
    source: String,
}

/// Which letters are meant. Everything that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The topic they were in, or were meant for.
    pub topic: Option<String>,
    /// The kind of fault.
    pub class: Option<String>,
    /// The service that could not process them.
    pub service: Option<String>,
    /// The source that read them.
    pub source: Option<String>,
    /// A group's hash.
    pub group: Option<String>,
    /// Not before.
    pub since: Option<Micros>,
    /// Those of which something has become, too.
    pub all: bool,
}

/// The letters of one group, counted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// [`Group::hash`].
    pub hash: String,
    /// What they have in common.
    #[serde(flatten)]
    pub group: Group,
    /// How many of them fit.
    pub count: u64,
    /// The oldest.
    pub first: Micros,
    /// The newest.
    pub last: Micros,
    /// The newest letter, for looking at.
    pub example: Id,
}

impl Letters {
    /// Everything that the log holds now.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn read(log: &dyn Log) -> Result<Letters, LogError> {
        let mut letters = Letters::default();
        letters.catch_up(log)?;
        Ok(letters)
    }

    /// Takes in what has come since, and drops what retention has deleted.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn catch_up(&mut self, log: &dyn Log) -> Result<(), LogError> {
        let ids = SchemaIds::default();
        for topic in [DEAD_LETTERS, DEAD_DECISIONS] {
            for number in 0..log.partitions(topic)? {
                let at = TopicPartition::new(topic, number);
                let start = log.span(&at)?.start;
                let from = self.next.get(&at).copied().unwrap_or_default().max(start);
                let next = log.scan(&at, from, |record| {
                    match topic {
                        DEAD_LETTERS => self.take_letter(record, &ids),
                        _ => self.take_decision(record, &ids),
                    }
                    Ok::<(), LogError>(())
                })?;
                if topic == DEAD_LETTERS && start > 0 {
                    self.letters.retain(|_, l| l.partition != number || l.offset >= start);
                }
                self.next.insert(at, next);
            }
        }
        Ok(())
    }

    fn take_letter(&mut self, record: &Record<'_>, ids: &SchemaIds) {
        let Some(value) = record.value else { return };
        let Ok(letter) = wire::read_owned::<DeadLetter>(value, ids) else {
            self.unreadable += 1;
            return;
        };
        let (groups, group) = (&mut self.groups, letter.group());
        let number = self.numbers.entry(group).or_insert_with_key(|group| {
            groups.push(group.clone());
            groups.len() as u32 - 1
        });
        let known = Known {
            partition: record.partition,
            offset: record.offset,
            group: *number,
            at: letter.at,
            source: letter.source,
        };
        self.letters.insert(letter.id, known);
    }

    /// The newest counts, wherever it stands: a letter's decisions are of one key.
    fn take_decision(&mut self, record: &Record<'_>, ids: &SchemaIds) {
        let decision = record.value.map(|value| wire::read_owned::<DeadDecision>(value, ids));
        if let Some(Ok(decision)) = decision {
            self.decisions.insert(decision.letter, decision);
        }
    }

    /// How many letters there are that fit.
    pub fn count(&self, filter: &Filter) -> u64 {
        self.fitting(filter).count() as u64
    }

    /// The groups of the letters that fit, the largest first.
    pub fn groups(&self, filter: &Filter) -> Vec<Summary> {
        let mut found: HashMap<u32, Summary> = HashMap::new();
        for (id, known) in self.fitting(filter) {
            let summary = found.entry(known.group).or_insert_with(|| {
                let group = self.groups[known.group as usize].clone();
                let (hash, at) = (group.hash(), known.at);
                Summary { hash, group, count: 0, first: at, last: at, example: *id }
            });
            summary.count += 1;
            summary.first = summary.first.min(known.at);
            if known.at > summary.last {
                (summary.last, summary.example) = (known.at, *id);
            }
        }
        let mut found: Vec<Summary> = found.into_values().collect();
        found.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.group.cmp(&b.group)));
        found
    }

    /// The ids of the letters that fit, newest first.
    pub fn ids(&self, filter: &Filter) -> Vec<Id> {
        let mut found: Vec<_> =
            self.fitting(filter).map(|(id, known)| (std::cmp::Reverse(known.at), *id)).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn fitting<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = (&'a Id, &'a Known)> {
        let fits =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        let of_group = |group: &Group| {
            fits(&filter.topic, &group.topic)
                && fits(&filter.class, &group.class)
                && fits(&filter.service, &group.service)
                && filter.group.as_ref().is_none_or(|hash| *hash == group.hash())
        };
        let wanted: Vec<bool> = self.groups.iter().map(of_group).collect();
        self.letters.iter().filter(move |(id, known)| {
            wanted[known.group as usize]
                && fits(&filter.source, &known.source)
                && filter.since.is_none_or(|since| known.at >= since)
                && (filter.all || self.is_open(**id))
        })
    }

    /// Whether the letter is there and nothing has become of it.
    pub fn is_open(&self, id: Id) -> bool {
        self.letters.contains_key(&id)
            && !self.decisions.get(&id).is_some_and(DeadDecision::is_final)
    }

    /// Whether the log holds such a letter.
    pub fn has(&self, id: Id) -> bool {
        self.letters.contains_key(&id)
    }

    /// What was decided about a letter last.
    pub fn decision(&self, id: Id) -> Option<&DeadDecision> {
        self.decisions.get(&id)
    }

    /// `open`, or the word of the decision that ended it.
    pub fn state(&self, id: Id) -> &str {
        self.decisions.get(&id).filter(|d| d.is_final()).map_or("open", |d| &d.verdict)
    }

    /// One letter, whole, and where it stands; `None` if there is none of that id.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn letter(
        &self,
        log: &dyn Log,
        id: Id,
    ) -> Result<Option<(DeadLetter, Position)>, LogError> {
        let Some(known) = self.letters.get(&id) else { return Ok(None) };
        let at = TopicPartition::new(DEAD_LETTERS, known.partition);
        let batch = log.read(&at, known.offset, 1)?;
        let record = batch.records().find(|record| record.offset == known.offset);
        let read = record.and_then(|record| {
            let letter = wire::read_owned(record.value?, &SchemaIds::default()).ok()?;
            Some((letter, record.position()))
        });
        Ok(read)
    }

    /// Gives `take` the letters that `wanted` names, whole, each once, in the order of the log.
    ///
    /// # Errors
    /// If the log does not answer, or `take` says so.
    pub fn each<E: From<LogError>>(
        &self,
        log: &dyn Log,
        wanted: &dyn Fn(Id) -> bool,
        take: &mut dyn FnMut(DeadLetter) -> Result<(), E>,
    ) -> Result<(), E> {
        let ids = SchemaIds::default();
        for number in 0..log.partitions(DEAD_LETTERS)? {
            log.scan_all(&TopicPartition::new(DEAD_LETTERS, number), |record| {
                let id = record.value.and_then(wire::id_of).filter(|id| wanted(*id));
                // Of a letter that stands there twice, the newest is the one that counts.
                let newest = id.and_then(|id| self.letters.get(&id)).is_some_and(|known| {
                    (known.partition, known.offset) == (record.partition, record.offset)
                });
                let value = record.value.filter(|_| newest);
                match value.map(|value| wire::read_owned(value, &ids)) {
                    Some(Ok(letter)) => take(letter),
                    _ => Ok(()),
                }
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Transaction, WorkerSpec};
    use crate::memory::MemoryLog;
    use tocsin_domain::dead_letter::{DROPPED, STILL_DEAD};
    use tocsin_domain::topics::Topics;

    fn letter(number: u8, reason: &str) -> DeadLetter {
        DeadLetter {
            id: Id::of("dead-letter", &[&[number]]),
            topic: "aqi.readings".into(),
            position: None,
            origin: format!("a.csv:{number}"),
            key: vec![number],
            value: b"x".to_vec(),
            class: "value".into(),
            reason: reason.into(),
            service: "ingest".into(),
            at: Micros(i64::from(number)),
            source: "a".into(),
            head: Vec::new(),
            cut: false,
            search: String::new(),
        }
    }

    fn decision(letter: Id, verdict: &str) -> DeadDecision {
        let [topic, reason, by] = [(); 3].map(|()| String::new());
        let (written, present, at) = (Vec::new(), Vec::new(), Micros(99));
        DeadDecision { letter, verdict: verdict.into(), reason, topic, written, present, by, at }
    }

    fn write(log: &MemoryLog, letters: &[DeadLetter], decisions: &[DeadDecision]) {
        let mut work = Transaction::default();
        let topics = [DEAD_LETTERS, DEAD_DECISIONS].map(|topic| work.register(topic, 8));
        for letter in letters {
            let out = work.to(topics[0], &letter.key);
            out.push_with(&letter.key, |bytes| wire::write(letter, bytes));
        }
        for decision in decisions {
            let key = decision.key();
            let out = work.to(topics[1], key.as_bytes());
            out.push_with(key.as_bytes(), |bytes| wire::write(decision, bytes));
        }
        let spec = WorkerSpec { id: "w".into(), ..WorkerSpec::default() };
        log.worker(&spec).unwrap().commit(&mut work).unwrap();
    }

    #[test]
    fn they_are_grouped_counted_and_open_until_somebody_decides() {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let all = [letter(1, "\"a\" is bad"), letter(2, "\"b\" is bad"), letter(3, "too long")];
        write(&log, &all, &[]);
        let mut letters = Letters::read(&*log).unwrap();
        let open = Filter::default();
        let groups = letters.groups(&open);
        let shown: Vec<_> = groups.iter().map(|g| (g.group.shape.as_str(), g.count)).collect();
        assert_eq!(shown, [("\"…\" is bad", 2), ("too long", 1)]);
        assert_eq!((groups[0].first, groups[0].last), (Micros(1), Micros(2)));
        assert_eq!(groups[0].example, all[1].id);

        // The same letter once more, one that fails again, one that is dropped.
        let decided = [decision(all[0].id, STILL_DEAD), decision(all[2].id, DROPPED)];
        write(&log, &[all[1].clone()], &decided);
        letters.catch_up(&*log).unwrap();
        assert_eq!((letters.count(&open), letters.state(all[0].id)), (2, "open"));
        assert_eq!(letters.state(all[2].id), "dropped");
        let every = Filter { all: true, ..Filter::default() };
        assert_eq!(letters.ids(&every), [all[2].id, all[1].id, all[0].id]);
        let mut seen = Vec::new();
        letters
            .each::<LogError>(&*log, &|id| id != all[0].id, &mut |letter| {
                seen.push(letter.id);
                Ok(())
            })
            .unwrap();
        seen.sort_unstable();
        let mut wanted = vec![all[1].id, all[2].id];
        wanted.sort_unstable();
        assert_eq!(seen, wanted, "each once");
        assert_eq!(letters.letter(&*log, all[1].id).unwrap().unwrap().0, all[1]);
    }

    #[test]
    fn every_part_of_a_filter_must_fit() {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        write(&log, &[letter(1, "bad"), letter(2, "worse")], &[]);
        let letters = Letters::read(&*log).unwrap();
        let hash = letter(1, "bad").group().hash();
        let some = |text: &str| Some(text.to_owned());
        for (filter, wanted) in [
            (Filter { topic: some("aqi.readings"), ..Filter::default() }, 2),
            (Filter { topic: some("alerts"), ..Filter::default() }, 0),
            (Filter { class: some("csv"), ..Filter::default() }, 0),
            (Filter { service: some("detect"), ..Filter::default() }, 0),
            (Filter { source: some("a"), ..Filter::default() }, 2),
            (Filter { source: some("b"), ..Filter::default() }, 0),
            (Filter { since: Some(Micros(2)), ..Filter::default() }, 1),
            (Filter { group: Some(hash), ..Filter::default() }, 1),
        ] {
            assert_eq!(letters.count(&filter), wanted, "{filter:?}");
        }
    }
}
