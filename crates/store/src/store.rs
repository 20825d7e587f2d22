//! What a projection store promises. Writes are absolute and carry a version: the last version
//! wins, whatever the order and however often they are made. So a replay gives the same rows.

use crate::table::TableSpec;
use crate::value::{Row, Value};

/// Tables that can be created, written, read by partition, and dropped.
pub trait Store: Send + Sync {
    /// Creates the tables that do not exist yet.
    fn create(&self, tables: &[&'static TableSpec]) -> Result<(), StoreError>;

    /// Drops every table and every mark, those of older versions of the program too.
    fn drop_all(&self) -> Result<(), StoreError>;

    /// Writes all of it or nothing, durably. Of several writes to one row the one with the highest
    /// version stands, and of equal versions the last.
    fn apply(&self, writes: &[Write]) -> Result<(), StoreError>;

    /// The rows that a query asks for, in the order of the clustering key.
    fn select(&self, query: &Query<'_>) -> Result<Vec<Row>, StoreError>;

    /// Every row in the order of the whole key, for comparing two stores.
    fn dump(&self, table: &'static TableSpec) -> Result<Vec<Row>, StoreError>;

    /// What was noted under a name.
    fn mark(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Notes something about the tables.
    fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError>;
}

/// One row that shall stand in its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub table: &'static TableSpec,
    /// Every column.
    pub row: Row,
    /// Mostly the microseconds of the fact's time; anything that grows as the row gets newer.
    pub version: i64,
}

impl Write {
    /// The write of a row that no older version may replace.
    pub fn new<const N: usize>(table: &'static TableSpec, version: i64, row: [Value; N]) -> Write {
        Write { table, row: row.into(), version }
    }
}

/// Rows of one partition.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Where.
    pub table: &'static TableSpec,
    /// The whole partition key.
    pub partition: &'a [Value],
    /// The first clustering column is this or greater.
    pub from: Option<Value>,
    /// The first clustering column is less than this.
    pub until: Option<Value>,
    /// Only rows after this clustering key, or after all that begin so: see [`TableSpec::cursor`].
    pub after: Vec<Value>,
    /// Whether the order of the clustering key is turned round.
    pub reversed: bool,
    /// At most so many rows.
    pub limit: usize,
}

impl<'a> Query<'a> {
    /// The first `limit` rows of a partition.
    pub fn of(table: &'static TableSpec, partition: &'a [Value], limit: usize) -> Query<'a> {
        let (from, until, after) = (None, None, Vec::new());
        Query { table, partition, from, until, after, reversed: false, limit }
    }
}

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The call is wrong: the program has to be corrected.
    #[error("table {table}: {reason}")]
    Refused {
        /// The table.
        table: &'static str,
        /// What is wrong with the call.
        reason: String,
    },
    /// The store does not answer, or says no.
    #[error("cannot {doing} the projections: {reason}")]
    Failed {
        /// `open`, `read`, `write`, …
        doing: &'static str,
        /// What it said.
        reason: String,
    },
}
