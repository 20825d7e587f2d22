//! What a search has brought: for each thing a hash of what was said of it last, so that an answer
//! that says the same again adds nothing. Kept in the topic of cursors, with the events.

mod shelf;

pub(crate) use shelf::Sheet;

use crate::source::Event;
use shelf::Shelf;
use std::collections::HashMap;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::{Id, Micros};

/// The most things that are remembered of one search; AQICN's current file has about a million. So
/// many take 68 MiB of memory, and at most 83 MiB of the log. Of more, those go that neither this answer
/// nor the last whole one has; where there are none, what is new is not remembered, so that what was
/// known is known in the next answer as well, although it is read in the same order.
pub const SEEN_CAP: usize = 3_600_000;
/// Things of which one answer said several things; of more, the others are written again.
const SEVERAL_CAP: usize = 100_000;
/// The most that one answer says of one thing; what is more is written again.
const SAID_CAP: usize = 8;

/// What is remembered of one search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    things: HashMap<u64, Thing>,
    /// Everything that the last answer said of a thing, where that is more than one: it says all
    /// of it again when it comes again, in any order, and none of that is new.
    several: HashMap<u64, Vec<u32>>,
    /// The same of this answer, as far as it was read.
    here: HashMap<u64, Vec<u32>>,
    /// The number of this answer, and of the last that was read to its end.
    answer: u32,
    whole: u32,
    cap: usize,
    /// Whether nothing can be forgotten for what is new.
    is_full: bool,
    left_out: u64,
    shelf: Shelf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thing {
    /// What was said of it first, in the latest answer that says anything.
    content: u32,
    /// The number of that answer.
    answer: u32,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            things: HashMap::new(),
            several: HashMap::new(),
            here: HashMap::new(),
            answer: 0,
            whole: 0,
            cap: SEEN_CAP,
            is_full: false,
            left_out: 0,
            shelf: Shelf::default(),
        }
    }
}

impl Seen {
    /// The key of one of its records.
    pub fn key(tenant: &str, source: &str, search: &str, sheet: u32) -> String {
        match sheet {
            0 => format!("{tenant}/{source}/seen/{search}"),
            sheet => format!("{tenant}/{source}/seen-{sheet}/{search}"),
        }
    }

    /// The search that a record is about whose key has `rest` behind tenant and source; `None` if
    /// it is none of these records.
    pub fn search_of(rest: &str) -> Option<&str> {
        let (what, search) = rest.split_once('/')?;
        let is_sheet = |sheet: &str| sheet.parse::<u32>().is_ok();
        (what == "seen" || what.strip_prefix("seen-").is_some_and(is_sheet)).then_some(search)
    }

