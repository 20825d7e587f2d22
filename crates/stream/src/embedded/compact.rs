//! Compaction: of each key of a compacted topic, the newest record stays. It begins when at least
//! half of a partition is new, so that what it reads and writes is in proportion to what came in.

use crate::embedded::Inner;
use crate::embedded::catalog::Part;
use crate::embedded::clean::{STEP_BYTES, STEP_ROWS, Stored};
use crate::embedded::merge::{Mark, filter};
use crate::log::LogError;
use crate::record::Record;
use std::collections::HashMap;
use std::time::Duration;
use tocsin_domain::{Micros, TopicPartition};

/// A tombstone stays for a day, so that a reader which was away for a night still learns that the
/// key is gone before the tombstone itself goes.
const TOMBSTONE: Duration = Duration::from_secs(86_400);
/// How many keys one round holds in memory (some 20 MB); what is after them waits for the next round.
const KEYS: usize = 200_000;

/// The newest offset of each key in the part of the log that is new.
type Newest = HashMap<Box<[u8]>, u64, foldhash::fast::RandomState>;

impl Inner {
    /// Compacts one partition if it pays; returns how many records it has dropped.
    pub(crate) fn compact(
        &self,
        at: &TopicPartition,
        part: &Part,
        now: Micros,
    ) -> Result<u64, LogError> {
        let done = self.mark(at, part, Mark::Compacted)?;
        if !self.pays(at, part, done)? {
            return Ok(0);
        }
        let (newest, end) = self.newest(at, part, done)?;
        let dropped = self.drop_superseded(at, part, end, &|record| {
            let newer = newest.get(record.key).is_some_and(|newest| record.offset < *newest);
            let gone = record.value.is_none() && record.time < now.minus(TOMBSTONE);
            !newer && !gone
        })?;
        self.set_mark(part, Mark::Compacted, end)?;
        Ok(dropped)
    }

    fn pays(&self, at: &TopicPartition, part: &Part, done: u64) -> Result<bool, LogError> {
        let (new, all): (i64, i64) = self.query(at, done, |sql| {
            let mut sizes = sql.prepare_cached(
                "SELECT coalesce(sum(length(bytes)) FILTER (WHERE base >= ?2), 0),
                        coalesce(sum(length(bytes)), 0) FROM chunks WHERE part = ?1",
            )?;
            Ok(sizes.query_row([part.id, done as i64], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })?;
        Ok(new > 0 && new as u64 >= self.options.compact_from && new * 2 >= all)
    }

    /// The newest offset of each key from `from` on, and the offset up to which that is known.
    fn newest(
        &self,
        at: &TopicPartition,
        part: &Part,
        from: u64,
    ) -> Result<(Newest, u64), LogError> {
        let (mut newest, mut end) = (Newest::default(), from);
        loop {
            let rows = self.stored(at, part, end, STEP_ROWS)?;
            for step in steps(&rows) {
                for chunk in self.load(at, part, step)? {
                    for record in chunk.records(&at.topic, at.partition) {
                        match newest.get_mut(record.key) {
                            Some(known) => *known = record.offset,
                            None => _ = newest.insert(record.key.into(), record.offset),
                        }
                    }
                }
                end = step.last().map_or(end, |row| row.header.next);
                if newest.len() >= KEYS {
                    return Ok((newest, end));
                }
            }
            if rows.len() < STEP_ROWS {
                return Ok((newest, end));
            }
        }
    }

    /// Rewrites, from the start on and in steps, the chunks before `end` that lose records. In this
    /// order a tombstone never goes before the values that it deletes.
    fn drop_superseded(
        &self,
        at: &TopicPartition,
        part: &Part,
        end: u64,
        keep: &dyn Fn(&Record<'_>) -> bool,
    ) -> Result<u64, LogError> {
        let (mut dropped, mut from) = (0, 0);
        while from < end {
            let mut rows = self.stored(at, part, from, STEP_ROWS)?;
            rows.retain(|row| row.header.base < end);
            let Some(last) = rows.last().map(|row| row.header.next) else { break };
            for step in steps(&rows) {
                let (left, lost) = filter(at, &self.load(at, part, step)?, step, keep);
                if lost > 0 {
                    self.replace(part, step, &left)?;
                    dropped += lost;
                }
            }
            from = last;
        }
        Ok(dropped)
    }
}

/// Cuts rows into steps of about [`STEP_BYTES`].
fn steps(rows: &[Stored]) -> impl Iterator<Item = &[Stored]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let full = rest.iter().position(|row| {
            bytes += row.bytes;
            bytes >= STEP_BYTES
        });
        let step = rest.split_off(..full.map_or(rest.len(), |last| last + 1))?;
        (!step.is_empty()).then_some(step)
    })
}
