//! The embedded store and a cluster's store keep the contract; and what only a cluster's store can
//! promise: a server that goes away, tables that change, callers of every kind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

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

/// Rows for any table, the same in every run: few keys and few versions, so that many meet.
fn rows_of(table: &'static TableSpec, count: u64) -> Vec<Write> {
    let mut seed = 7_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let key: Vec<&str> = table.key().collect();
    let mut value = |(name, kind): &(&str, Type)| {
        let number = draw(4);
        match kind {
            _ if number == 3 && !key.contains(name) => Value::Null,
            Type::Text if table.partition_key == [*name] => {
                ["b", "ä", "zz", "a"][number as usize].into()
            }
            Type::Text => ["", "ä", "zz", "a"][number as usize].into(),
            Type::Int => (number as i64 - 2).into(),
            Type::Bool => (number < 2).into(),
            Type::Time => tocsin_domain::Micros(number as i64 - 2).into(),
        }
    };
    let mut rows = Vec::new();
    for at in 0..count {
        let row = table.columns.iter().map(&mut value).collect();
        let version = ((at * 7 % 3) as i64, (at * 5 % 2) as i64).into();
        rows.push(Write { table, row, version });
    }
    rows
}

#[test]
fn both_stores_hold_the_same_rows_of_every_projection() {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(directory.path()).unwrap();
    let cql = open(servers::cql(), &servers::unique("same"));
    let tables = tocsin_project::projections::all_tables();
    sqlite.create(&tables).unwrap();
    cql.create(&tables).unwrap();
    for table in tables {
        let mut writes = rows_of(table, 300);
        writes.chunks(17).for_each(|part| sqlite.apply(part).unwrap());
        writes.reverse();
        writes.chunks(31).for_each(|part| cql.apply(part).unwrap());
        let rows = sqlite.dump(table).unwrap();
        assert!(!rows.is_empty());
        assert_eq!(cql.dump(table).unwrap(), rows, "{}", table.name);
    }
}

/// A table as three versions of the program see it.
const fn notes(columns: &'static [(&'static str, Type)], order: Order) -> TableSpec {
    let key: &[(&str, Order)] = match order {
        Order::Asc => &[("at", Order::Asc)],
        Order::Desc => &[("at", Order::Desc)],
    };
    TableSpec { name: "notes", columns, partition_key: &["who"], clustering_key: key }
}
static NOTES: TableSpec =
    notes(&[("who", Type::Text), ("at", Type::Int), ("text", Type::Text)], Order::Asc);
static LONGER: TableSpec = notes(
    &[("who", Type::Text), ("at", Type::Int), ("text", Type::Text), ("mood", Type::Int)],
    Order::Asc,
);
static TURNED: TableSpec =
    notes(&[("who", Type::Text), ("at", Type::Int), ("text", Type::Text)], Order::Desc);
static RETYPED: TableSpec =
    notes(&[("who", Type::Text), ("at", Type::Int), ("text", Type::Int)], Order::Asc);

#[test]
fn a_column_at_the_end_is_added_and_any_other_change_is_refused() {
    let store = open(servers::cql(), &servers::unique("changes"));
    let note = |at: i64| Write::new(&NOTES, 0, ["me".into(), at.into(), "old".into()]);
    store.create(&[&NOTES]).unwrap();
    store.apply(&[note(1)]).unwrap();
    for table in [&TURNED, &RETYPED] {
        let refused = store.create(&[table]).unwrap_err();
        assert!(matches!(refused, StoreError::Refused { table: "notes", .. }), "{refused}");
        assert!(refused.to_string().contains("tocsin projections rebuild"), "{refused}");
    }
    store.create(&[&LONGER]).unwrap();
    let new = Write::new(&LONGER, 0, ["me".into(), 2.into(), "new".into(), 7.into()]);
    store.apply(&[new]).unwrap();
    let moods: Vec<Value> = store.dump(&LONGER).unwrap().iter().map(|row| row[3].clone()).collect();
    assert_eq!(moods, [Value::Null, 7.into()]);
    // An older program would write shorter rows.
    assert!(store.create(&[&NOTES]).is_err());
}

#[test]
fn several_processes_may_start_at_one_time() {
    let keyspace = servers::unique("together");
    std::thread::scope(|scope| {
        let start = || {
            let store = open(servers::cql(), &keyspace);
            store.create(&[&PRICES, &NOTES]).unwrap();
            store.apply(&[price(("a", 1, "x"), "1", 0)]).unwrap();
        };
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        starts.into_iter().for_each(|start| start.join().unwrap());
    });
    let store = open(servers::cql(), &keyspace);
    assert_eq!(store.dump(&PRICES).unwrap().len(), 1);
}

/// To wait for a runtime inside of another one panics if it is done in the usual way.
#[test]
fn it_may_be_called_and_dropped_anywhere() {
    let keyspace = servers::unique("anywhere");
    let address = servers::cql();
    let work = move || {
        let store = open(address, &keyspace);
        store.create(&[&NOTES]).unwrap();
        store.apply(&rows_of(&NOTES, 200)).unwrap();
        store.dump(&NOTES).unwrap().len()
    };
    let count = work();
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(current.block_on(async { work() }), count);
    let several = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let spawned = several.spawn({
        let work = work.clone();
        async move { work() }
    });
    assert_eq!(several.block_on(spawned).unwrap(), count);
    assert_eq!(several.block_on(several.spawn_blocking(work)).unwrap(), count);
}

/// Applies until it works; gives how many calls failed.
fn insist(store: &dyn Store, writes: &[Write]) -> u32 {
    (0..100).find(|_| store.apply(writes).is_ok()).unwrap()
}

#[test]
fn a_server_that_goes_away_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let server = Private::start(Kind::Cql, directory.path());
    let options = CqlOptions {
        patience: Duration::from_secs(2),
        ..CqlOptions::new(server.address(), "tocsin")
    };
    let store = CqlStore::open(&options).unwrap();
    store.create(&[&PRICES]).unwrap();
    let batch = |turn: i64| -> Vec<Write> {
        let row = |at: i64| price((&format!("s{}", at % 50), at, "x"), &turn.to_string(), turn);
        (0..2_000).map(row).collect()
    };
    // What the database has not written to its disk yet, a power cut takes: commit logs are synced
    // every 10 s, and the other nodes hold what one forgets. Here is only one, so it is paused.
    let mut failures = 0;
    for turn in 0..4 {
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| insist(&store, &batch(turn)));
            server.pause();
            if turn % 2 == 0 {
                // Until the store has given up at least once.
                assert!(store.apply(&batch(turn)).is_err());
            }
            server.resume();
            failures += writing.join().unwrap();
        });
        let rows = store.dump(&PRICES).unwrap();
        assert_eq!(rows.len(), 2_000);
        assert!(rows.iter().all(|row| row[0].text() == turn.to_string()));
    }
    // Ended and started again on its data, it is found again, and reads say what is wrong meanwhile.
    server.kill();
    let shop = ["s1".into()];
    let refused = store.select(&Query::of(&PRICES, &shop, 1)).unwrap_err();
    assert!(matches!(refused, StoreError::Failed { doing: "read", .. }), "{refused}");
    assert!(store.apply(&batch(9)).is_err());
    server.restart();
    insist(&store, &batch(10));
    let rows = store.dump(&PRICES).unwrap();
    assert_eq!(rows.len(), 2_000);
    assert!(rows.iter().all(|row| row[0].text() == "10"), "{failures} calls had failed before");
}
