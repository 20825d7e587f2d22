//! How far a file has been imported: a record in a compacted topic, committed together with the
//! events up to there.

use crate::source::Mark;
use serde::{Deserialize, Serialize};
use tocsin_domain::partition::partition_of;
use tocsin_domain::{Id, TopicPartition};
use tocsin_stream::{Log, LogError};

/// Where cursors are.
pub const TOPIC: &str = tocsin_domain::topics::INGEST_CURSORS_CHANGELOG;

/// How much is read at once when a cursor is looked for.
const READ_BYTES: usize = 1 << 20;

/// How far one file has been imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The file's size on disk when it was opened.
    pub size: u64,
    /// Of its first bytes.
    pub fingerprint: Id,
    /// How far it was read.
    pub mark: Mark,
    /// Whether it was read to its end.
    pub done: bool,
}

/// The key of a file's cursor.
pub fn key(tenant: &str, source: &str, file: &str) -> Vec<u8> {
    format!("{tenant}/{source}/{file}").into_bytes()
}

/// The latest cursor under `key`, if there is one that can be read.
///
/// # Errors
/// Those of the log.
pub fn find(log: &dyn Log, key: &[u8]) -> Result<Option<Cursor>, LogError> {
    let at = TopicPartition::new(TOPIC, partition_of(key, log.partitions(TOPIC)?));
    let span = log.span(&at)?;
    let mut next = span.start;
    let mut latest = None;
    while next < span.end {
        let batch = log.read(&at, next, READ_BYTES)?;
        for record in batch.records().filter(|record| record.key == key) {
            latest = record.value.and_then(|value| serde_json::from_slice(value).ok());
        }
        if batch.next <= next {
            break;
        }
        next = batch.next;
    }
    Ok(latest)
}
