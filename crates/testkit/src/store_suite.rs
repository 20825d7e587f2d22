//! What every projection store promises, promise by promise. The embedded store and the one of a
//! cluster are held to it by the same code, so nothing here knows which of them it talks to.

#![allow(clippy::panic, reason = "a promise that is broken fails the test")]

mod reads;
mod writes;

use std::error::Error;
use std::sync::Arc;
use tocsin_store::{Order, Row, Store, TableSpec, Type, Value, Version, Write};

/// Gives a store without tables and marks, which the promise has for itself.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Store>;
/// An error that the store gave where it should not have. What is wrong otherwise is asserted.
pub type Outcome = Result<(), Box<dyn Error>>;
/// One promise.
pub type Promise = fn(Make<'_>) -> Outcome;

/// Every promise with its name.
pub const ALL: &[(&str, Promise)] = &[
    ("the same rows stand whatever the order of the writes", writes::order_decides_nothing),
    ("a row is never made of two", writes::rows_are_whole),
    ("writing again changes nothing", writes::repeats_change_nothing),
    ("a null stands over an older value", writes::nulls_overwrite),
    ("every value comes back as it was", writes::values_come_back),
    ("what does not fit is refused, and nothing is written", writes::misfits_are_refused),
    ("twenty thousand writes in one call", writes::many_at_once),
    ("writers on four threads agree", writes::concurrent_writers),
    ("a partition is read in its order, page by page", reads::pages),
    ("a range is read from both ends", reads::ranges),
    ("a question that makes no sense is refused", reads::nonsense_is_refused),
    ("a partition of ten thousand rows", reads::large_partition),
    ("a dump is in the order of the key", reads::dumps_are_ordered),
    ("marks are kept, and go with the tables", reads::marks_and_drop),
    ("creating what exists changes nothing", reads::creating_again),
];

/// Holds a store to every promise.
pub fn run(make: Make<'_>) {
    for (name, promise) in ALL {
        let outcome = promise(make);
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}

/// Prices of a shop, newest day first: a key of every kind of order, and values of every type.
pub static PRICES: TableSpec = TableSpec {
    name: "prices",
    columns: &[
        ("price", Type::Text),
        ("shop", Type::Text),
        ("day", Type::Int),
        ("id", Type::Text),
        ("sold", Type::Int),
        ("fresh", Type::Bool),
        ("at", Type::Time),
    ],
    partition_key: &["shop"],
    clustering_key: &[("day", Order::Desc), ("id", Order::Asc)],
};

/// A table whose rows are all key.
static SEEN: TableSpec = TableSpec {
    name: "seen",
    columns: &[("who", Type::Text), ("at", Type::Time)],
    partition_key: &["who"],
    clustering_key: &[("at", Order::Asc)],
};

/// A table with one row in each partition, found by two columns.
static LATEST: TableSpec = TableSpec {
    name: "latest",
    columns: &[("a", Type::Int), ("b", Type::Bool), ("text", Type::Text)],
    partition_key: &["b", "a"],
    clustering_key: &[],
};

/// A price with nothing else in its row.
pub fn price(key: (&str, i64, &str), price: &str, version: impl Into<Version>) -> Write {
    let (shop, day, id) = key;
    let row =
        [price.into(), shop.into(), day.into(), id.into(), Value::Null, Value::Null, Value::Null];
    Write::new(&PRICES, version, row)
}

/// A new store with the tables of the suite.
fn store(make: Make<'_>) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let store = make();
    store.create(&[&PRICES, &SEEN, &LATEST])?;
    Ok(store)
}

/// The column `price` of every row.
fn prices(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row[0].text()).collect()
}
