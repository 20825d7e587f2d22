//! Making the tables, and making them again. One rule covers the first start, a new version, a lost
//! file and a rebuild that was cut short: what is not marked complete is dropped and read again
//! from the start of the log. The service must not run meanwhile.
//!
//! Facts that retention has dropped from the log are not in the rebuilt tables.

use crate::projections::all_tables;
use crate::step::topology;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tocsin_domain::topics::PROJECT_TOTALS_CHANGELOG;
use tocsin_domain::{Id, TopicPartition};
use tocsin_store::{Store, StoreError};
use tocsin_stream::log::{CommitError, Polled, Transaction, Worker, WorkerSpec};
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
    /// Somebody else has partitions of the group.
    #[error(
        "cannot make the tables anew: other `project` processes run ({found} of {wanted} partitions came within {} s); stop them all, then try again",
        ALONE_WITHIN.as_secs()
    )]
    NotAlone {
        /// Partitions that came.
        found: u32,
        /// Partitions that there are.
        wanted: u32,
    },
    /// The progress could not be put back.
    #[error("cannot put the progress of the projections back to the start of the log: {0}")]
    Commit(#[from] CommitError),
}

/// How long the last process of the group may take to be forgotten by the log.
const ALONE_WITHIN: Duration = Duration::from_secs(45);

/// Whether the tables are those that this version writes. If not, [`prepare`] makes them.
///
/// # Errors
/// If the store does not answer.
pub fn are_ready(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.mark(MARK)? == Some(mark()))
}

/// Makes the tables ready for the service, once, while none of its processes runs.
pub fn prepare(log: &dyn Log, store: &dyn Store) -> Result<Prepared, RebuildError> {
    if are_ready(store)? {
        return Ok(Prepared::Kept);
    }
    rebuild(log, store)?;
    Ok(Prepared::Reset)
}

/// Drops the tables, the sums and the progress. The service then fills the tables again.
pub fn rebuild(log: &dyn Log, store: &dyn Store) -> Result<(), RebuildError> {
    let mut worker = alone(log)?;
    // The mark goes first and comes back last: whatever is cut short in between is begun again.
    store.drop_all()?;
    store.create(&all_tables())?;
    forget(log, &mut *worker)?;
    Ok(store.set_mark(MARK, &mark())?)
}

/// A worker that has every partition of the service: as long as another process writes rows, the
/// tables must not be dropped.
fn alone(log: &dyn Log) -> Result<Box<dyn Worker>, RebuildError> {
    let topology = topology();
    let (id, group) = (format!("{}-0", topology.service), topology.service.to_owned());
    let wanted =
        topology.inputs.iter().map(|topic| log.partitions(topic)).collect::<Result<Vec<_>, _>>()?;
    let wanted = wanted.into_iter().max().unwrap_or_default();
    let inputs = topology.inputs.iter().map(|topic| (*topic).into()).collect();
    let mut worker = log.worker(&WorkerSpec { id, group, inputs })?;
    let (mut ours, until) = (BTreeSet::new(), Instant::now() + ALONE_WITHIN);
    while (ours.len() as u32) < wanted {
        match worker.poll(1, Duration::from_millis(250))? {
            Polled::Assigned(partitions) => ours.extend(partitions),
            Polled::Revoked { partitions, .. } => ours.retain(|one| !partitions.contains(one)),
            // They are read again: the progress goes back to the start.
            Polled::Records(_) => {}
        }
        if Instant::now() > until {
            return Err(RebuildError::NotAlone { found: ours.len() as u32, wanted });
        }
    }
    Ok(worker)
}

/// Deletes the sums and puts the progress back, in one transaction and as the service itself.
fn forget(log: &dyn Log, worker: &mut dyn Worker) -> Result<(), RebuildError> {
    let topology = topology();
    let mut transaction = Transaction::default();
    let partitions = log.partitions(PROJECT_TOTALS_CHANGELOG)?;
    let changelog = transaction.register(PROJECT_TOTALS_CHANGELOG, partitions);
    // What the last process has committed must go as well.
    log.settle_topics(&[PROJECT_TOTALS_CHANGELOG])?;
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
