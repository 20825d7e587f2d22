//! The file: its tables, its settings, its version. One row of `chunks` holds the records that one
//! transaction appended to one partition, so that SQLite's costs are paid once for many records.

use crate::embedded::Sync;
use rusqlite::{Connection, OpenFlags, Result};
use std::path::Path;
use std::time::Duration;

/// Written to the file as `user_version`.
pub(crate) const VERSION: i64 = 1;

/// `chunks` is a table with a rowid and an index beside it: new rows go to the end of the table, and a
/// search by offset does not walk through pages full of blobs. WITHOUT ROWID an append took 0.70 µs of
/// processor time a record instead of 0.32, the loop 0.69 instead of 0.42 (bench `log_floor`, 1,000,000
/// records of 120 B, 10,000 in a transaction over 8 partitions).
const TABLES: &str = "
CREATE TABLE topics (
    name TEXT PRIMARY KEY,
    keep INTEGER            -- microseconds; NULL: for ever; -1: compacted
) WITHOUT ROWID;
CREATE TABLE parts (        -- the partitions of the topics
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    start INTEGER NOT NULL DEFAULT 0,     -- the first offset that is kept
    floor INTEGER NOT NULL DEFAULT 0,     -- offsets below are used up, even if no chunk is left
    merged INTEGER NOT NULL DEFAULT 0,    -- small chunks below have been joined
    compacted INTEGER NOT NULL DEFAULT 0, -- below, every key stands once
    UNIQUE (topic, partition)
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    part INTEGER NOT NULL,
    base INTEGER NOT NULL,    -- what the deltas count from
    next INTEGER NOT NULL,    -- the offset after the chunk
    time INTEGER NOT NULL,    -- of the oldest record; the deltas count from it
    newest INTEGER NOT NULL,  -- of the newest record
    records INTEGER NOT NULL,
    crc INTEGER NOT NULL,     -- of the numbers above and the bytes
    bytes BLOB NOT NULL
);
CREATE UNIQUE INDEX chunks_by_offset ON chunks (part, base);
CREATE TABLE offsets (
    team TEXT NOT NULL,       -- the group whose progress it is
    part INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (team, part)
) WITHOUT ROWID;
CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL    -- who has an older one is fenced
) WITHOUT ROWID;
";

/// Bytes a page. Same bench: with 4096 an append takes 0.36 µs, with 8192 0.32, with 16384 0.28. But a
/// transaction of 10 records takes 20 to 25 µs a record with 8192 and 32 to 35 with 16384, because
/// whole pages go to the write-ahead log. Incremental vacuum costs nothing that one can measure.
const PAGE: u32 = 8192;
/// The write-ahead log is written back when it has this many bytes. 64 MiB would be some 10 % faster
/// under full load; recovery and disk would pay for it.
const WAL_BYTES: u32 = 16 << 20;

/// Opens the one connection that writes, and creates what does not exist yet.
pub(crate) fn open_writer(file: &Path, sync: Sync) -> Result<(Connection, i64)> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let sync = match sync {
        Sync::Full => "FULL",
        Sync::Normal => "NORMAL",
    };
    let checkpoint = WAL_BYTES / PAGE;
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE};
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA foreign_keys = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -8192;"
    ))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = {sync};
         PRAGMA wal_autocheckpoint = {checkpoint};
         PRAGMA journal_size_limit = {};",
        4 * WAL_BYTES
    ))?;
    connection.set_prepared_statement_cache_capacity(32);
    let version = create(&connection)?;
    Ok((connection, version))
}

/// Opens a connection that reads.
pub(crate) fn open_reader(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // What is read is read once, in order: a cache would only cost memory.
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -512;")?;
    Ok(connection)
}

/// Creates the tables in a file that has none; returns the version that the file has.
fn create(connection: &Connection) -> Result<i64> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let created = || -> Result<i64> {
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version != 0 {
            return Ok(version);
        }
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", VERSION)?;
        Ok(VERSION)
    };
    let version = created().inspect_err(|_| _ = connection.execute_batch("ROLLBACK"))?;
    connection.execute_batch("COMMIT")?;
    Ok(version)
}
