//! Effects: what a step wants to happen, as data. The processor makes it happen, in one
//! transaction.

use crate::log::Transaction;
use crate::record::Record;
use tocsin_domain::dead_letter::{DeadLetter, LateEvent};
use tocsin_domain::{Id, Micros, topics, wire};

/// What a step asked for since the last commit. `W` is what a projection writes; `()` elsewhere.
#[derive(Debug)]
pub struct Effects<W = ()> {
    pub(crate) transaction: Transaction,
    pub(crate) outputs: Vec<usize>,
    dead_letters: usize,
    late_events: usize,
    service: String,
    /// Rows for the projection store; written, idempotently, before the commit.
    pub writes: Vec<W>,
    pub(crate) tally: Tally,
    /// The record that is being processed.
    current: Option<(u32, u64)>,
    /// Whether a dead letter was made of it.
    own_letter: bool,
}

/// What was counted since the last commit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Records that were taken in: each is processed, filtered, dead, late or a duplicate.
    pub consumed: u64,
    /// Records that were dead as soon as they were taken in.
    pub dead: u64,
    /// Records of which nothing was to come.
    pub filtered: u64,
    /// Dead letters, those of events among them that had waited for their turn.
    pub dead_letters: u64,
    /// Events that came after their subject's watermark.
    pub late_events: u64,
    /// Events that had been seen before.
    pub duplicates: u64,
    /// The largest event time seen; `Micros::MIN` if none.
    pub event_time: Micros,
}

impl<W> Effects<W> {
    /// Effects of a service that publishes to `outputs` (topic, partitions), in this order.
    pub fn new(
        service: &str,
        outputs: &[(&str, u32)],
        dead_letters: u32,
        late_events: u32,
    ) -> Effects<W> {
        let mut transaction = Transaction::default();
        Effects {
            outputs: outputs.iter().map(|(name, n)| transaction.register(name, *n)).collect(),
            dead_letters: transaction.register(topics::DEAD_LETTERS, dead_letters),
            late_events: transaction.register(topics::LATE_EVENTS, late_events),
            transaction,
            service: service.to_owned(),
            writes: Vec::new(),
            tally: Tally { event_time: Micros::MIN, ..Tally::default() },
            current: None,
            own_letter: false,
        }
    }

    /// A record is about to be processed.
    pub(crate) fn begin(&mut self, record: &Record<'_>) {
        (self.current, self.own_letter) = (Some((record.partition, record.offset)), false);
    }

    /// It was: counts what has become of it, exactly one thing. Whether it is dead.
    pub(crate) fn end(&mut self) -> bool {
        self.tally.consumed += 1;
        self.tally.dead += u64::from(self.own_letter);
        self.current = None;
        self.own_letter
    }

    /// Publishes a fact to the topology's `output`-th output, counted from 0.
    pub fn publish<'a, F: wire::Fact<'a>>(&mut self, output: usize, key: &[u8], fact: &F) {
        let topic = self.outputs[output];
        self.transaction.to(topic, key).push_with(key, |out| wire::write(fact, out));
    }

    /// Puts a record that is no fact of the domain into the topology's `output`-th output.
    pub fn put(&mut self, output: usize, key: &[u8], value: &[u8]) {
        let topic = self.outputs[output];
        self.transaction.to(topic, key).push(key, Some(value));
    }

    /// Sets an input aside that can never be processed, with its original bytes. It says when the
    /// log took the input, so that a replay says the same.
    pub fn dead_letter(&mut self, record: &Record<'_>, class: &str, reason: &str) {
        self.dead_part(record, (&record.position().to_string(), false), class, reason);
    }

    /// The same of a part of an input: `record` has the part's bytes, `origin` says which part it is,
    /// and whether its bytes are `cut`.
    pub fn dead_part(
        &mut self,
        record: &Record<'_>,
        (origin, cut): (&str, bool),
        class: &str,
        reason: &str,
    ) {
        let position = record.position();
        let of_all = position.to_string() == origin;
        let letter = DeadLetter {
            id: Id::of("dead-letter", &[self.service.as_bytes(), origin.as_bytes()]),
            topic: position.topic.clone(),
            position: Some(position),
            origin: if of_all { String::new() } else { origin.to_owned() },
            key: record.key.to_vec(),
            value: record.value.unwrap_or_default().to_vec(),
            class: class.to_owned(),
            reason: reason.to_owned(),
            service: self.service.clone(),
            at: record.time,
            source: String::new(),
            head: Vec::new(),
            cut,
            search: String::new(),
        };
        self.tally.dead_letters += 1;
        // An event that waited may come to this long after it was taken in.
        self.own_letter |= self.current == Some((record.partition, record.offset));
        let out = self.transaction.to(self.dead_letters, record.key);
        out.push_with(record.key, |bytes| wire::write(&letter, bytes));
    }

    /// Sets an event aside that came after its subject's watermark.
    pub fn late(&mut self, record: &Record<'_>, event_time: Micros, watermark: Micros) {
        let position = record.position();
        let late = LateEvent {
            id: Id::of("late-event", &[self.service.as_bytes(), position.to_string().as_bytes()]),
            position,
            value: record.value.unwrap_or_default().to_vec(),
            event_time,
            watermark,
            at: record.time,
        };
        self.tally.late_events += 1;
        let out = self.transaction.to(self.late_events, record.key);
        out.push_with(record.key, |bytes| wire::write(&late, bytes));
    }

    /// Counts a record of which nothing is to come: it says nothing, or is not wanted.
    pub fn filtered(&mut self) {
        self.tally.filtered += 1;
    }

    /// Counts an event that had been seen before and changed nothing.
    pub fn duplicate(&mut self) {
        self.tally.duplicates += 1;
    }

    /// Notes the event time of an input, for the watermark that is shown.
    pub fn saw(&mut self, event_time: Micros) {
        self.tally.event_time = self.tally.event_time.max(event_time);
    }

    /// What was counted since the last commit.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What would be committed, for looking at.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Forgets everything and keeps the memory; after a commit, and between the turns of a
    /// simulation that runs without a log.
    pub fn clear(&mut self) {
        self.transaction.clear();
        self.writes.clear();
        self.tally = Tally { event_time: Micros::MIN, ..Tally::default() };
    }
}
