//! What a search has brought: for each thing a hash of what was said of it last, so that an answer
//! that says the same again adds nothing. Kept in the topic of cursors, with the events.

use crate::source::Event;
use std::collections::HashMap;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::{Id, Micros};

/// The most things that are remembered of one search. Of more, those seen longest ago are
/// forgotten: if they come again, they are written again, with the same ids where their source
/// gives ids or times of its own.
pub const SEEN_CAP: usize = 50_000;

/// Bytes of one of them: eight of what it is, four of what was said.
const ENTRY: usize = 12;

/// What is remembered of one search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    things: HashMap<u64, Thing>,
    turn: u64,
    changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thing {
    content: u32,
    /// Counts up with every look, so that the oldest can be told.
    turn: u64,
}

impl Seen {
    /// The key of its record.
    pub fn key(tenant: &str, source: &str, search: &str) -> String {
        format!("{tenant}/{source}/seen/{search}")
    }

    /// From its record; what is cut off is forgotten.
    pub fn decode(bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        for entry in bytes.chunks_exact(ENTRY) {
            let (mut thing, mut content) = ([0; 8], [0; 4]);
            thing.copy_from_slice(&entry[..8]);
            content.copy_from_slice(&entry[8..]);
            seen.note(u64::from_be_bytes(thing), u32::from_be_bytes(content));
        }
        seen.changed = false;
        seen
    }

    /// Its record, if it says something new; forgets what is too much.
    pub fn encode(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut all: Vec<(u64, Thing)> =
            self.things.iter().map(|(key, one)| (*key, *one)).collect();
        all.sort_unstable_by_key(|(_, one)| one.turn);
        for (key, _) in all.drain(..all.len().saturating_sub(SEEN_CAP)) {
            self.things.remove(&key);
        }
        let entry = |(key, one): &(u64, Thing)| {
            key.to_be_bytes().into_iter().chain(one.content.to_be_bytes())
        };
        Some(all.iter().flat_map(entry).collect())
    }

    /// Whether `event` says something that was not known of its thing.
    pub fn event(&mut self, event: &Event<'_>, buffer: &mut Vec<u8>) -> bool {
        let is_own = event.event_time() != event.arrival_time();
        event.key(buffer);
        let time = if is_own { event.event_time() } else { Micros::MIN };
        let own = match event {
            // Where many rows have one key, the row is what its own id says.
            Event::OrderRow(row) => row.id,
            Event::DatasetRow(row) => row.id,
            Event::Swipe(row) => row.id,
            Event::Reading(_) | Event::Listing(_) => Id::default(),
        };
        let thing = Id::of("seen", &[buffer, &time.0.to_be_bytes(), own.as_bytes()]);
        buffer.clear();
        event.bare(is_own).write(buffer);
        self.note(head(thing), head(Id::of("said", &[buffer])) as u32)
    }

    /// Whether this dead letter was not there before.
    pub fn dead_letter(&mut self, letter: &DeadLetter) -> bool {
        let parts: [&[u8]; 3] = [letter.class.as_bytes(), letter.reason.as_bytes(), &letter.value];
        self.note(head(Id::of("dead", &parts)), 0)
    }

    fn note(&mut self, thing: u64, content: u32) -> bool {
        self.turn += 1;
        let now = Thing { content, turn: self.turn };
        let new = self.things.insert(thing, now).is_none_or(|old| old.content != content);
        self.changed |= new;
        new
    }
}

fn head(id: Id) -> u64 {
    id.as_bytes()[..8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::event::Reading;

    fn reading(value: f64, event: i64, arrival: i64) -> Event<'static> {
        Event::Reading(Reading {
            id: Id::of("x", &[&arrival.to_be_bytes()]),
            tenant: "t",
            subject: "s",
            measure: "m",
            value,
            unit: "u",
            averaging: "",
            place: "",
            event_time: Micros(event),
            arrival_time: Micros(arrival),
            source: "a",
            origin: "b",
        })
    }

    #[test]
    fn only_what_is_new_is_new() {
        let (mut seen, mut buffer) = (Seen::default(), Vec::new());
        for (value, event, arrival, wanted, why) in [
            (1.0, 5, 9, true, "never seen"),
            (1.0, 5, 10, false, "the same, later"),
            (2.0, 5, 11, true, "the same moment, another value"),
            (1.0, 5, 12, true, "and back"),
            (1.0, 6, 13, true, "another moment"),
            (1.0, 20, 20, true, "a moment that is only the arrival's"),
            (1.0, 21, 21, false, "and the next"),
            (3.0, 22, 22, true, "with another value"),
        ] {
            assert_eq!(seen.event(&reading(value, event, arrival), &mut buffer), wanted, "{why}");
        }
        let record = seen.encode().unwrap();
        assert_eq!((record.len(), seen.encode()), (3 * ENTRY, None));
        let mut seen = Seen::decode(&record);
        assert!(!seen.event(&reading(3.0, 23, 23), &mut buffer));
        assert_eq!(seen.encode(), None, "nothing new");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut seen = Seen::default();
        let all = SEEN_CAP as u64 + 3;
        assert!((0..all).all(|thing| seen.note(thing, 0)));
        assert!(!seen.note(0, 0), "seen again just now");
        let mut seen = Seen::decode(&seen.encode().unwrap());
        assert_eq!(seen.things.len(), SEEN_CAP);
        assert!(!seen.note(0, 0) && !seen.note(all - 1, 0));
        assert!(seen.note(1, 0), "forgotten");
    }
}
