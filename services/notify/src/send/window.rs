//! What is known about the attempts of one partition: polled, started, finished. Pure; the desk
//! acts on it.
//!
//! **Why a crash is survived.** Attempts are started in the order of their offsets, and one holds a
//! slot from its start until its outcome is committed; there are N slots. So whatever was started
//! and has no committed outcome is among the first N attempts without one. N is written down, in
//! the partition's record, before the first start, and 0 after a clean stop. Whoever takes over
//! calls the first N attempts suspects: each may have left. Nothing else can have.
//!
//! Suspects hold slots too until their outcome (unknown) is committed, and the record keeps the
//! largest N since the last clean stop, so that a crash while suspects are settled loses none.

use std::collections::{BTreeSet, VecDeque};
use tocsin_domain::delivery::Delivery;
use tocsin_stream::chunk::{read_number, write_number};

/// What the changelog holds for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// How many attempts may be under way; 0 after a clean stop.
    pub in_flight: u64,
    /// Offsets of finished attempts at or after the partition's progress.
    pub ahead: BTreeSet<u64>,
}

/// `in_flight · offsets`, all LEB128.
impl Record {
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_number(out, self.in_flight);
        self.ahead.iter().for_each(|offset| write_number(out, *offset));
    }

    /// `None` if the bytes are no record.
    pub fn decode(mut bytes: &[u8]) -> Option<Record> {
        let mut record = Record { in_flight: read_number(&mut bytes)?, ahead: BTreeSet::new() };
        while !bytes.is_empty() {
            record.ahead.insert(read_number(&mut bytes)?);
        }
        Some(record)
    }
}

/// A polled attempt that waits for a slot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    pub offset: u64,
    pub fact: Delivery,
    /// Whether it may have left already: then it is not started.
    pub suspect: bool,
}

/// The attempts of one partition.
#[derive(Debug)]
pub(super) struct Window {
    /// The offset after the last polled record.
    next: u64,
    waiting: VecDeque<Waiting>,
    /// Attempts polled and without an outcome: waiting or started.
    unfinished: BTreeSet<u64>,
    record: Record,
    /// How many of the next attempts before `end` are suspects.
    suspects: u64,
    end: u64,
    moved: bool,
}

impl Window {
    /// A partition as it was left: its progress, its record if it ever had one, where its log ends
    /// now, and how many slots there are now.
    pub fn new(progress: u64, record: Option<Record>, end: u64, slots: u64) -> Window {
        let mut record = record.unwrap_or_default();
        let suspects = record.in_flight;
        record.in_flight = suspects.max(slots);
        let unfinished = BTreeSet::new();
        let waiting = VecDeque::new();
        Window { next: progress, waiting, unfinished, record, suspects, end, moved: false }
    }

    /// Takes a polled record: an attempt, or `None` for what is none. `known` attempts are those
    /// that this process has started itself: their outcome comes of its own.
    pub fn take(&mut self, offset: u64, attempt: Option<Delivery>, known: bool) {
        self.next = offset + 1;
        self.moved = true;
        let Some(fact) = attempt else { return };
        if self.record.ahead.contains(&offset) {
            return;
        }
        let suspect = self.suspects > 0 && offset < self.end;
        self.suspects -= u64::from(suspect);
        self.unfinished.insert(offset);
        if !known {
            self.waiting.push_back(Waiting { offset, fact, suspect });
        }
    }

    /// The next attempt to be given a slot.
    pub fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Whether an attempt waits for a slot.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the outcome of the attempt at `offset` is known already.
    pub fn is_finished(&self, offset: u64) -> bool {
        let polled = offset < self.next && !self.unfinished.contains(&offset);
        polled || self.record.ahead.contains(&offset)
    }

    /// The outcome of the attempt at `offset` goes into the open transaction.
    pub fn finish(&mut self, offset: u64) {
        self.unfinished.remove(&offset);
        self.record.ahead.insert(offset);
        self.moved = true;
        self.record.ahead = self.record.ahead.split_off(&self.progress());
    }

    /// Where the partition goes on: at the oldest attempt without an outcome.
    pub fn progress(&self) -> u64 {
        self.unfinished.first().copied().unwrap_or(self.next)
    }

    /// What the changelog shall hold.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How many attempts are polled and have no outcome, and how many have one ahead of progress.
    pub fn load(&self) -> (usize, usize) {
        (self.unfinished.len(), self.record.ahead.len())
    }

    /// Whether there is progress that no transaction has taken yet.
    pub fn has_moved(&self) -> bool {
        self.moved
    }

    /// Progress goes into the open transaction.
    pub fn note(&mut self) {
        self.record.ahead = self.record.ahead.split_off(&self.progress());
        self.moved = false;
    }

