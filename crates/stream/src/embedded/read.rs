//! Reads chunks from the file and verifies each against its checksum. A read is one statement, so
//! that it sees one moment of the file while others append, compact and delete.

use crate::chunk::{Chunk, Part};
use crate::embedded::bell::lock;
use crate::embedded::catalog::offset;
use crate::embedded::errors::Stop;
use crate::embedded::schema::open_reader;
use crate::embedded::worker::Limit;
use crate::log::LogError;
use rusqlite::{Connection, Result, Row, params};
use std::path::PathBuf;
use std::sync::Mutex;
use tocsin_domain::{Micros, TopicPartition};

/// Connections that read, lent to one thread at a time; the last one used is lent first.
pub(crate) struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(file: PathBuf) -> Readers {
        Readers { file, idle: Mutex::default() }
    }

    /// Lends a connection to `work`.
    pub(crate) fn with<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Stop<E>>,
    ) -> Result<T, Stop<E>> {
        let idle = lock(&self.idle).pop();
        let connection = idle.map_or_else(|| open_reader(&self.file), Ok)?;
        let result = work(&connection);
        lock(&self.idle).push(connection);
        result
    }
}

/// A chunk's row without its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) base: u64,
    /// The offset after the chunk.
    pub(crate) next: u64,
    pub(crate) time: Micros,
    pub(crate) newest: Micros,
    pub(crate) records: u32,
}

impl Header {
    /// The header of a builder's part that begins at `base` and whose records have `time`.
    pub(crate) fn of(part: &Part<'_>, base: u64, time: Micros) -> Header {
        let (base, next) = (base + part.base, base + part.next);
        Header { base, next, time, newest: time, records: part.count }
    }

    /// From the columns base, next, time, newest, records.
    pub(crate) fn from_row(row: &Row<'_>) -> Result<Header> {
        Ok(Header {
            base: offset(row.get(0)?),
            next: offset(row.get(1)?),
            time: Micros(row.get(2)?),
            newest: Micros(row.get(3)?),
            records: row.get(4)?,
        })
    }

    /// The checksum of the chunk: a damaged number is found as well as a damaged byte.
    pub(crate) fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(bytes);
        sum.update(&self.base.to_le_bytes());
        sum.update(&self.next.to_le_bytes());
        sum.update(&self.time.0.to_le_bytes());
        sum.update(&self.newest.0.to_le_bytes());
        sum.update(&self.records.to_le_bytes());
        sum.finalize()
    }
}

/// What a read has found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) chunks: Vec<Chunk>,
    /// The offset after the last chunk.
    pub(crate) next: Option<u64>,
    /// The limit was reached: there may be more.
    pub(crate) more: bool,
}

/// The chunks from the one that holds `from` on.
pub(crate) fn chunks(
    sql: &Connection,
    (at, part): (&TopicPartition, i64),
    from: u64,
    limit: Limit,
) -> Result<Found, Stop<LogError>> {
    let mut statement = sql.prepare_cached(
        "SELECT base, next, time, newest, records, crc, bytes FROM chunks
         WHERE part = ?1 AND base >= coalesce(
             (SELECT max(base) FROM chunks WHERE part = ?1 AND base <= ?2), 0)
         ORDER BY base",
    )?;
    let mut rows = statement.query(params![part, from as i64])?;
    let (mut found, mut bytes, mut records) = (Found::default(), 0, 0);
    while let Some(row) = rows.next()? {
        let header = Header::from_row(row)?;
        if header.next <= from {
            continue;
        }
        let chunk = verified(row, &header, at)?;
        bytes += chunk.bytes.len();
        records += chunk.count as usize;
        found.chunks.push(chunk);
        found.next = Some(header.next);
        if bytes >= limit.bytes || records >= limit.records {
            found.more = true;
            break;
        }
    }
    Ok(found)
}

fn verified(row: &Row<'_>, header: &Header, at: &TopicPartition) -> Result<Chunk, Stop<LogError>> {
    let bytes = row.get_ref(6)?.as_blob().map_err(rusqlite::Error::from)?;
    let (written, found) = (row.get::<_, u32>(5)?, header.checksum(bytes));
    if written != found {
        let reason =
            format!("the checksum is {found:08x} and was {written:08x} when it was written");
        let (at, offset) = (at.clone(), header.base);
        return Err(Stop::Because(LogError::Damaged { at, offset, reason }));
    }
    let Header { base, time, records: count, .. } = *header;
    Ok(Chunk { base, time, count, bytes: bytes.into() })
}

/// The first offset that is kept: asked for when a read has found a gap, which is either
/// compaction's and harmless, or retention has just deleted what the reader has not seen.
pub(crate) fn start(sql: &Connection, part: i64) -> Result<u64> {
    let mut statement = sql.prepare_cached("SELECT start FROM parts WHERE id = ?1")?;
    statement.query_row([part], |row| row.get(0).map(offset))
}

/// Where the group goes on.
pub(crate) fn committed(sql: &Connection, group: &str, part: i64) -> Result<Option<u64>> {
    let mut statement =
        sql.prepare_cached("SELECT next FROM offsets WHERE team = ?1 AND part = ?2")?;
    let mut rows = statement.query(params![group, part])?;
    rows.next()?.map(|row| row.get(0).map(offset)).transpose()
}
