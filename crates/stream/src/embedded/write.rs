//! Everything that is written goes through here: one connection, one transaction at a time, and a
//! clear answer to the question what is visible if it fails.

use crate::embedded::Inner;
use crate::embedded::bell::lock;
use crate::embedded::catalog::{Catalog, Keep};
use crate::embedded::errors::{Stop, before_commit, in_commit, writing};
use crate::embedded::read::Header;
use crate::embedded::worker::Pass;
use crate::log::{CommitError, LogError, Transaction};
use rusqlite::{Connection, Result, params};
use std::sync::PoisonError;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;

/// The connection that writes.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    /// SQLite's `data_version` when the catalog was read: another process has written since if it
    /// is another one now.
    pub(crate) seen: Option<i64>,
}

impl Inner {
    /// Runs `work` in a transaction on what every process has committed so far.
    pub(crate) fn transact<T>(
        &self,
        writer: &mut Writer,
        work: impl FnOnce(&Connection) -> Result<T, Stop<CommitError>>,
    ) -> Result<T, CommitError> {
        let stopped = |error: &rusqlite::Error| before_commit(&self.file, error);
        run(&writer.connection, "BEGIN IMMEDIATE").map_err(|error| stopped(&error))?;
        let followed = self.follow(writer).map_err(Stop::from);
        match followed.and_then(|()| work(&writer.connection)) {
            Ok(done) => self.finish(writer).map(|()| done),
            Err(stop) => {
                self.undo(writer);
                Err(match stop {
                    Stop::Sql(error) => stopped(&error),
                    Stop::Because(error) => error,
                })
            }
        }
    }

    fn finish(&self, writer: &mut Writer) -> Result<(), CommitError> {
        crate::crash::point("inside-commit");
        let Err(error) = run(&writer.connection, "COMMIT") else { return Ok(()) };
        // SQLite leaves the transaction open only if it has not begun to commit it.
        let closed = writer.connection.is_autocommit();
        self.undo(writer);
        Err(if closed { in_commit(&self.file, &error) } else { before_commit(&self.file, &error) })
    }

    fn undo(&self, writer: &mut Writer) {
        if !writer.connection.is_autocommit() {
            // If this fails too, the next BEGIN says why.
            let _ = run(&writer.connection, "ROLLBACK");
        }
        writer.seen = None;
    }

    /// Reads the catalog anew if another process has written.
    pub(crate) fn follow(&self, writer: &mut Writer) -> Result<()> {
        let mut statement = writer.connection.prepare_cached("PRAGMA data_version")?;
        let version = statement.query_row([], |row| row.get(0))?;
        if writer.seen != Some(version) {
            let catalog = Catalog::load(&writer.connection)?;
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
            writer.seen = Some(version);
            self.bell.ring();
        }
        Ok(())
    }

    /// Commits what a worker has done.
    pub(crate) fn append(&self, pass: &Pass, work: &Transaction) -> Result<(), CommitError> {
        let mut writer = lock(&self.writer);
        let ends = self.transact(&mut writer, |sql| {
            admit(sql, pass)?;
            let catalog = self.catalog();
            put_progress(sql, &catalog, &pass.group, work)?;
            put_outputs(sql, &catalog, work)
        })?;
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        ends.iter().for_each(|(at, end)| catalog.set_end(at, *end));
        drop(catalog);
        drop(writer);
        self.bell.ring();
        Ok(())
    }

    /// Creates topics; what exists must have as many partitions.
    pub(crate) fn create(&self, topics: &[&Topic]) -> Result<(), LogError> {
        let mut writer = lock(&self.writer);
        let created = self.transact(&mut writer, |sql| {
            let catalog = self.catalog();
            for topic in topics {
                if let Err(refused) = same_partitions(&catalog, topic) {
                    return Ok(Err(refused));
                }
                put_topic(sql, topic)?;
            }
            drop(catalog);
            Ok(Ok(()))
        });
        writer.seen = None;
        created.map_err(writing)??;
        self.follow(&mut writer).map_err(|error| writing(before_commit(&self.file, &error)))
    }

    /// Gives the worker a new epoch, which fences whoever had its id before.
    pub(crate) fn admit_new(&self, id: &str) -> Result<u64, LogError> {
        let epoch = self.transact(&mut lock(&self.writer), |sql| {
            let mut statement = sql.prepare_cached(
                "INSERT INTO workers (id, epoch) VALUES (?1, 1)
                 ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
            )?;
            Ok(statement.query_row([id], |row| row.get::<_, i64>(0))?)
        });
        epoch.map(|epoch| epoch as u64).map_err(writing)
    }
}

/// Runs a statement that is used again and again.
pub(crate) fn run(sql: &Connection, statement: &str) -> Result<usize> {
    sql.prepare_cached(statement)?.execute([])
}

