//! What is known of an upload: how far it was written, and its report once it is whole. A record in
//! the topic of cursors, committed together with the rows up to there.

use super::report::Report;
use crate::cursor;
use serde::{Deserialize, Serialize};
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::{Log, LogError};

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its id, which says what bytes it is.
    pub upload: Id,
    /// When it was begun: the event time of the note that its set is opened.
    pub begun: Micros,
    /// Rows of every kind that are written.
    pub rows: u64,
    /// Whether all of it is.
    pub done: bool,
    /// What came of it, once it is done.
    pub report: Option<Report>,
}

impl Receipt {
    /// Nothing is written yet.
    pub fn begin(upload: Id, begun: Micros) -> Receipt {
        Receipt { upload, begun, rows: 0, done: false, report: None }
    }

    /// The event time of row number `row` of the upload, from 1; 0 is the note that it is opened.
    /// No two are the same, so that a subject's time goes on with each of them.
    pub fn time(&self, row: u64) -> Micros {
        Micros(self.begun.0.saturating_add(i64::try_from(row).unwrap_or(i64::MAX)))
    }
}

/// What keys of the uploads of a set begin with.
fn prefix(tenant: &str, set: &str) -> String {
    format!("{tenant}/datasets/{set}/")
}

/// The key of an upload.
pub fn key(tenant: &str, set: &str, upload: Id) -> Vec<u8> {
    format!("{}{upload}", prefix(tenant, set)).into_bytes()
}

/// What is known of one upload.
///
/// # Errors
/// Those of the log.
pub fn find(
    log: &dyn Log,
    (tenant, set): (&str, &str),
    upload: Id,
) -> Result<Option<Receipt>, LogError> {
    let (wanted, mut latest) = (key(tenant, set, upload), None);
    scan(log, |key, value| {
        if key == wanted {
            latest = value.and_then(|value| serde_json::from_slice(value).ok());
        }
    })?;
    Ok(latest)
}

/// The uploads of a set, the first one first, without their findings.
///
/// # Errors
/// Those of the log.
pub fn of_set(log: &dyn Log, tenant: &str, set: &str) -> Result<Vec<Receipt>, LogError> {
    let prefix = prefix(tenant, set);
    let mut found = std::collections::HashMap::new();
    scan(log, |key, value| {
        if !key.starts_with(prefix.as_bytes()) {
            return;
        }
        let receipt = value.and_then(|value| serde_json::from_slice::<Receipt>(value).ok());
        if let Some(mut receipt) = receipt {
            if let Some(report) = &mut receipt.report {
                report.findings = Vec::new();
            }
            found.insert(receipt.upload, receipt);
        }
    })?;
    let mut found: Vec<Receipt> = found.into_values().collect();
    found.sort_by_key(|receipt| (receipt.begun, receipt.upload));
    Ok(found)
}

fn scan(log: &dyn Log, mut see: impl FnMut(&[u8], Option<&[u8]>)) -> Result<(), LogError> {
    for partition in 0..log.partitions(cursor::TOPIC)? {
        let at = TopicPartition::new(cursor::TOPIC, partition);
        log.scan_all(&at, |record| {
            see(record.key, record.value);
            Ok::<(), LogError>(())
        })?;
    }
    Ok(())
}