    /// From its records, in their order.
    pub fn decode<'a>(sheets: impl IntoIterator<Item = &'a [u8]>) -> Seen {
        let mut seen = Seen::default();
        seen.shelf = Shelf::read(sheets, &mut |thing, said| seen.recall(thing, said));
        seen
    }

    fn recall(&mut self, thing: u64, said: &[u32]) {
        self.several.remove(&thing);
        let [content, more @ ..] = said else { return };
        if self.things.len() < self.cap || self.things.contains_key(&thing) {
            self.things.insert(thing, Thing { content: *content, answer: 0 });
            if !more.is_empty() && self.several.len() < SEVERAL_CAP {
                self.several.insert(thing, said.to_vec());
            }
        }
    }

    /// The records that say something new.
    pub fn changes(&mut self) -> Vec<Sheet> {
        let more: usize = self.several.values().map(|said| said.len() - 1).sum();
        let all = self.things.iter().map(|(thing, one)| {
            let said = self.several.get(thing).map(Vec::as_slice);
            (*thing, said.unwrap_or(std::slice::from_ref(&one.content)))
        });
        self.shelf.changes(self.things.len() + more, all)
    }

    /// How many records there are.
    pub fn sheets(&self) -> u32 {
        self.shelf.sheets()
    }

    /// An answer begins.
    pub fn begin(&mut self) {
        self.answer += 1;
        self.here.clear();
        (self.is_full, self.left_out) = (false, 0);
    }

    /// It has ended; `is_whole` if it was read to its end. Gives of how many things nothing can be
    /// remembered.
    pub fn end(&mut self, is_whole: bool) -> u64 {
        if is_whole {
            self.compare();
            self.whole = self.answer;
        }
        self.here.clear();
        self.left_out
    }

    /// What a whole answer said of a thing is all that counts: what only an older one said is new
    /// when it comes back.
    fn compare(&mut self) {
        let (things, here, shelf) = (&self.things, &self.here, &mut self.shelf);
        self.several.retain(|thing, said| match (here.get(thing), things.get(thing)) {
            (Some(now), _) => {
                if now.len() != said.len() || now.iter().any(|one| !said.contains(one)) {
                    said.clone_from(now);
                    shelf.push(*thing, said);
                }
                true
            }
            (None, Some(one)) if one.answer == self.answer => {
                shelf.push(*thing, &[one.content]);
                false
            }
            (None, known) => known.is_some(),
        });
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
        let Some(known) = self.things.get_mut(&thing) else {
            return self.remember(thing, content);
        };
        let said = self.several.get(&thing);
        let was_said = said.is_some_and(|said| said.contains(&content));
        if known.answer == self.answer {
            return known.content != content && self.also(thing, content, was_said);
        }
        let is_known = known.content == content || was_said;
        *known = Thing { content, answer: self.answer };
        if !is_known {
            self.several.remove(&thing);
            self.shelf.push(thing, &[content]);
        }
        !is_known
    }

    /// An answer that said something else of the thing says this too.
    fn also(&mut self, thing: u64, content: u32, was_said: bool) -> bool {
        if self.several.len() >= SEVERAL_CAP && !self.several.contains_key(&thing) {
            return true;
        }
        let first = self.things.get(&thing).map(|one| one.content);
        let here = self.here.entry(thing).or_insert_with(|| first.into_iter().collect());
        if here.contains(&content) {
            return false;
        }
        if here.len() >= SAID_CAP {
            return true;
        }
        here.push(content);
        if !was_said {
            self.several.insert(thing, here.clone());
            self.shelf.push(thing, here);
        }
        !was_said
    }

    fn remember(&mut self, thing: u64, content: u32) -> bool {
        if self.things.len() >= self.cap && !self.make_room() {
            self.left_out += 1;
            return true;
        }
        self.things.insert(thing, Thing { content, answer: self.answer });
        self.shelf.push(thing, &[content]);
        true
    }

    /// Forgets what neither this answer has nor the last whole one; whether there was any.
    fn make_room(&mut self) -> bool {
        if !self.is_full {
            let whole = self.whole;
            self.things.retain(|_, one| one.answer >= whole);
            self.is_full = self.things.len() >= self.cap;
        }
        if !self.is_full {
            self.several.retain(|thing, _| self.things.contains_key(thing));
            self.shelf.forget();
        }
        !self.is_full
    }
}

