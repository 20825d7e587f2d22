//! Data sets of several files that refer to each other: declared in `[[datasets]]`, uploaded whole,
//! judged as a whole. Each row is an event with file and line, between the notes that its set was
//! opened and closed; what is wrong is told, and no row is lost.
//!
//! Read in this order: what is declared ([`settings`]), what a file is made of ([`text`],
//! [`layout`], [`cell`]), its rows ([`table`]) and what is wrong with them ([`judge`], [`finding`]),
//! then one upload: its files ([`upload`]), the passes over them ([`plan`]), and [`load`], which
//! writes. Uploads come by [`http`], whose they are says an [`account`], by command, and by
//! [`folder`]. What a dead letter is today, `again` says.

pub mod account;
mod again;
pub mod cell;
pub mod finding;
pub mod folder;
pub mod http;
pub mod judge;
pub mod layout;
pub mod load;
mod paced;
pub mod plan;
mod press;
pub mod receipt;
pub mod report;
mod seats;
pub mod settings;
mod spool;
pub mod table;
pub mod text;
pub mod upload;

pub(crate) use again::Again;
pub use finding::{Finding, Kind};
pub use load::{Loaded, Loader};
pub use report::Report;
pub use settings::{DatasetConfig, section};
pub use upload::Upload;

use crate::IngestError;

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It is not what the set declares; nothing of it was written.
    #[error("data set `{set}`: {reason}")]
    Refused {
        /// The set.
        set: String,
        /// What was found, and what is allowed.
        reason: String,
    },
    /// It is over a limit; nothing of it was written.
    #[error("data set `{set}`: {reason}")]
    TooLarge {
        /// The set.
        set: String,
        /// Which limit, and where it is set.
        reason: String,
    },
    /// Whoever uploads it is paused; what was written stays.
    #[error("data set `{set}`: whoever uploads it is paused, because {reason}")]
    Paused {
        /// The set.
        set: String,
        /// Why.
        reason: String,
    },
    /// The log does not take it, or somebody said stop; what was written stays.
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

#[cfg(test)]
pub(crate) mod tests;
