//! What a projection store promises. Writes are absolute and carry a version: the greatest version
//! wins, whatever the order and however often they are made. So a replay gives the same rows.

use crate::table::TableSpec;
use crate::value::{Row, Value};

/// Tables that can be created, written, read by partition, and dropped.
pub trait Store: Send + Sync {
    /// Creates the tables that do not exist yet.
    fn create(&self, tables: &[&'static TableSpec]) -> Result<(), StoreError>;

    /// Drops every table and every mark, those of older versions of the program too.
    fn drop_all(&self) -> Result<(), StoreError>;

    /// Writes all of it, durably. After an error some of it may stand, though never a part of a
    /// row; the same call may then be made again. Nothing is written if one row does not fit.
    ///
    /// Of several writes to one row the one with the greatest [`Version`] stands, and of equal
    /// versions the greater row: not the last, because a store may write in any order.
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
    /// Anything that grows as the row gets newer.
    pub version: Version,
}

/// How new a row is: by the first number, and of equals by the second. One number stands for
/// itself and 0. Mostly the microseconds of the fact's time, then those of its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub(crate) first: i64,
    /// Not negative, so that its bytes are in the order of the numbers.
    pub(crate) then: i64,
}

impl From<i64> for Version {
    fn from(first: i64) -> Version {
        Version { first, then: 0 }
    }
}

/// The second number is at least 0: a smaller one counts as 0.
impl From<(i64, i64)> for Version {
    fn from((first, then): (i64, i64)) -> Version {
        Version { first, then: then.max(0) }
    }
}

impl Write {
    /// The write of a row that no older version may replace.
    pub fn new<const N: usize>(
        table: &'static TableSpec,
        version: impl Into<Version>,
        row: [Value; N],
    ) -> Write {
        Write { table, row: row.into(), version: version.into() }
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

    /// Says why the table cannot answer; `None` if it can.
    pub(crate) fn fault(&self) -> Option<String> {
        let table = self.table;
        if self.partition.len() != table.partition_key.len() {
            return Some("is read by its whole partition key".to_owned());
        }
        let clustering: Vec<&str> = table.clustering_key.iter().map(|(name, _)| *name).collect();
        let ranged = self.from.is_some() || self.until.is_some();
        if self.after.len() > clustering.len() || (clustering.is_empty() && ranged) {
            return Some(format!("has {} clustering columns", clustering.len()));
        }
        let bounds = [&self.from, &self.until].into_iter().flatten().map(|bound| (0, bound));
        let ordered = bounds.chain(self.after.iter().enumerate());
        let asked = ordered.map(|(at, value)| (clustering[at], value));
        let mut asked = asked.chain(table.partition_key.iter().copied().zip(self.partition));
        asked.find_map(|(name, value)| {
            let kind = table.columns.get(table.column(name)?)?.1;
            let fits = *value != Value::Null && value.fits(kind);
            (!fits).then(|| format!("cannot be asked for {value:?} in {name} ({kind:?})"))
        })
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
