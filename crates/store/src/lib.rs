//! The projection store: tables as values, writes as data. One contract, [`Store`], and behind it
//! one SQLite file, [`SqliteStore`], or a cluster that speaks CQL, [`CqlStore`]. Knows no
//! projection and no topic.
//!
//! Read in this order: what a table is, what can be asked and written, which of many writes stand,
//! how SQLite does it, how a cluster does it.

pub mod cql;
mod newest;
pub mod sqlite;
pub mod store;
pub mod table;
pub mod value;

pub use cql::{CqlOptions, CqlStore, Dialect, Replication};
pub use sqlite::SqliteStore;
pub use store::{Query, Store, StoreError, Version, Write};
pub use table::{Order, TableSpec};
pub use value::{Row, Type, Value};
