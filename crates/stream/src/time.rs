//! Event time. Every subject has its own watermark: the largest event time seen of it, less the
//! allowed lateness. One station with a wrong clock, or one file a station read after another,
//! therefore never makes another station's events late.

use crate::chunk::{read_number, write_number};
use std::collections::VecDeque;
use std::time::Duration;
use tocsin_domain::{Id, Micros};

/// Puts the events of one subject into the order of their event time, once each.
#[derive(Debug, PartialEq)]
pub struct Timeline {
    /// The largest event time seen; [`Micros::MIN`] before the first event.
    seen: Micros,
    /// The event time released last; [`Micros::MIN`] if there is none.
    last: Micros,
    /// The first id released at it, and those after it: most often there are none, and then a
    /// clone follows no pointer.
    first: Option<Id>,
    more: Vec<Id>,
    /// Events after the watermark, by event time.
    waiting: VecDeque<Waiting>,
}

impl Default for Timeline {
    fn default() -> Self {
        let (more, waiting) = (Vec::new(), VecDeque::new());
        Self { seen: Micros::MIN, last: Micros::MIN, first: None, more, waiting }
    }
}

impl Clone for Timeline {
    fn clone(&self) -> Self {
        let mut clone = Timeline::default();
        clone.clone_from(self);
        clone
    }

    /// A store clones a state into the memory of the one before it: once a key and transaction.
    fn clone_from(&mut self, other: &Self) {
        (self.seen, self.last, self.first) = (other.seen, other.last, other.first);
        // Most often both are empty, and then there is nothing to look at.
        if !(self.more.is_empty() && other.more.is_empty()) {
            self.more.clone_from(&other.more);
        }
        if !(self.waiting.is_empty() && other.waiting.is_empty()) {
            self.waiting.clone_from(&other.waiting);
        }
    }
}

/// An event that waits for the watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its event time.
    pub time: Micros,
    /// Its id.
    pub id: Id,
    /// Its offset.
    pub offset: u64,
    /// Its bytes as they stand in the log.
    pub bytes: Vec<u8>,
}

/// What becomes of an event that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is next: process it now, then [`Timeline::release`] what it lets through.
    Now,
    /// It waits; [`Timeline::release`] what its time lets through.
    Waits,
    /// It has been seen.
    Duplicate,
    /// It is before the watermark.
    Late {
        /// The watermark.
        watermark: Micros,
    },
}

impl Timeline {
    /// The watermark: no event before it will be processed any more.
    pub fn watermark(&self, lateness: Duration) -> Micros {
        self.seen.minus(lateness)
    }

    /// The event time released last.
    pub fn now(&self) -> Micros {
        self.last
    }

    /// The largest event time seen.
    pub fn seen(&self) -> Micros {
        self.seen
    }

    /// Judges an event. `bytes` are copied only if it must wait.
    pub fn arrive(
        &mut self,
        (time, id): (Micros, Id),
        lateness: Duration,
        offset: u64,
        bytes: &[u8],
    ) -> Arrival {
        if time == self.last && self.ids().any(|seen| *seen == id) {
            return Arrival::Duplicate;
        }
        // What was released by an idle input is behind us even if the watermark is not.
        let watermark = self.watermark(lateness).max(self.last);
        if time < watermark {
            return Arrival::Late { watermark };
        }
        if self.waiting.is_empty() && lateness.is_zero() {
            self.seen = time;
            self.mark(time, id);
            return Arrival::Now;
        }
        let at = self.waiting.partition_point(|w| (w.time, w.id) < (time, id));
        if self.waiting.get(at).is_some_and(|w| (w.time, w.id) == (time, id)) {
            return Arrival::Duplicate;
        }
        self.seen = self.seen.max(time);
        if at == 0 && time <= self.watermark(lateness) {
            self.mark(time, id);
            return Arrival::Now;
        }
        self.waiting.insert(at, Waiting { time, id, offset, bytes: bytes.to_vec() });
        Arrival::Waits
    }

    /// What is before `to` is behind us: somebody has drawn a line there, for example at the end of
    /// a window that is closed for good.
    pub fn advance(&mut self, to: Micros) {
        if to > self.last {
            self.last = to;
            self.first = None;
            self.more.clear();
        }
    }

    /// The next event that waits at `until` or before.
    #[inline]
    pub fn release(&mut self, until: Micros) -> Option<Waiting> {
        if self.waiting.front()?.time > until {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.mark(next.time, next.id);
        Some(next)
    }

    /// The event time of the first event that waits.
    pub fn first_waiting(&self) -> Option<Micros> {
        self.waiting.front().map(|w| w.time)
    }

    fn mark(&mut self, time: Micros, id: Id) {
        self.advance(time);
        match self.first {
            None => self.first = Some(id),
            Some(_) => self.more.push(id),
        }
    }

    fn ids(&self) -> impl Iterator<Item = &Id> {
        self.first.iter().chain(&self.more)
    }

    /// Appends what [`Timeline::decode`] reads.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seen.0.to_le_bytes());
        out.extend_from_slice(&self.last.0.to_le_bytes());
        write_number(out, self.ids().count() as u64);
        self.ids().for_each(|id| out.extend_from_slice(id.as_bytes()));
        write_number(out, self.waiting.len() as u64);
        for waiting in &self.waiting {
            out.extend_from_slice(&waiting.time.0.to_le_bytes());
            out.extend_from_slice(waiting.id.as_bytes());
            write_number(out, waiting.offset);
            write_number(out, waiting.bytes.len() as u64);
            out.extend_from_slice(&waiting.bytes);
        }
    }

