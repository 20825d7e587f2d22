//! Joins small chunks. Events that are committed one by one leave a row each; joined, a reader
//! gets thousands of them with one row. Offsets, keys, values and times stay as they are.

use crate::chunk::{CHUNK_BYTES, CHUNK_RECORDS, Chunk, ChunkBuilder};
use crate::embedded::Inner;
use crate::embedded::catalog::{Part, offset};
use crate::embedded::clean::{STEP_ROWS, Stored, delete};
use crate::embedded::read;
use crate::embedded::read::Header;
use crate::embedded::worker::Limit;
use crate::embedded::write::insert;
use crate::log::LogError;
use crate::record::Record;
use rusqlite::params;
use std::ops::Range;
use tocsin_domain::{Micros, TopicPartition};

/// Fewer chunks are not worth a rewrite.
const MIN_RUN: usize = 8;
/// The newest chunks are joined only when they are as many: they will be joined by more.
const MIN_TAIL: usize = 256;

/// How far a partition has been cleaned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    Merged,
    Compacted,
}

impl Inner {
    /// Joins runs of small chunks; returns how many chunks have become part of another.
    pub(crate) fn merge(&self, at: &TopicPartition, part: &Part) -> Result<u64, LogError> {
        let mut merged = 0;
        loop {
            let done = self.mark(at, part, Mark::Merged)?;
            let rows = self.stored(at, part, done, STEP_ROWS)?;
            let (runs, end) = plan(&rows, rows.len() == STEP_ROWS);
            for run in &runs {
                let rows = &rows[run.clone()];
                let chunks = self.load(at, part, rows)?;
                let (joined, _) = filter(at, &chunks, rows, |_| true);
                self.replace(part, rows, &joined)?;
                merged += rows.len() as u64;
            }
            let Some(last) = end.checked_sub(1).map(|last| rows[last]) else { return Ok(merged) };
            // Most rounds find big chunks or hardly any: the mark is not worth a commit of its own.
            if !runs.is_empty() || end >= MIN_TAIL {
                self.set_mark(part, Mark::Merged, last.header.next)?;
            }
            if rows.len() < STEP_ROWS {
                return Ok(merged);
            }
        }
    }

    /// Reads these consecutive chunks.
    pub(crate) fn load(
        &self,
        at: &TopicPartition,
        part: &Part,
        rows: &[Stored],
    ) -> Result<Vec<Chunk>, LogError> {
        let Some(first) = rows.first().map(|row| row.header.base) else { return Ok(Vec::new()) };
        let records = rows.iter().map(|row| row.header.records as usize).sum();
        let limit = Limit { bytes: usize::MAX, records };
        Ok(self.query(at, first, |sql| read::chunks(sql, (at, part.id), first, limit))?.chunks)
    }

    /// Puts what is left of these consecutive chunks in their place, in one transaction.
    pub(crate) fn replace(
        &self,
        part: &Part,
        rows: &[Stored],
        left: &ChunkBuilder,
    ) -> Result<(), LogError> {
        let Some(whole) = whole(rows) else { return Ok(()) };
        self.change(|sql| {
            delete(sql, part.id, rows)?;
            let parts = left.parts().count();
            for (i, chunk) in left.parts().enumerate() {
                let mut header = Header::of(&chunk, whole.base, whole.time);
                header.newest = whole.newest;
                if i + 1 == parts {
                    header.next = whole.next;
                }
                insert(sql, part.id, &header, chunk.bytes)?;
            }
            if parts == 0 {
                sql.prepare_cached("UPDATE parts SET floor = max(floor, ?2) WHERE id = ?1")?
                    .execute(params![part.id, whole.next as i64])?;
            }
            Ok(())
        })
    }

    pub(crate) fn mark(
        &self,
        at: &TopicPartition,
        part: &Part,
        mark: Mark,
    ) -> Result<u64, LogError> {
        let column = match mark {
            Mark::Merged => "SELECT merged FROM parts WHERE id = ?1",
            Mark::Compacted => "SELECT compacted FROM parts WHERE id = ?1",
        };
        self.query(at, 0, |sql| {
            Ok(sql.prepare_cached(column)?.query_row([part.id], |row| row.get(0).map(offset))?)
        })
    }