/// Adds a chunk.
pub(crate) fn insert(sql: &Connection, part: i64, header: &Header, bytes: &[u8]) -> Result<()> {
    let mut statement = sql.prepare_cached(
        "INSERT INTO chunks (part, base, next, time, newest, records, crc, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let (base, next) = (header.base as i64, header.next as i64);
    let (time, newest, crc) = (header.time.0, header.newest.0, header.checksum(bytes));
    statement.execute(params![part, base, next, time, newest, header.records, crc, bytes])?;
    Ok(())
}

fn admit(sql: &Connection, pass: &Pass) -> Result<(), Stop<CommitError>> {
    let mut statement = sql.prepare_cached("SELECT epoch FROM workers WHERE id = ?1")?;
    let epoch: i64 = statement.query_row([&pass.id], |row| row.get(0))?;
    if epoch as u64 == pass.epoch { Ok(()) } else { Err(Stop::Because(pass.fenced())) }
}

fn put_progress(
    sql: &Connection,
    catalog: &Catalog,
    group: &str,
    work: &Transaction,
) -> Result<(), Stop<CommitError>> {
    let mut statement = sql.prepare_cached(
        "INSERT INTO offsets (team, part, next) VALUES (?1, ?2, ?3)
         ON CONFLICT (team, part) DO UPDATE SET next = excluded.next",
    )?;
    for (at, next) in &work.progress {
        let part = catalog.part(at).map_err(impossible)?;
        statement.execute(params![group, part.id, *next as i64])?;
    }
    Ok(())
}

/// Appends; returns where the partitions then end.
fn put_outputs(
    sql: &Connection,
    catalog: &Catalog,
    work: &Transaction,
) -> Result<Vec<(TopicPartition, u64)>, Stop<CommitError>> {
    let mut ends = Vec::new();
    for output in work.outputs().iter().filter(|output| !output.is_empty()) {
        output.fits(|topic| catalog.partitions(topic)).map_err(Stop::Because)?;
        let builders = (0..).zip(&output.partitions).filter(|(_, builder)| builder.count() > 0);
        for (partition, builder) in builders {
            let at = TopicPartition { topic: output.topic.clone(), partition };
            let part = catalog.part(&at).map_err(impossible)?;
            let end = part.span.end;
            for chunk in builder.parts() {
                insert(sql, part.id, &Header::of(&chunk, end, work.time), chunk.bytes)?;
            }
            ends.push((at, end + builder.span()));
        }
    }
    Ok(ends)
}

/// The transaction names something that the log does not have, and never will by itself.
fn impossible(error: LogError) -> Stop<CommitError> {
    Stop::Because(CommitError::Fatal(error.to_string()))
}

fn same_partitions(catalog: &Catalog, topic: &Topic) -> Result<(), LogError> {
    match catalog.partitions(&topic.name) {
        Ok(found) if found != topic.partitions => {
            Err(LogError::Partitions { topic: topic.name.clone(), found, wanted: topic.partitions })
        }
        _ => Ok(()),
    }
}

fn put_topic(sql: &Connection, topic: &Topic) -> Result<()> {
    sql.prepare_cached(
        "INSERT INTO topics (name, keep) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET keep = excluded.keep",
    )?
    .execute(params![topic.name, Keep::of(topic).to_column()])?;
    let mut part =
        sql.prepare_cached("INSERT OR IGNORE INTO parts (topic, partition) VALUES (?1, ?2)")?;
    for partition in 0..topic.partitions {
        part.execute(params![topic.name, partition])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::worker::Shelf;
    use crate::embedded::{EmbeddedLog, Options};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    /// A log with the topic `t`, and a worker's pass.
    fn log(dir: &Path) -> (Arc<EmbeddedLog>, Pass) {
        let log = EmbeddedLog::open(dir, Options::default()).unwrap();
        let sql = "INSERT INTO topics (name) VALUES ('t'); INSERT INTO parts (topic, partition) VALUES ('t', 0)";
        let mut writer = lock(&log.inner.writer);
        writer.connection.execute_batch(sql).unwrap();
        writer.seen = None;
        drop(writer);
        (log, Pass { id: "w".into(), epoch: 1, group: "g".into() })
    }

    fn work(bytes: usize) -> Transaction {
        let mut work = Transaction::default();
        let topic = work.register("t", 1);
        work.to(topic, b"k").push(b"k", Some(&vec![7; bytes]));
        work.progress.insert(TopicPartition::new("t", 0), 9);
        work
    }

    #[test]
    fn a_full_disk_and_a_busy_file_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (log, pass) = log(dir.path());
        let (inner, at) = (&log.inner, TopicPartition::new("t", 0));
        inner.enter("w").unwrap();
        let limit = |pages: u32| {
            let pragma = format!("PRAGMA max_page_count = {pages}");
            lock(&inner.writer).connection.query_row(&pragma, [], |_| Ok(())).unwrap();
        };
        limit(40);
        let full = inner.append(&pass, &work(1 << 20)).unwrap_err();
        assert!(matches!(&full, CommitError::Abort(text) if text.contains("free space")), "{full}");
        assert_eq!((inner.span(&at).unwrap().end, inner.committed("g", &at).unwrap()), (0, None));
        limit(1 << 30);

        lock(&inner.writer).connection.busy_timeout(Duration::ZERO).unwrap();
        let other = Connection::open(&inner.file).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let busy = inner.append(&pass, &work(1)).unwrap_err();
        assert!(matches!(busy, CommitError::Retriable(_)), "{busy}");
        other.execute_batch("ROLLBACK").unwrap();

        inner.append(&pass, &work(1 << 20)).unwrap();
        assert_eq!(
            (inner.span(&at).unwrap().end, inner.committed("g", &at).unwrap()),
            (1, Some(9))
        );
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = log(dir.path());
        lock(&log.inner.writer).connection.pragma_update(None, "user_version", 2).unwrap();
        drop(log);
        let refused = EmbeddedLog::open(dir.path(), Options::default()).err().unwrap().to_string();
        assert!(refused.contains("version 2") && refused.contains("newer tocsin"), "{refused}");
    }
}
