//! The embedded store and a cluster's store keep the contract; and what only a cluster's store can
//! promise: a server that goes away, tables that change, callers of every kind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tocsin_store::{CqlOptions, CqlStore, Order, Query, SqliteStore, Store, StoreError, TableSpec};
use tocsin_store::{Type, Value, Write};
use tocsin_testkit::servers::{self, Kind, Private};
use tocsin_testkit::store_suite::{self, PRICES, price};

#[test]
fn sqlite_keeps_the_contract() {
    let kept = std::cell::RefCell::new(Vec::new());
    store_suite::run(&|| {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).unwrap();
        kept.borrow_mut().push(directory);
        Arc::new(store)
    });
}

#[test]
fn cql_keeps_the_contract() {
    // To make a keyspace takes longer than to empty one.
    let store = Arc::new(open(servers::cql(), &servers::unique("contract")));
    store_suite::run(&|| {
        store.drop_all().unwrap();
        store.clone()
    });
}

fn open(address: &str, keyspace: &str) -> CqlStore {
    CqlStore::open(&CqlOptions::new(address, keyspace)).unwrap()
}
