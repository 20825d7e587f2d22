//! The embedded store keeps what [`Store`] promises.

use super::*;
use crate::table::Order;

static PRICES: TableSpec = TableSpec {
    name: "prices",
    columns: &[("shop", Type::Text), ("day", Type::Int), ("id", Type::Text), ("price", Type::Text)],
    partition_key: &["shop"],
    clustering_key: &[("day", Order::Desc), ("id", Order::Asc)],
};

fn store() -> (tempfile::TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    store.create(&[&PRICES]).unwrap();
    (directory, store)
}

fn price(shop: &str, day: i64, id: &str, price: &str, version: i64) -> Write {
    Write::new(&PRICES, version, [shop.into(), day.into(), id.into(), price.into()])
}

fn prices(store: &SqliteStore) -> Vec<String> {
    store.dump(&PRICES).unwrap().iter().map(|row| row[3].text().to_owned()).collect()
}

#[test]
fn the_last_version_wins_in_whatever_order_and_however_often() {
    let writes = [price("a", 1, "x", "old", 1), price("a", 1, "x", "new", 2)];
    let orders: [&[usize]; 5] = [&[0, 1], &[1, 0], &[1, 1, 0, 0], &[0, 1, 0], &[1]];
    for order in orders {
        for together in [true, false] {
            let (_directory, store) = store();
            let batch: Vec<Write> = order.iter().map(|i| writes[*i].clone()).collect();
            let size = if together { batch.len() } else { 1 };
            batch.chunks(size).for_each(|part| store.apply(part).unwrap());
            assert_eq!(prices(&store), ["new"], "{order:?}");
        }
    }
}

#[test]
fn a_partition_is_read_in_its_order_page_by_page() {
    let (_directory, store) = store();
    let all = [(2, "b"), (1, "a"), (3, "a"), (2, "a"), (2, "c")];
    let writes: Vec<Write> = all.iter().map(|(day, id)| price("s", *day, id, id, 0)).collect();
    store.apply(&writes).unwrap();
    store.apply(&[price("other", 9, "z", "z", 0)]).unwrap();
    let shop = [Value::from("s")];
    for reversed in [false, true] {
        let (mut found, mut after) = (Vec::new(), Vec::new());
        loop {
            let query = Query { reversed, after, ..Query::of(&PRICES, &shop, 2) };
            let page = store.select(&query).unwrap();
            let Some(last) = page.last() else { break };
            after = PRICES.cursor(last);
            found.extend(page.iter().map(|row| (row[1].int().unwrap(), row[2].text().to_owned())));
        }
        let mut want = [(3, "a"), (2, "a"), (2, "b"), (2, "c"), (1, "a")].to_vec();
        if reversed {
            want.reverse();
        }
        assert_eq!(found, want.iter().map(|(d, i)| (*d, i.to_string())).collect::<Vec<_>>());
    }
    let query =
        Query { from: Some(2.into()), until: Some(3.into()), ..Query::of(&PRICES, &shop, 9) };
    assert_eq!(store.select(&query).unwrap().len(), 3);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_of_it_is_written() {
    let (_directory, store) = store();
    let mut short = price("a", 1, "x", "1", 0);
    short.row.pop();
    let mut null_key = price("a", 1, "x", "1", 0);
    null_key.row[0] = Value::Null;
    let mut wrong = price("a", 1, "x", "1", 0);
    wrong.row[1] = "one".into();
    for bad in [short, null_key, wrong] {
        assert!(matches!(
            store.apply(&[price("a", 2, "y", "2", 0), bad]),
            Err(StoreError::Refused { .. })
        ));
    }
    assert!(prices(&store).is_empty());
    assert!(store.select(&Query::of(&PRICES, &[], 1)).is_err());
}

#[test]
fn rows_and_marks_outlive_the_process_and_go_together() {
    let (directory, store) = store();
    store.apply(&[price("a", 1, "x'; DROP TABLE prices; --", "1", 0)]).unwrap();
    store.set_mark("tables", "v1").unwrap();
    drop(store);
    let store = SqliteStore::open(directory.path()).unwrap();
    assert_eq!(store.mark("tables").unwrap().as_deref(), Some("v1"));
    assert_eq!(prices(&store), ["1"]);
    store.drop_all().unwrap();
    assert_eq!(store.mark("tables").unwrap(), None);
    assert!(store.dump(&PRICES).is_err());
}
