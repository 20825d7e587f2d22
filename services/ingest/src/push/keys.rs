//! Idempotency keys: what was answered to each, for a day. The answers are facts of the same
//! transaction as the events, so that whoever asks again is told the same, also after a restart and
//! by another process. A key is remembered by its hash.

use super::lot::Answer;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tocsin_domain::topics::INGEST_PUSHES_CHANGELOG;
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::{Log, LogError};

/// Where the answers are.
pub(super) const TOPIC: &str = INGEST_PUSHES_CHANGELOG;
/// How long it may take until it is decided what others have begun to answer: somebody waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a key is remembered.
const KEPT: Duration = Duration::from_hours(24);
/// What begins the key of a record that says which transaction came last.
const MARK: &[u8] = b"#";

/// The answers that are remembered.
pub(super) struct Keys {
    log: Arc<dyn Log>,
    known: Mutex<Known>,
    under_way: Arc<Mutex<HashSet<Id>>>,
}

struct Known {
    /// Where the topic is read on from.
    next: u64,
    answers: HashMap<Id, Given>,
    /// The keys in the order that they came in.
    order: VecDeque<(Micros, Id)>,
    /// How much the answers weigh, and may: each is 1, and 1 more for each event that it names.
    weight: usize,
    most: usize,
    /// The last transaction of each slot.
    marks: HashMap<Vec<u8>, Id>,
}

/// What was answered, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The hash of the body.
    pub(super) body: Id,
    pub(super) answer: Answer,
}

impl Given {
    fn weight(&self) -> usize {
        1 + self.answer.errors.len()
    }
}

/// A request's own key.
pub(super) struct Key {
    pub(super) id: Id,
    /// `producer/key`, as the record's key.
    pub(super) name: String,
    /// The hash of the body.
    pub(super) body: Id,
    /// Nobody else has it, as long as this is held.
    pub(super) _hold: Hold,
}

/// That a key is under way; let go when it is dropped.
pub(super) struct Hold(Arc<Mutex<HashSet<Id>>>, Id);

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

/// An answer as its record holds it.
#[derive(Serialize, Deserialize)]
struct Record {
    body: Id,
    answer: Answer,
}

impl Keys {
    /// What the log knows, at most that many keys.
    pub(super) fn read(log: Arc<dyn Log>, most: usize) -> Result<Keys, LogError> {
        let known = Known {
            next: 0,
            answers: HashMap::new(),
            order: VecDeque::new(),
            weight: 0,
            most,
            marks: HashMap::new(),
        };
        let keys = Keys { log, known: Mutex::new(known), under_way: Arc::default() };
        drop(keys.catch_up()?);
        Ok(keys)
    }

    /// The id of a producer's key.
    pub(super) fn id(name: &str) -> Id {
        Id::of("push-key", &[name.as_bytes()])
    }

    /// Holds a key; `None` if a request with it is under way.
    pub(super) fn hold(&self, id: Id) -> Option<Hold> {
        lock(&self.under_way).insert(id).then(|| Hold(Arc::clone(&self.under_way), id))
    }

    /// What was answered to the key, by anybody, if it is still known at `now`: also what another
    /// process has committed a moment ago, or is just committing.
    pub(super) fn find(&self, id: Id, now: Micros) -> Result<Option<Given>, LogError> {
        self.log.settle(&[TopicPartition::new(TOPIC, 0)], PATIENCE)?;
        let mut known = self.catch_up()?;
        known.forget(now);
        Ok(known.answers.get(&id).cloned())
    }

    /// The same without a look at the log.
    pub(super) fn peek(&self, id: Id) -> Option<Given> {
        lock(&self.known).answers.get(&id).cloned()
    }

    /// The last transaction of a slot, as the log has it now.
    pub(super) fn last(&self, slot: &[u8]) -> Result<Option<Id>, LogError> {
        self.log.settle(&[TopicPartition::new(TOPIC, 0)], PATIENCE)?;
        Ok(self.catch_up()?.marks.get(slot).copied())
    }

    /// Notes what is in the log now.
    pub(super) fn note(&self, id: Id, given: Given, at: Micros) {
        lock(&self.known).insert(id, given, at);
    }

    fn catch_up(&self) -> Result<MutexGuard<'_, Known>, LogError> {
        let at = TopicPartition::new(TOPIC, 0);
        let mut known = lock(&self.known);
        let from = known.next.max(self.log.span(&at)?.start);
        known.next = self.log.scan(&at, from, |record| {
            known.take(record.key, record.value.unwrap_or_default(), record.time);
            Ok::<(), LogError>(())
        })?;
        Ok(known)
    }
}