    /// Reads what [`Timeline::encode`] wrote off the front of `bytes`.
    pub fn decode(bytes: &mut &[u8]) -> Option<Timeline> {
        let (seen, last) = (read_micros(bytes)?, read_micros(bytes)?);
        let count = read_number(bytes)?;
        let first = if count > 0 { Some(read_id(bytes)?) } else { None };
        let more = (1..count).map(|_| read_id(bytes)).collect::<Option<Vec<_>>>()?;
        let waiting = (0..read_number(bytes)?)
            .map(|_| {
                let (time, id) = (read_micros(bytes)?, read_id(bytes)?);
                let offset = read_number(bytes)?;
                let length = read_number(bytes)? as usize;
                let bytes = bytes.split_off(..length)?.to_vec();
                Some(Waiting { time, id, offset, bytes })
            })
            .collect::<Option<VecDeque<_>>>()?;
        Some(Timeline { seen, last, first, more, waiting })
    }
}

fn read_micros(bytes: &mut &[u8]) -> Option<Micros> {
    Some(Micros(i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?)))
}

fn read_id(bytes: &mut &[u8]) -> Option<Id> {
    Some(Id::from_bytes(*bytes.split_off(..16)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(time: i64) -> (Micros, Id) {
        (Micros(time), Id::of("event", &[&time.to_be_bytes()]))
    }

    /// Feeds times and gives back the order in which they are processed.
    fn order(times: &[i64], lateness: u64) -> (Vec<i64>, Timeline) {
        let lateness = Duration::from_micros(lateness);
        let (mut line, mut out) = (Timeline::default(), Vec::new());
        for (offset, time) in times.iter().enumerate() {
            match line.arrive(event(*time), lateness, offset as u64, b"") {
                Arrival::Now => out.push(*time),
                Arrival::Waits => {}
                Arrival::Duplicate | Arrival::Late { .. } => continue,
            }
            while let Some(next) = line.release(line.watermark(lateness)) {
                out.push(next.time.0);
            }
        }
        while let Some(next) = line.release(Micros::MAX) {
            out.push(next.time.0);
        }
        (out, line)
    }

    #[test]
    fn without_lateness_events_go_through_at_once_and_steps_back_are_late() {
        assert_eq!(order(&[1, 2, 2, 5, 3, 6], 0).0, [1, 2, 5, 6]);
        let mut line = Timeline::default();
        line.arrive(event(5), Duration::ZERO, 0, b"");
        assert_eq!(line.arrive(event(5), Duration::ZERO, 1, b""), Arrival::Duplicate);
        let late = line.arrive(event(4), Duration::ZERO, 2, b"");
        assert_eq!(late, Arrival::Late { watermark: Micros(5) });
        let other = (Micros(5), Id::of("event", &[b"other"]));
        assert_eq!(line.arrive(other, Duration::ZERO, 3, b""), Arrival::Now);
    }

    #[test]
    fn what_an_idle_input_let_through_is_behind_us() {
        let lateness = Duration::from_micros(100);
        let mut line = Timeline::default();
        line.arrive(event(10), lateness, 0, b"");
        assert!(line.release(Micros::MAX).is_some());
        assert_eq!(
            line.arrive(event(9), lateness, 1, b""),
            Arrival::Late { watermark: Micros(10) }
        );
    }

    #[test]
    fn what_is_before_a_line_is_late() {
        let lateness = Duration::from_micros(100);
        let mut line = Timeline::default();
        line.arrive(event(50), lateness, 0, b"");
        line.advance(Micros(40));
        assert_eq!(
            line.arrive(event(39), lateness, 1, b""),
            Arrival::Late { watermark: Micros(40) }
        );
        assert_eq!(line.arrive(event(40), lateness, 2, b""), Arrival::Waits);
        line.advance(Micros(30));
        assert_eq!(line.now(), Micros(40));
    }

    proptest! {
        #[test]
        fn any_order_within_the_lateness_is_the_same_order(
            mut times in prop::collection::vec(0i64..1000, 1..60),
            seed: u64,
        ) {
            let shuffled = times.clone();
            let turn = seed as usize % shuffled.len();
            let shuffled: Vec<_> = shuffled.iter().cycle().skip(turn).take(2 * times.len()).copied().collect();
            times.sort_unstable();
            times.dedup();
            prop_assert_eq!(order(&shuffled, 1000).0, times);
        }

        #[test]
        fn encoding_goes_there_and_back(times in prop::collection::vec(0i64..1000, 0..20)) {
            let lateness = Duration::from_micros(300);
            let mut line = Timeline::default();
            for (offset, time) in times.iter().enumerate() {
                line.arrive(event(*time), lateness, offset as u64, &time.to_be_bytes());
                while line.release(line.watermark(lateness)).is_some() {}
            }
            let mut bytes = Vec::new();
            line.encode(&mut bytes);
            prop_assert_eq!(Timeline::decode(&mut bytes.as_slice()), Some(line));
            for cut in 0..bytes.len() {
                prop_assert_eq!(Timeline::decode(&mut &bytes[..cut]), None);
            }
        }
    }
}
