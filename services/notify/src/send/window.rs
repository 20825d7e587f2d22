//! What is known about the attempts of one partition: polled, started, finished. Pure; the desk
//! acts on it.
//!
//! **Why a crash is survived.** Attempts are begun in the order of their offsets, and before one is,
//! the partition's record says so: every attempt before `begun` may have left, and none after it.
//! Outcomes are committed with the record. So whatever was begun and has no outcome is known to
//! whoever takes over: those are the suspects, and each may have left. There are never more of them
//! than there are slots, because an attempt holds its slot until its outcome is committed.

use std::collections::{BTreeSet, VecDeque};
use tocsin_domain::delivery::Delivery;
use tocsin_stream::chunk::{read_number, write_number};

/// What the changelog holds for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Attempts at or after this offset were never begun.
    pub begun: u64,
    /// Offsets of finished attempts at or after the partition's progress.
    pub ahead: BTreeSet<u64>,
}

/// `begun · offsets`, all LEB128.
impl Record {
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_number(out, self.begun);
        self.ahead.iter().for_each(|offset| write_number(out, *offset));
    }

    /// `None` if the bytes are no record.
    pub fn decode(mut bytes: &[u8]) -> Option<Record> {
        let mut record = Record { begun: read_number(&mut bytes)?, ahead: BTreeSet::new() };
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
}

/// The attempts of one partition.
#[derive(Debug)]
pub(super) struct Window {
    /// The offset after the last polled record.
    next: u64,
    waiting: VecDeque<Waiting>,
    /// Attempts polled and without an outcome: waiting or begun.
    unfinished: BTreeSet<u64>,
    record: Record,
    moved: bool,
}

impl Window {
    /// A partition as it was left: its progress, and its record if it ever had one.
    pub fn new(progress: u64, record: Option<Record>) -> Window {
        let (waiting, unfinished) = (VecDeque::new(), BTreeSet::new());
        let record = record.unwrap_or_default();
        Window { next: progress, waiting, unfinished, record, moved: false }
    }

    /// Takes a polled record: an attempt, or `None` for what is none. `known` attempts are those
    /// that this process has begun itself: their outcome comes of its own. Gives a suspect back: it
    /// may have left already, and must not be begun.
    pub fn take(
        &mut self,
        offset: u64,
        attempt: Option<Delivery>,
        known: bool,
    ) -> Option<Delivery> {
        self.next = offset + 1;
        self.moved = true;
        let fact = attempt.filter(|_| !self.record.ahead.contains(&offset))?;
        self.unfinished.insert(offset);
        if known {
            return None;
        }
        if offset < self.record.begun {
            return Some(fact);
        }
        self.waiting.push_back(Waiting { offset, fact });
        None
    }

