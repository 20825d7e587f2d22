//! Making the tables, and making them again. One rule covers the first start, a new version, a lost
//! file and a rebuild that was cut short: what is not marked complete is dropped and read again
//! from the start of the log. The service must not run meanwhile.
//!
//! Facts that retention has dropped from the log are not in the rebuilt tables.

use crate::projections::all_tables;
use crate::step::topology;
use std::collections::BTreeSet;
use tocsin_domain::topics::PROJECT_TOTALS_CHANGELOG;
use tocsin_domain::{Id, TopicPartition};
use tocsin_store::{Store, StoreError};
use tocsin_stream::log::{CommitError, Transaction, WorkerSpec};
use tocsin_stream::{Log, LogError};

/// The mark of tables that hold everything up to the group's progress.
const MARK: &str = "project";
/// Grows when a projection writes other values into the same columns, or a store keeps them otherwise.
const VERSION: u32 = 2;

/// What was done to the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// They are as they should be.
    Kept,
    /// They are empty and the service will read the log from its start.
    Reset,
}

/// Why the tables cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The progress could not be put back.
    #[error("cannot put the progress of the projections back to the start of the log: {0}")]
    Commit(#[from] CommitError),
}

/// Makes the tables ready for the service; call it before each start.
pub fn prepare(log: &dyn Log, store: &dyn Store) -> Result<Prepared, RebuildError> {
    if store.mark(MARK)? == Some(mark()) {
        return Ok(Prepared::Kept);
    }
    rebuild(log, store)?;
    Ok(Prepared::Reset)
}

/// Drops the tables, the sums and the progress. The service then fills the tables again.
pub fn rebuild(log: &dyn Log, store: &dyn Store) -> Result<(), RebuildError> {
    // The mark goes first and comes back last: whatever is cut short in between is begun again.
    store.drop_all()?;
    store.create(&all_tables())?;
    forget(log)?;
    Ok(store.set_mark(MARK, &mark())?)
}

/// Deletes the sums and puts the progress back, in one transaction and as the service itself.
fn forget(log: &dyn Log) -> Result<(), RebuildError> {
    let topology = topology();
    let (id, group) = (format!("{}-0", topology.service), topology.service.to_owned());
    let mut worker = log.worker(&WorkerSpec { id, group, inputs: Vec::new() })?;
    let mut transaction = Transaction::default();
    let partitions = log.partitions(PROJECT_TOTALS_CHANGELOG)?;
    let changelog = transaction.register(PROJECT_TOTALS_CHANGELOG, partitions);
    for partition in 0..partitions {
        let keys = keys(log, &TopicPartition::new(PROJECT_TOTALS_CHANGELOG, partition))?;
        let out = transaction.to_partition(changelog, partition);
        keys.iter().for_each(|key| out.push(key, None));
    }
    for topic in topology.inputs {
        for partition in 0..log.partitions(topic)? {
            let at = TopicPartition::new(topic, partition);
            let start = log.span(&at)?.start;
            transaction.progress.insert(at, start);
        }
    }
    Ok(worker.commit(&mut transaction)?)
}

/// The keys that have a state.
fn keys(log: &dyn Log, at: &TopicPartition) -> Result<BTreeSet<Vec<u8>>, LogError> {
    let mut keys = BTreeSet::new();
    log.scan_all(at, |record| {
        match record.value {
            Some(_) => keys.insert(record.key.to_vec()),
            None => keys.remove(record.key),
        };
        Ok::<(), LogError>(())
    })?;
    Ok(keys)
}

/// Names the tables as they are written today.
fn mark() -> String {
    let tables = format!("{VERSION} {:?}", all_tables());
    Id::of("projections", &[tables.as_bytes()]).to_string()
}
