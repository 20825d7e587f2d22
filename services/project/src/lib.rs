//! From facts to tables. A projection turns one topic's facts into rows; every row is absolute, so
//! the tables can be dropped and made again by reading the log from its start. Publishes nothing.
//!
//! Read in this order: what a projection is, which there are, how they are run and rebuilt.

pub mod projection;
pub mod projections;
pub mod tables;
pub mod totals;

mod rebuild;
mod step;

pub use projection::Projection;
pub use projections::PROJECTIONS;
pub use rebuild::{Prepared, RebuildError, are_ready, prepare, rebuild};
pub use step::{ProjectStep, StoreSink, topology};
