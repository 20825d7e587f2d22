//! A table as a value: the same value gives SQLite's statements here and CQL on a cluster. A
//! partition is what one read asks for; within it rows stand in the order of the clustering key.

use crate::value::{Row, Type, Value};

/// The most bytes that the texts of a key may have together. What a cluster cannot keep is refused
/// everywhere.
const KEY_MAX: usize = 60_000;

/// A table. Its rows are found by the whole partition key and by nothing else.
#[derive(Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Lower-case words with `_` between them.
    pub name: &'static str,
    /// Every column and its type, in the order of a [`Row`].
    pub columns: &'static [(&'static str, Type)],
    /// The columns that say in which partition a row stands; at least one.
    pub partition_key: &'static [&'static str],
    /// The columns that order the rows of a partition and tell them apart; may be empty.
    pub clustering_key: &'static [(&'static str, Order)],
}

/// The order of a clustering column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

impl Order {
    /// The other one.
    pub fn reversed(self) -> Order {
        match self {
            Order::Asc => Order::Desc,
            Order::Desc => Order::Asc,
        }
    }
}

impl TableSpec {
    /// Where a column stands in a row.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(column, _)| *column == name)
    }

    /// The columns of the key: the partition key, then the clustering key.
    pub fn key(&self) -> impl Iterator<Item = &'static str> {
        let clustering = self.clustering_key.iter().map(|(column, _)| *column);
        self.partition_key.iter().copied().chain(clustering)
    }

    /// What tells the row apart from every other row of the table.
    pub fn key_of<'r>(&self, row: &'r Row) -> Vec<&'r Value> {
        self.key().filter_map(|name| row.get(self.column(name)?)).collect()
    }

    /// The values of the clustering key: what a reader goes on after.
    pub fn cursor(&self, row: &Row) -> Vec<Value> {
        let names = self.clustering_key.iter();
        names.filter_map(|(name, _)| row.get(self.column(name)?).cloned()).collect()
    }

    /// A column of a row by its name; null if there is no such column.
    pub fn get<'r>(&self, row: &'r Row, column: &str) -> &'r Value {
        self.column(column).and_then(|at| row.get(at)).unwrap_or(&Value::Null)
    }

    /// A row as a JSON object with the columns' names.
    pub fn json(&self, row: &Row) -> serde_json::Value {
        let fields = self.columns.iter().zip(row);
        fields.map(|((name, _), value)| ((*name).to_owned(), value.json())).collect()
    }

    /// Says why a row cannot stand in the table; `None` if it can.
    pub fn fault(&self, row: &Row) -> Option<String> {
        if row.len() != self.columns.len() {
            return Some(format!("has {} values for {} columns", row.len(), self.columns.len()));
        }
        let wrong = |((name, kind), value): (&(&str, Type), &Value)| {
            let null_key = *value == Value::Null && self.key().any(|key| key == *name);
            (null_key || !value.fits(*kind)).then(|| format!("has {value:?} in {name} ({kind:?})"))
        };
        let wrong = self.columns.iter().zip(row).find_map(wrong);
        wrong.or_else(|| self.key_fault(self.key_of(row)))
    }

    /// Says why no row can have a key that consists of, or begins with, these values.
    pub(crate) fn key_fault<'v>(&self, key: impl IntoIterator<Item = &'v Value>) -> Option<String> {
        let sizes: Vec<Option<usize>> = key.into_iter().map(Value::text_size).collect();
        if self.partition_key.len() == 1 && sizes.first() == Some(&Some(0)) {
            return Some(format!("has an empty text in {}, its partition", self.partition_key[0]));
        }
        let size: usize = sizes.iter().flatten().sum();
        (size > KEY_MAX)
            .then(|| format!("has a key of {size} bytes; at most {KEY_MAX} are allowed"))
    }
}