    pub(crate) fn set_mark(&self, part: &Part, mark: Mark, to: u64) -> Result<(), LogError> {
        let statement = match mark {
            Mark::Merged => "UPDATE parts SET merged = ?2 WHERE id = ?1",
            Mark::Compacted => "UPDATE parts SET compacted = ?2 WHERE id = ?1",
        };
        self.change(|sql| {
            sql.prepare_cached(statement)?.execute(params![part.id, to as i64])?;
            Ok(())
        })
    }
}

/// What a rewrite keeps of these chunks, with the offsets and times that the records had, and how
/// many records it drops.
pub(crate) fn filter(
    at: &TopicPartition,
    chunks: &[Chunk],
    rows: &[Stored],
    keep: impl Fn(&Record<'_>) -> bool,
) -> (ChunkBuilder, u64) {
    let (mut left, mut dropped) = (ChunkBuilder::default(), 0);
    let Some(whole) = whole(rows) else { return (left, 0) };
    for record in chunks.iter().flat_map(|chunk| chunk.records(&at.topic, at.partition)) {
        if keep(&record) {
            let (delta, time) = (record.offset - whole.base, record.time.0.abs_diff(whole.time.0));
            left.push_at(delta, time, record.key, record.value);
        } else {
            dropped += 1;
        }
    }
    (left, dropped)
}

/// The header of one chunk in the place of all.
fn whole(rows: &[Stored]) -> Option<Header> {
    let headers = || rows.iter().map(|row| row.header);
    Some(Header {
        base: headers().next()?.base,
        next: headers().next_back()?.next,
        time: headers().map(|header| header.time).min().unwrap_or(Micros(0)),
        newest: headers().map(|header| header.newest).max().unwrap_or(Micros(0)),
        records: headers().map(|header| header.records).sum(),
    })
}

/// Which runs of rows shall be joined, and how many rows need not be looked at again. `more`: there
/// are rows after these.
fn plan(rows: &[Stored], more: bool) -> (Vec<Range<usize>>, usize) {
    let (mut runs, mut start, mut bytes, mut records) = (Vec::new(), 0, 0, 0);
    for (i, row) in rows.iter().enumerate() {
        bytes += row.bytes;
        records += row.header.records;
        if bytes > CHUNK_BYTES as u64 || records > CHUNK_RECORDS {
            runs.push(start..i);
            (start, bytes, records) = (i, row.bytes, row.header.records);
        }
    }
    let tail = start..rows.len();
    let joined = more || tail.len() >= MIN_TAIL;
    let end = if joined { tail.end } else { tail.start };
    if joined {
        runs.push(tail);
    }
    runs.retain(|run| run.len() >= MIN_RUN);
    (runs, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_that_pay_are_joined_and_the_tail_waits() {
        let row = |bytes| {
            let (time, newest) = (Micros(0), Micros(0));
            Stored { header: Header { base: 0, next: 0, time, newest, records: 1 }, bytes }
        };
        let full = CHUNK_BYTES as u64;
        for (sizes, more, runs, end) in [
            (vec![], false, vec![], 0),
            (vec![10; 255], false, vec![], 0),
            (vec![10; 256], false, vec![(0, 256)], 256),
            (vec![10; 20], true, vec![(0, 20)], 20),
            (vec![full; 5], false, vec![], 4),
            ([vec![10; 9], vec![full], vec![10; 3]].concat(), false, vec![(0, 9)], 10),
            ([vec![10; 7], vec![full]].concat(), false, vec![], 7),
        ] {
            let rows: Vec<_> = sizes.iter().map(|bytes| row(*bytes)).collect();
            let (found, looked) = plan(&rows, more);
            let found: Vec<_> = found.iter().map(|run| (run.start, run.end)).collect();
            assert_eq!((found, looked), (runs, end), "{sizes:?}");
        }
    }
}