impl Known {
    fn take(&mut self, key: &[u8], value: &[u8], at: Micros) {
        if key.starts_with(MARK) {
            if let Ok(id) = <[u8; 16]>::try_from(value) {
                self.marks.insert(key.to_vec(), Id::from_bytes(id));
            }
            return;
        }
        let name = std::str::from_utf8(key);
        if let (Ok(name), Ok(Record { body, answer })) = (name, serde_json::from_slice(value)) {
            self.insert(Keys::id(name), Given { body, answer }, at);
        }
    }

    fn insert(&mut self, id: Id, given: Given, at: Micros) {
        if self.answers.contains_key(&id) {
            return;
        }
        self.weight += given.weight();
        self.answers.insert(id, given);
        self.order.push_back((at, id));
        while self.weight > self.most && self.order.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|(_, id)| self.answers.remove(&id));
        self.weight -= oldest.map_or(0, |given| given.weight());
    }

    fn forget(&mut self, now: Micros) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= KEPT) {
            self.drop_oldest();
        }
    }
}

/// The record of an answer: its value.
pub(super) fn value(body: Id, answer: &Answer) -> Vec<u8> {
    let record = Record { body, answer: answer.clone() };
    // Numbers and texts only: it cannot fail.
    serde_json::to_vec(&record).unwrap_or_default()
}

/// The key of the record that says which transaction of a slot came last.
pub(super) fn mark(slot: u32) -> Vec<u8> {
    [MARK, slot.to_string().as_bytes()].concat()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::topics::Topics;
    use tocsin_stream::memory::MemoryLog;
    use tocsin_stream::{Transaction, WorkerSpec};
    use tocsin_testkit::veil::Veiled;

    fn known(most: usize) -> Known {
        let (answers, order, marks) = (HashMap::new(), VecDeque::new(), HashMap::new());
        Known { next: 0, answers, order, weight: 0, most, marks }
    }

    #[test]
    fn keys_are_forgotten_after_a_day_and_the_oldest_when_there_are_too_many() {
        let mut known = known(3);
        let given =
            |n| Given { body: Keys::id("b"), answer: Answer { received: n, ..Answer::default() } };
        let hour = |n: u64| Micros(0).plus(Duration::from_hours(n));
        for n in 0..5 {
            known.insert(Keys::id(&n.to_string()), given(n), hour(n as u64));
        }
        let there = |known: &Known| -> Vec<usize> {
            let ids = (0..5).filter(|n| known.answers.contains_key(&Keys::id(&n.to_string())));
            ids.collect()
        };
        assert_eq!(there(&known), [2, 3, 4]);
        known.forget(hour(26));
        assert_eq!(there(&known), [3, 4]);
        known.forget(hour(1000));
        assert!(there(&known).is_empty() && known.order.is_empty() && known.weight == 0);
    }

    #[test]
    fn an_answer_that_another_process_has_just_committed_is_waited_for() {
        let inner = MemoryLog::new();
        inner.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let log = Veiled::new(inner.clone());
        let keys = Keys::read(log.clone(), 10).unwrap();
        log.hide(&[TOPIC]).unwrap();
        let given = Given { body: Keys::id("body"), answer: Answer::default() };
        let mut work = Transaction::default();
        let topic = work.register(TOPIC, 1);
        work.to_partition(topic, 0).push(b"shop/k", Some(&value(given.body, &given.answer)));
        inner.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
        let found = log.waited_for(|| keys.find(Keys::id("shop/k"), Micros(1)));
        assert_eq!(found.unwrap(), Some(given));
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_understood_is_passed_over() {
        let mut known = known(10);
        let answer = Answer { received: 2, written: 1, ..Answer::default() };
        known.take(b"shop/k", &value(Keys::id("body"), &answer), Micros(5));
        known.take(b"shop/x", b"{}", Micros(5));
        known.take(b"#3", Keys::id("t").as_bytes(), Micros(5));
        let given = Given { body: Keys::id("body"), answer };
        assert_eq!(known.answers.get(&Keys::id("shop/k")), Some(&given));
        assert_eq!((known.answers.len(), known.marks.get(&mark(3))), (1, Some(&Keys::id("t"))));
    }
}
