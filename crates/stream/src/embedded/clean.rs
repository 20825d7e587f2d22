//! Keeps the file small: drops what is too old, then compacts, then joins small chunks. It works in
//! steps of a few megabytes, so that writers wait for milliseconds, and never moves an offset.

use crate::embedded::Inner;
use crate::embedded::bell::lock;
use crate::embedded::catalog::{Keep, Part, offset};
use crate::embedded::errors::{Stop, reading, writing};
use crate::embedded::read::Header;
use crate::log::{CommitError, LogError};
use rusqlite::{Connection, Result, params};
use std::sync::PoisonError;
use tocsin_domain::{Micros, TopicPartition};

/// What one step deletes or rewrites at most, in bytes (and a chunk).
pub(crate) const STEP_BYTES: u64 = 2 << 20;
/// How many rows one step looks at.
pub(crate) const STEP_ROWS: usize = 4096;
/// What one call gives back to the file system at most, in pages.
const VACUUM_PAGES: i64 = 1024;

/// What [`crate::embedded::EmbeddedLog::clean`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Records that were older than their topic keeps.
    pub expired: u64,
    /// Records of compacted topics that a newer one of the same key replaces, and old tombstones.
    pub superseded: u64,
    /// Small chunks that are now part of a bigger one.
    pub merged: u64,
}

/// A chunk's row, measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) header: Header,
    pub(crate) bytes: u64,
}

impl Inner {
    /// One round over every partition.
    pub(crate) fn clean(&self, now: Micros) -> Result<Cleaned, LogError> {
        let _alone = lock(&self.cleaning);
        let mut cleaned = Cleaned::default();
        let parts = self.catalog().parts();
        for (at, part) in &parts {
            match part.keep {
                Keep::ForEver => {}
                Keep::For(time) => cleaned.expired += self.expire(at, part, now.minus(time))?,
                Keep::Newest => cleaned.superseded += self.compact(at, part, now)?,
            }
            cleaned.merged += self.merge(at, part)?;
        }
        self.tidy().map_err(|error| reading(&self.file, &error))?;
        Ok(cleaned)
    }

    /// Deletes the chunks from the start on whose newest record is from before `limit`. What a group
    /// has still to read stays: here a service that was off for long loses nothing.
    fn expire(&self, at: &TopicPartition, part: &Part, limit: Micros) -> Result<u64, LogError> {
        let mut expired = 0;
        loop {
            let rows = self.stored(at, part, 0, 256)?;
            let awaited: Option<i64> = self.query(at, 0, |sql| {
                let slowest = "SELECT min(next) FROM offsets WHERE part = ?1";
                Ok(sql.prepare_cached(slowest)?.query_row([part.id], |row| row.get(0))?)
            })?;
            let old = old(&rows, limit, awaited.map_or(u64::MAX, offset));
            let Some(last) = old.last() else { return Ok(expired) };
            let start = last.header.next;
            self.change(|sql| {
                delete(sql, part.id, old)?;
                sql.prepare_cached(
                    "UPDATE parts SET start = ?2, floor = max(floor, ?2) WHERE id = ?1",
                )?
                .execute(params![part.id, start as i64])?;
                Ok(())
            })?;
            let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
            catalog.set_start(at, start);
            expired += old.iter().map(|row| u64::from(row.header.records)).sum::<u64>();
        }
    }

    /// The chunks of a partition that reach beyond `from`, without their bytes. The first may hold
    /// offsets before `from` too: a mark does not hinder chunks from being joined across it.
    pub(crate) fn stored(
        &self,
        at: &TopicPartition,
        part: &Part,
        from: u64,
        rows: usize,
    ) -> Result<Vec<Stored>, LogError> {
        self.query(at, from, |sql| {
            let mut statement = sql.prepare_cached(
                "SELECT base, next, time, newest, records, length(bytes) FROM chunks
                 WHERE part = ?1 AND next > ?2 AND base >= coalesce(
                     (SELECT max(base) FROM chunks WHERE part = ?1 AND base <= ?2), 0)
                 ORDER BY base LIMIT ?3",
            )?;
            let rows = statement.query_map(params![part.id, from as i64, rows as i64], |row| {
                Ok(Stored { header: Header::from_row(row)?, bytes: offset(row.get(5)?) })
            })?;
            Ok(rows.collect::<Result<_>>()?)
        })
    }

    /// A transaction of ours.
    pub(crate) fn change<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Stop<CommitError>>,
    ) -> Result<T, LogError> {
        self.transact(&mut lock(&self.writer), work).map_err(writing)
    }

    /// Writes the log-ahead back while it disturbs nobody, and gives empty pages back if they are
    /// more than a quarter: fewer are soon used again.
    fn tidy(&self) -> Result<()> {
        let writer = lock(&self.writer);
        let number = |pragma: &str| -> Result<i64> {
            writer.connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
        };
        number("wal_checkpoint(PASSIVE)")?;
        let (free, pages) = (number("freelist_count")?, number("page_count")?);
        if free > VACUUM_PAGES && free > pages / 4 {
            let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut statement = writer.connection.prepare_cached(&vacuum)?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}

/// Deletes these consecutive chunks; refuses if they are no longer what was read.
pub(crate) fn delete(
    sql: &Connection,
    part: i64,
    rows: &[Stored],
) -> Result<(), Stop<CommitError>> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
    let mut statement =
        sql.prepare_cached("DELETE FROM chunks WHERE part = ?1 AND base >= ?2 AND base < ?3")?;
    let (from, to) = (first.header.base as i64, last.header.next as i64);
    if statement.execute(params![part, from, to])? == rows.len() {
        return Ok(());
    }
    Err(Stop::Because(CommitError::Abort(
        "another process is cleaning the same log: let only one do it".into(),
    )))
}

/// What one step of retention deletes.
fn old(rows: &[Stored], limit: Micros, awaited: u64) -> &[Stored] {
    let mut bytes = 0;
    let old = rows.iter().take_while(|row| {
        let fits = bytes < STEP_BYTES;
        bytes += row.bytes;
        fits && row.header.newest < limit && row.header.next <= awaited
    });
    &rows[..old.count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_retention_is_a_prefix_and_bounded() {
        let row = |newest: i64, bytes| {
            let (time, newest) = (Micros(0), Micros(newest));
            Stored { header: Header { base: 0, next: 0, time, newest, records: 1 }, bytes }
        };
        for (rows, deleted) in [
            (vec![], 0),
            (vec![row(1, 9), row(2, 9), row(10, 9)], 2),
            (vec![row(10, 9), row(1, 9)], 0),
            (vec![row(1, STEP_BYTES), row(1, 9)], 1),
        ] {
            assert_eq!(old(&rows, Micros(10), u64::MAX).len(), deleted, "{rows:?}");
        }
    }
}
