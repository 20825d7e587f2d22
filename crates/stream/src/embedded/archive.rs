//! A whole log in one file, to be carried elsewhere: a consistent copy, made while others go on
//! writing. It is read like any log and never written; it is a `log.db`, so it needs nothing of its own.

use super::errors::{reading, writing};
use super::schema::{self, open_reader};
use super::{EmbeddedLog, Inner, Options, Shelf, before_commit};
use crate::embedded::catalog::offset;
use crate::log::{Log, LogError, Span, Worker, WorkerSpec};
use crate::record::Batch;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topic;

/// A log that was exported.
pub struct Archive(Arc<Inner>);

/// How far a group has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Whose progress it is.
    pub group: String,
    /// In which partition.
    pub at: TopicPartition,
    /// The offset that it goes on from.
    pub next: u64,
}

impl Archive {
    /// Copies the log in `dir` as it is at this moment into `file`, which must be new or empty.
    ///
    /// # Errors
    /// If one of the two cannot be read or written.
    pub fn write(dir: &Path, file: &Path) -> Result<(), LogError> {
        let log = dir.join("log.db");
        let failed = |error| {
            let text = writing(before_commit(&log, &error)).to_string();
            LogError::Unavailable(format!("cannot export into {}: {text}", file.display()))
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&log, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        let name = file.to_str().ok_or_else(|| {
            LogError::Refused(format!("{}: the name must be UTF-8", file.display()))
        })?;
        connection.execute("VACUUM INTO ?1", [name]).map_err(failed)?;
        let synced = std::fs::File::open(file).and_then(|file| file.sync_all());
        synced.map_err(|error| {
            LogError::Unavailable(format!("cannot write {}: {error}", file.display()))
        })
    }

    /// Opens a file that was exported.
    ///
    /// # Errors
    /// [`LogError::Refused`] if it is none, or comes from a newer Tocsin.
    pub fn open(file: &Path) -> Result<Archive, LogError> {
        let refused = |what: String| {
            let file = file.display();
            LogError::Refused(format!(
                "cannot read {file}: {what}; name a file that `tocsin export` made"
            ))
        };
        let connection = open_reader(file).map_err(|error| refused(error.to_string()))?;
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        match version {
            Ok(schema::VERSION) => {}
            Ok(0) => return Err(refused("it is empty, or no log".to_owned())),
            Ok(found) => {
                let known = schema::VERSION;
                return Err(refused(format!(
                    "it has version {found}, and this tocsin knows version {known}"
                )));
            }
            Err(error) => return Err(refused(error.to_string())),
        }
        let log = EmbeddedLog::on(file.to_owned(), connection, Options::default())?;
        Ok(Archive(log.inner.clone()))
    }

    /// Every partition that it has, in order.
    pub fn places(&self) -> Vec<TopicPartition> {
        let mut all: Vec<_> = self.0.catalog().parts().into_iter().map(|(at, _)| at).collect();
        all.sort();
        all
    }

    /// How far each group had come.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn stands(&self) -> Result<Vec<Stand>, LogError> {
        let found = self.0.readers.with(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT o.team, p.topic, p.partition, o.next FROM offsets o
                 JOIN parts p ON p.id = o.part ORDER BY o.team, p.topic, p.partition",
            )?;
            let stands = statement.query_map([], |row| {
                let at = TopicPartition::new(row.get_ref(1)?.as_str()?, row.get(2)?);
                Ok(Stand { group: row.get(0)?, at, next: offset(row.get(3)?) })
            })?;
            Ok(stands.collect::<rusqlite::Result<Vec<_>>>()?)
        });
        found.map_err(|stop| match stop {
            super::Stop::Because(error) => error,
            super::Stop::Sql(error) => reading(&self.0.file, &error),
        })
    }
}

impl Log for Archive {
    fn create_topics(&self, _: &[&Topic]) -> Result<(), LogError> {
        Err(only_read())
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Shelf::partitions(&*self.0, topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        Shelf::span(&*self.0, at)
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        let limit = super::Limit { bytes: max_bytes, records: usize::MAX };
        Shelf::read(&*self.0, at, from, limit)
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        std::thread::sleep(timeout);
        seen
    }

    fn worker(&self, _: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
        Err(only_read())
    }
}

fn only_read() -> LogError {
    LogError::Refused("an exported log is only read: move it with `tocsin import-log`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transaction;
    use crate::fingerprint::{Fingerprint, View};
    use tocsin_domain::topics::{ALERTS, Topics};

    #[test]
    fn it_is_the_log_of_one_moment_while_others_write_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), Options::default()).unwrap();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let at = TopicPartition::new(ALERTS, 3);
        let spec = WorkerSpec { id: "w".into(), group: "g".into(), ..WorkerSpec::default() };
        let mut worker = log.worker(&spec).unwrap();
        let mut commit = |key: &[u8], next| {
            let mut work = Transaction::default();
            let topic = work.register(ALERTS, 8);
            work.to_partition(topic, 3).push(key, Some(b"v"));
            work.progress.insert(at.clone(), next);
            worker.commit(&mut work).unwrap();
        };
        commit(b"a", 7);
        let before = Fingerprint::take(&*log, &at, View::Records).unwrap();
        let file = dir.path().join("moved");
        Archive::write(dir.path(), &file).unwrap();
        commit(b"b", 8);

        let archive = Archive::open(&file).unwrap();
        assert!(!dir.path().join("moved-wal").exists(), "one file is all there is");
        assert_eq!(Fingerprint::take(&archive, &at, View::Records).unwrap(), before);
        assert_ne!(Fingerprint::take(&*log, &at, View::Records).unwrap(), before);
        assert_eq!(archive.stands().unwrap(), [Stand { group: "g".into(), at, next: 7 }]);
        assert_eq!(archive.places().len(), log.inner.catalog().parts().len());
        assert!(archive.worker(&spec).is_err());
        let refused = Archive::write(dir.path(), &file).unwrap_err().to_string();
        assert!(refused.contains("moved"), "{refused}");
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("empty", &b""[..]), ("text", &[b'x'; 9000])] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        for name in ["empty", "text", "nowhere"] {
            let refused = Archive::open(&dir.path().join(name)).err().unwrap().to_string();
            assert!(refused.contains(name) && refused.contains("tocsin export"), "{refused}");
        }
    }
}
