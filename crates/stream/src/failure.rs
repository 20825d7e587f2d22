//! Why a processor cannot go on. What it can go on after is no failure.

use crate::log::{CommitError, LogError};
use tocsin_domain::TopicPartition;

/// Why a processor cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The topology does not fit topics.yaml.
    #[error("{}", .0.join("\n"))]
    Topology(Vec<String>),
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The transaction can never be committed by this worker.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The rows cannot be written now.
    #[error("cannot write the projections now: {0}")]
    Away(String),
    /// The rows can never be written.
    #[error("cannot write the projections: {0}")]
    Sink(String),
    /// There is state, but nobody knows up to which input.
    #[error(
        "{0} holds state, but its group has no offsets any more: they were deleted, or expired while nothing ran. For `project`, run `tocsin projections rebuild`. Otherwise, to go on from the inputs' first records, delete the records of the changelog as well; to go on elsewhere, set the offsets of the group"
    )]
    Offsets(TopicPartition),
    /// A record of a changelog cannot be read.
    #[error(
        "{0} holds a state that this version cannot read: it was written by a newer version, or by something else"
    )]
    State(TopicPartition),
}
