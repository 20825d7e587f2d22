//! What one request becomes: records that are ready for the log, and the answer that is given once
//! they are in it. It is made by many threads and written by one.

use super::problem::Wrong;
use super::settings::Pushed;
use crate::source::Event;
use serde::{Deserialize, Serialize};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::wire;

/// The number of the dead letters' topic, behind those of [`Pushed::ALL`].
pub(super) const DEAD: usize = Pushed::ALL.len();

/// Records in one buffer.
#[derive(Debug, Default)]
pub(super) struct Lot {
    bytes: Vec<u8>,
    places: Vec<Place>,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    topic: u8,
    key_end: usize,
    end: usize,
}

/// A record that is ready.
pub(super) struct Ready<'a> {
    /// The number of its topic.
    pub(super) topic: usize,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl Lot {
    /// Records in it.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn event(&mut self, kind: Pushed, event: &Event<'_>) {
        event.key(&mut self.key);
        self.put(kind as usize, |out| event.write(out));
    }

    pub(super) fn dead_letter(&mut self, letter: &DeadLetter) {
        self.key.clear();
        self.key.extend_from_slice(&letter.key);
        self.put(DEAD, |out| wire::write(letter, out));
    }

    fn put(&mut self, topic: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(&self.key);
        let key_end = self.bytes.len();
        write(&mut self.bytes);
        self.places.push(Place { topic: topic as u8, key_end, end: self.bytes.len() });
    }

    /// Forgets all but the first `records`.
    pub(super) fn cut(&mut self, records: usize) {
        self.places.truncate(records);
        self.bytes.truncate(self.places.last().map_or(0, |place| place.end));
    }

    /// The first so many of its dead letters alone.
    pub(super) fn letters(&self, most: usize) -> Lot {
        let mut letters = Lot::default();
        for record in self.records().filter(|record| record.topic == DEAD).take(most) {
            letters.key.clear();
            letters.key.extend_from_slice(record.key);
            letters.put(DEAD, |out| out.extend_from_slice(record.value));
        }
        letters
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Ready<'_>> {
        let mut begin = 0;
        self.places.iter().map(move |place| {
            let (key, value) =
                (&self.bytes[begin..place.key_end], &self.bytes[place.key_end..place.end]);
            begin = place.end;
            Ready { topic: usize::from(place.topic), key, value }
        })
    }
}

/// What is answered with 202.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Events in the request.
    pub received: usize,
    /// Facts that are in the log now: an event may have several, or none.
    pub written: usize,
    /// Values that are missing, and events that the mapping's `only` leaves out.
    pub left_out: usize,
    /// Events that are dead letters now; only if the request asked to be lenient.
    pub dead_letters: usize,
    /// What is wrong with the first of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Wrong>,
}