    /// A clean stop: nothing of it is under way. Refused while a suspect has no outcome.
    pub fn close(&mut self) {
        let unseen = self.suspects > 0 && self.next < self.end;
        if !unseen && !self.waiting.iter().any(|waiting| waiting.suspect) {
            self.record.in_flight = 0;
            self.moved = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::requested;
    use proptest::prelude::*;

    fn attempt() -> Option<Delivery> {
        Some(requested("ada@example.org"))
    }

    fn record(in_flight: u64, ahead: &[u64]) -> Option<Record> {
        Some(Record { in_flight, ahead: ahead.iter().copied().collect() })
    }

    #[test]
    fn progress_stops_at_the_oldest_unfinished_attempt() {
        let mut window = Window::new(0, None, 0, 2);
        for (offset, fact) in [(0, None), (1, attempt()), (2, attempt()), (3, None), (4, attempt())]
        {
            window.take(offset, fact, false);
        }
        for (finished, progress, ahead) in [(2, 1, vec![2]), (4, 1, vec![2, 4]), (1, 5, vec![])] {
            window.finish(finished);
            assert!(window.is_finished(finished));
            assert_eq!(window.progress(), progress);
            assert_eq!(window.record().ahead, ahead.into_iter().collect());
        }
    }

    #[test]
    fn what_is_finished_ahead_is_not_done_again() {
        let mut window = Window::new(1, record(0, &[2]), 9, 2);
        for offset in 1..4 {
            window.take(offset, attempt(), offset == 3);
        }
        let started: Vec<_> = std::iter::from_fn(|| window.pop()).collect();
        assert_eq!(started.iter().map(|w| (w.offset, w.suspect)).collect::<Vec<_>>(), [(1, false)]);
        assert_eq!(window.load().0, 2);
    }

    #[test]
    fn suspects_are_the_first_attempts_of_those_that_were_there() {
        for (record, end, wanted) in [
            (None, 9, [false, false, false]),
            (record(0, &[]), 9, [false, false, false]),
            (record(2, &[]), 9, [true, true, false]),
            (record(2, &[]), 1, [true, false, false]),
            (record(2, &[0]), 9, [false, true, true]),
        ] {
            let mut window = Window::new(0, record.clone(), end, 1);
            (0..3).for_each(|offset| window.take(offset, attempt(), false));
            let found: Vec<_> = std::iter::from_fn(|| window.pop()).collect();
            for waiting in found {
                assert_eq!(waiting.suspect, wanted[waiting.offset as usize], "{record:?} {end}");
            }
        }
    }

    #[test]
    fn a_stop_is_clean_only_without_suspects() {
        let mut window = Window::new(0, record(1, &[]), 1, 4);
        assert_eq!(window.record().in_flight, 4);
        window.close();
        assert_eq!(window.record().in_flight, 4, "the suspect was not seen");
        window.take(0, attempt(), false);
        window.close();
        assert_eq!(window.record().in_flight, 4, "the suspect has no outcome");
        window.pop();
        window.finish(0);
        window.close();
        assert_eq!(window.record().in_flight, 0);
    }

    proptest! {
        /// A model of crashes: attempts 0..30, slots that change, commits and crashes anywhere.
        /// Nothing leaves twice without having been a suspect, and each has an outcome in the end.
        #[test]
        fn whatever_left_without_an_outcome_is_a_suspect(
            moves in prop::collection::vec((0u8..8, 1u64..5), 1..200),
        ) {
            let (mut progress, mut kept) = (0, None);
            let mut left = BTreeSet::new();
            let mut slots = 3;
            let mut window: Option<Window> = None;
            let (mut held, mut told) = (Vec::new(), BTreeSet::new());
            for (action, size) in moves {
                let Some(open) = &mut window else {
                    slots = size;
                    let opened = Window::new(progress, kept.clone(), 30, slots);
                    kept = Some(opened.record().clone());
                    window = Some(opened);
                    continue;
                };
                match action {
                    0..=1 => (0..size).for_each(|_| if open.next < 30 {
                        open.take(open.next, attempt(), false);
                    }),
                    2..=4 => while (held.len() as u64) < slots {
                        let Some(next) = open.pop() else { break };
                        if !next.suspect {
                            prop_assert!(left.insert(next.offset), "{} left twice", next.offset);
                        }
                        held.push(next.offset);
                    },
                    5..=6 => {
                        let done = held.split_off(held.len() - held.len().min(size as usize));
                        for offset in done {
                            open.finish(offset);
                            prop_assert!(told.insert(offset), "{offset} told twice");
                        }
                        progress = open.progress();
                        kept = Some(open.record().clone());
                    }
                    _ => {
                        held.clear();
                        window = None;
                    }
                }
            }
            let mut last = window.unwrap_or_else(|| Window::new(progress, kept, 30, slots));
            (last.next..30).for_each(|offset| last.take(offset, attempt(), false));
            told.extend(held);
            told.extend(std::iter::from_fn(|| last.pop()).map(|waiting| waiting.offset));
            prop_assert!(told.into_iter().eq(0..30));
        }

        #[test]
        fn records_go_there_and_back(in_flight: u64, ahead: BTreeSet<u64>) {
            let (record, mut bytes) = (Record { in_flight, ahead }, Vec::new());
            record.encode(&mut bytes);
            prop_assert_eq!(Record::decode(&bytes), Some(record));
        }
    }
}
