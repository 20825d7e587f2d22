//! On what terms a processor runs: its options, where its rows go, and what it says of each turn.

use crate::effects::Tally;
use crate::progress::Observer;
use crate::schemas::Schemas;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a processor runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// About how many records a transaction takes in.
    pub max_records: usize,
    /// Where snapshots are kept; `None` for no snapshots.
    pub snapshots: Option<PathBuf>,
    /// How often a snapshot is taken, by the wall clock, if the state has changed.
    pub snapshot_every: Duration,
    /// After how long without an event a subject's event time follows the wall clock.
    pub idle_after: Duration,
    /// The slot, for a group of several processes; part of the worker's stable id.
    pub slot: u32,
    /// Whether copies of the partitions that others have are kept in memory, to take them over quickly.
    pub standby: bool,
    /// Who is told how far it is.
    pub observer: Observer,
    /// Who knows what the ids of a schema registry name; without anybody, an id that a step does not
    /// know makes a dead letter.
    pub schemas: Option<Arc<dyn Schemas>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_records: 10_000,
            snapshots: None,
            snapshot_every: Duration::from_secs(60),
            idle_after: Duration::from_secs(60),
            slot: 0,
            standby: false,
            observer: Observer::default(),
            schemas: None,
        }
    }
}

/// Makes the rows that a step asked for, before the commit. Called again with the same rows after a
/// crash, so it must be idempotent.
pub trait Sink<W>: Send {
    /// Writes the rows. After an error nothing is committed, so nothing is lost.
    fn write(&mut self, rows: &mut Vec<W>) -> Result<(), SinkError>;
}

/// Why rows were not written.
#[derive(Debug)]
pub enum SinkError {
    /// It may work later: the same inputs are taken in again until it does.
    Away(String),
    /// It never will: the processor stops.
    Refused(String),
}

/// For steps that write no rows.
impl<W> Sink<W> for () {
    fn write(&mut self, rows: &mut Vec<W>) -> Result<(), SinkError> {
        rows.clear();
        Ok(())
    }
}

/// What one turn of the loop did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Inputs processed and committed.
    pub records: u64,
    /// Facts published and committed, the changelog included.
    pub published: u64,
    /// What the step counted.
    pub tally: Tally,
    /// How long the commit took; zero if there was nothing to commit.
    pub commit: Duration,
    /// Whether the transaction was dropped and will be done again.
    pub aborted: bool,
    /// How many partitions are worked on.
    pub partitions: u32,
    /// How many offsets of changelogs are still to be read before the others are, and one each.
    pub restoring: u64,
    /// How many offsets the copies of what others have are behind; `None` if none are kept.
    pub standby: Option<u64>,
}
