//! The log, the topology and the loop that runs steps over it, exactly once.
//!
//! Read in this order: what a record is, what a log promises, what a topology says, what a step may
//! do, and then [`processor`], the one loop that performs what steps ask for.

pub mod chunk;
pub mod record;

pub mod log;

pub mod embedded;
pub mod fingerprint;
pub mod kafka;
pub mod letters;
pub mod memory;
pub mod replay;
pub mod transfer;

pub mod effects;
mod scan;
pub mod state;
pub mod step;
pub mod table;
pub mod topology;

pub mod crash;
mod early;
mod failure;
mod held;
mod partition;
pub mod processor;
pub mod progress;
pub mod schemas;
pub mod snapshot;
mod standby;
mod terms;
pub mod time;

pub use chunk::{Chunk, ChunkBuilder};
pub use effects::Effects;
pub use log::{CommitError, Log, LogError, Polled, Span, Transaction, Worker, WorkerSpec};
pub use progress::{Observer, Progress};
pub use record::{Batch, Record};
pub use scan::SETTLES;
pub use schemas::{Known, Schemas};
pub use step::{Need, Poison, Step};
pub use topology::Topology;
