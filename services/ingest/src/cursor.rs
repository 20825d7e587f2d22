//! How far a file has been imported: a record in a compacted topic, committed together with the
//! events up to there.

use crate::input::{self, Input};
use crate::source::Mark;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::io;
use std::path::Path;
use tocsin_domain::partition::partition_of;
use tocsin_domain::{Id, TopicPartition};
use tocsin_stream::{Log, LogError};

/// Where cursors are.
pub const TOPIC: &str = tocsin_domain::topics::INGEST_CURSORS_CHANGELOG;

/// How far one file has been imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The file's size on disk when it was opened.
    pub size: u64,
    /// Of these bytes, all of them.
    pub fingerprint: Id,
    /// How far it was read.
    pub mark: Mark,
    /// Whether it was read to its end.
    pub done: bool,
}

impl Cursor {
    /// The start of `input`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn start(input: &Input) -> io::Result<Cursor> {
        let fingerprint = input::fingerprint(&input.path, input.size)?;
        Ok(Cursor { size: input.size, fingerprint, mark: Mark::default(), done: false })
    }

    /// Where `input` goes on: at the mark if this is the same file, or one that has only grown;
    /// at its start if what was there has changed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn resume(self, input: &Input) -> io::Result<Cursor> {
        let start = Cursor::start(input)?;
        let known = match self.size.cmp(&input.size) {
            Ordering::Greater => return Ok(start),
            Ordering::Equal => start.fingerprint,
            Ordering::Less => input::fingerprint(&input.path, self.size)?,
        };
        if known != self.fingerprint {
            return Ok(start);
        }
        let done = self.done && self.size == input.size;
        Ok(Cursor { mark: self.mark, done, ..start })
    }
}

/// The key of the cursor of the file at `path`, which is whole: files of one name in two
/// directories are two files.
pub fn key(tenant: &str, source: &str, path: &Path) -> Vec<u8> {
    format!("{tenant}/{source}/{}", path.display()).into_bytes()
}

/// The latest cursor under `key`, if there is one that can be read.
///
/// # Errors
/// Those of the log.
pub fn find(log: &dyn Log, key: &[u8]) -> Result<Option<Cursor>, LogError> {
    let at = TopicPartition::new(TOPIC, partition_of(key, log.partitions(TOPIC)?));
    let mut latest = None;
    log.scan_all(&at, |record| {
        if record.key == key {
            latest = record.value.and_then(|value| serde_json::from_slice(value).ok());
        }
        Ok::<(), LogError>(())
    })?;
    Ok(latest)
}
