//! The projection store: tables as values, writes as data. One contract, [`Store`], and the
//! embedded implementation behind it, [`SqliteStore`]. Knows no projection and no topic.
//!
//! Read in this order: what a table is, what can be asked and written, how SQLite does it.

pub mod sqlite;
pub mod store;
pub mod table;
pub mod value;

pub use sqlite::SqliteStore;
pub use store::{Query, Store, StoreError, Write};
pub use table::{Order, TableSpec};
pub use value::{Row, Type, Value};