    /// The next attempt to be given a slot. It may leave once the record is committed.
    pub fn begin(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front()?;
        self.record.begun = next.offset + 1;
        self.moved = true;
        Some(next)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::requested;
    use proptest::prelude::*;

    fn attempt() -> Option<Delivery> {
        Some(requested("ada@example.org"))
    }

    fn record(begun: u64, ahead: &[u64]) -> Option<Record> {
        Some(Record { begun, ahead: ahead.iter().copied().collect() })
    }

    /// The offsets among these that are suspects, and those that are begun.
    fn sorted(window: &mut Window, offsets: std::ops::Range<u64>) -> (Vec<u64>, Vec<u64>) {
        let suspects = offsets.filter(|offset| window.take(*offset, attempt(), false).is_some());
        let suspects = suspects.collect();
        let begun = std::iter::from_fn(|| window.begin()).map(|waiting| waiting.offset);
        (suspects, begun.collect())
    }

    #[test]
    fn progress_stops_at_the_oldest_unfinished_attempt() {
        let mut window = Window::new(0, None);
        for (offset, fact) in [(0, None), (1, attempt()), (2, attempt()), (3, None), (4, attempt())]
        {
            assert_eq!(window.take(offset, fact, false), None);
        }
        for (finished, progress, ahead) in [(2, 1, vec![2]), (4, 1, vec![2, 4]), (1, 5, vec![])] {
            window.finish(finished);
            assert!(window.is_finished(finished));
            assert_eq!(window.progress(), progress);
            assert_eq!(window.record().ahead, ahead.into_iter().collect());
        }
    }

    #[test]
    fn what_is_finished_ahead_is_not_done_again_and_what_is_under_way_here_is_no_suspect() {
        let mut window = Window::new(1, record(4, &[2]));
        for offset in 1..4 {
            let suspect = window.take(offset, attempt(), offset == 3).is_some();
            assert_eq!(suspect, offset == 1);
        }
        assert!(window.begin().is_none());
        assert_eq!(window.load().0, 2);
    }

    #[test]
    fn suspects_are_exactly_the_attempts_that_were_begun_and_not_finished() {
        for (record, suspects, begun) in [
            (None, vec![], vec![0, 1, 2]),
            (record(0, &[]), vec![], vec![0, 1, 2]),
            (record(2, &[]), vec![0, 1], vec![2]),
            (record(2, &[0]), vec![1], vec![2]),
            (record(2, &[0, 1]), vec![], vec![2]),
            (record(9, &[]), vec![0, 1, 2], vec![]),
        ] {
            let mut window = Window::new(0, record.clone());
            assert_eq!(sorted(&mut window, 0..3), (suspects, begun), "{record:?}");
            assert_eq!(window.record().begun, record.map_or(0, |it| it.begun).max(3));
        }
    }

    proptest! {
        /// A model of crashes: attempts 0..30, slots that change, commits and crashes anywhere; some
        /// commits are lost with the process. Nothing leaves twice, nobody is a suspect that has not
        /// left, and each has an outcome in the end.
        #[test]
        fn whatever_left_without_an_outcome_is_a_suspect_and_nothing_else(
            moves in prop::collection::vec((0u8..8, 1u64..5, any::<bool>()), 1..200),
        ) {
            let (mut progress, mut kept) = (0, None);
            let (mut left, mut told) = (BTreeSet::new(), BTreeSet::new());
            let (mut held, mut suspects) = (Vec::new(), Vec::new());
            let mut window: Option<Window> = None;
            for (action, size, is_lost) in moves {
                let Some(open) = &mut window else {
                    window = Some(Window::new(progress, kept.clone()));
                    continue;
                };
                match action {
                    0..=2 => for offset in open.next..(open.next + size).min(30) {
                        let suspect = open.take(offset, attempt(), false);
                        if suspect.is_some() {
                            prop_assert!(left.contains(&offset), "{offset} never left");
                            suspects.push(offset);
                        }
                    },
                    3..=6 => {
                        let done = held.split_off(held.len() - held.len().min(size as usize));
                        let done: Vec<u64> = done.into_iter().chain(suspects.drain(..)).collect();
                        done.iter().for_each(|offset| open.finish(*offset));
                        let begun = std::iter::from_fn(|| open.begin()).take(size as usize);
                        let begun: Vec<u64> = begun.map(|waiting| waiting.offset).collect();
                        open.note();
                        if is_lost {
                            (window, held) = (None, Vec::new());
                            continue;
                        }
                        (progress, kept) = (open.progress(), Some(open.record().clone()));
                        for offset in done {
                            prop_assert!(told.insert(offset), "{offset} told twice");
                        }
                        for offset in begun {
                            prop_assert!(left.insert(offset), "{offset} left twice");
                            held.push(offset);
                        }
                    }
                    _ => (window, held, suspects) = (None, Vec::new(), Vec::new()),
                }
            }
            let mut last = Window::new(progress, kept);
            let (suspects, begun) = sorted(&mut last, progress..30);
            told.extend(suspects.into_iter().chain(begun));
            told.extend(last.record().ahead.iter());
            prop_assert!(told.into_iter().eq(0..30));
        }

        #[test]
        fn records_go_there_and_back(begun: u64, ahead: BTreeSet<u64>) {
            let (record, mut bytes) = (Record { begun, ahead }, Vec::new());
            record.encode(&mut bytes);
            prop_assert_eq!(Record::decode(&bytes), Some(record));
        }
    }
}