fn head(id: Id) -> u64 {
    id.as_bytes()[..8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
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

    /// An answer that is read to its end; which of these words about things are new.
    fn answer(seen: &mut Seen, words: &[(u64, u32)]) -> Vec<(u64, u32)> {
        seen.begin();
        let found = words.iter().filter(|(thing, content)| seen.note(*thing, *content));
        let found = found.copied().collect();
        seen.end(true);
        found
    }

    /// The same after a restart.
    fn again(seen: &mut Seen, log: &mut BTreeMap<u32, Vec<u8>>) -> Seen {
        for (number, sheet) in seen.changes() {
            match sheet {
                Some(sheet) => drop(log.insert(number, sheet)),
                None => drop(log.remove(&number)),
            }
        }
        let cap = seen.cap;
        Seen { cap, ..Seen::decode(log.values().map(Vec::as_slice)) }
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
            seen.begin();
            assert_eq!(seen.event(&reading(value, event, arrival), &mut buffer), wanted, "{why}");
            seen.end(true);
        }
        let mut log = BTreeMap::new();
        let mut seen = again(&mut seen, &mut log);
        seen.begin();
        assert!(!seen.event(&reading(3.0, 23, 23), &mut buffer));
        assert!(seen.changes().is_empty(), "nothing new");
    }

    #[test]
    fn several_words_about_one_thing_are_new_once_in_any_order() {
        let (mut seen, mut log) = (Seen::default(), BTreeMap::new());
        let (both, turned) = ([(1, 5), (1, 6), (1, 5)], [(1, 6), (1, 5)]);
        assert_eq!(answer(&mut seen, &both), both[..2]);
        for words in [&both[..], &turned, &both] {
            seen = again(&mut seen, &mut log);
            assert!(answer(&mut seen, words).is_empty());
            assert!(seen.changes().is_empty(), "and nothing is written");
        }
        assert_eq!(answer(&mut seen, &[(1, 5), (1, 7)]), [(1, 7)]);
        seen = again(&mut seen, &mut log);
        assert!(answer(&mut seen, &[(1, 7)]).is_empty(), "one of them is left");
        seen = again(&mut seen, &mut log);
        assert_eq!(answer(&mut seen, &[(1, 5)]), [(1, 5)], "what was gone has come back");
        assert!(seen.several.is_empty() && seen.here.is_empty());
    }

    #[test]
    fn one_thing_of_which_everything_is_said_takes_no_room() {
        let mut seen = Seen::default();
        let words: Vec<(u64, u32)> = (0..100_000).map(|content| (1, content)).collect();
        assert_eq!(answer(&mut seen, &words).len(), words.len());
        assert_eq!((seen.things.len(), seen.several[&1].len()), (1, SAID_CAP));
    }

    #[test]
    fn an_answer_with_more_than_is_remembered_adds_only_what_does_not_fit() {
        let (mut seen, mut log) = (Seen { cap: 1_000, ..Seen::default() }, BTreeMap::new());
        let words: Vec<(u64, u32)> = (0..1_100).map(|thing| (thing, 0)).collect();
        assert_eq!(answer(&mut seen, &words).len(), 1_100);
        for _ in 0..3 {
            assert_eq!(answer(&mut seen, &words), words[1_000..], "read in the same order");
            assert_eq!((seen.things.len(), seen.left_out), (1_000, 100));
            seen = again(&mut seen, &mut log);
        }
        // An answer that broke off says nothing of what stands further on.
        seen.begin();
        assert!(!seen.note(0, 0));
        seen.end(false);
        assert_eq!(answer(&mut seen, &words), words[1_000..]);
        // What two whole answers do not have any more makes room.
        for _ in 0..2 {
            answer(&mut seen, &words[500..1_000]);
        }
        assert_eq!(answer(&mut seen, &words[500..]), words[1_000..]);
        assert!(answer(&mut seen, &words[500..]).is_empty());
        let mut seen = again(&mut seen, &mut log);
        assert_eq!((seen.things.len(), log.len()), (600, 1), "what went is gone from the log");
        assert_eq!(answer(&mut seen, &words[..1]), words[..1]);
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read_and_searches_are_told_by_their_keys() {
        let old: Vec<u8> =
            (0..60_000_u64).flat_map(|n| [&n.to_be_bytes()[..], &[0; 4]].concat()).collect();
        let mut seen = Seen::decode([old.as_slice()]);
        let words: Vec<(u64, u32)> = (0..60_001).map(|thing| (thing, 0)).collect();
        assert_eq!(answer(&mut seen, &words), [(60_000, 0)]);
        let sizes = seen.changes().into_iter().map(|(at, sheet)| (at, sheet.unwrap().len()));
        assert_eq!(sizes.collect::<Vec<_>>(), [(0, old.len()), (1, 12)]);
        for sheet in [0, 1, 400] {
            let key = Seen::key("t", "s", "a/b", sheet);
            assert_eq!(Seen::search_of(key.strip_prefix("t/s/").unwrap()), Some("a/b"));
        }
        for other in ["search/a", "seen-x/a", "quota", "/in/seen/a"] {
            assert_eq!(Seen::search_of(other), None, "{other}");
        }
    }
}
