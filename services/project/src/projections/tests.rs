//! A fact in, rows out; and the same rows when the log is read again.

use super::*;
use crate::tables::*;
use crate::totals::Total;
use crate::{Prepared, ProjectStep, StoreSink, prepare, rebuild, topology};
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::alert::{Alert, AlertState, Evidence};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::event::{Listing, OrderRow, Reading};
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::wire::{self, Fact, SchemaIds};
use tocsin_domain::{Currency, Id, Micros, Money};
use tocsin_store::{Query, SqliteStore, Store, Value, Write};
use tocsin_stream::log::{Transaction, WorkerSpec};
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::processor::{Options, Processor};
use tocsin_stream::state::Store as State;
use tocsin_stream::{Log, Poison};

const DAY: i64 = 86_400_000_000;

fn reading(value: f64, at: i64) -> Reading<'static> {
    Reading {
        id: Id::of("reading", &[&at.to_be_bytes()]),
        tenant: "default",
        subject: "PK/Lahore",
        measure: "pm25",
        value,
        unit: "ug/m3",
        averaging: "PT24H",
        place: "Lahore",
        event_time: Micros(at),
        arrival_time: Micros(at + 1),
        source: "csv",
        origin: "a.csv:2",
    }
}

fn money(amount: &str) -> Money {
    Money { amount: amount.parse().unwrap(), currency: Currency::parse("GBP").unwrap() }
}

fn order(row: &str, price: &str, units: i64) -> OrderRow<'static> {
    OrderRow {
        id: Id::of("row", &[row.as_bytes()]),
        tenant: "default",
        subject: "85123A",
        order: "536365",
        title: "a lantern",
        price: money(price),
        units,
        event_time: Micros(DAY + 7),
        arrival_time: Micros(2 * DAY),
        source: "csv",
        origin: "",
    }
}

fn listing(price: &str, at: i64) -> Listing<'static> {
    Listing {
        id: Id::of("listing", &[price.as_bytes()]),
        tenant: "default",
        listing: "MLA1",
        title: "lego 75192",
        price: money(price),
        units_sold: Some(3),
        units_available: None,
        url: "",
        seller: "",
        searches: vec!["lego"],
        event_time: Micros(at),
        arrival_time: Micros(at),
        source: "s",
        origin: "",
    }
}

fn alert() -> Alert {
    Alert {
        id: Id::of("alert", &[]),
        tenant: "default".into(),
        episode: Id::default(),
        state: AlertState::Raised,
        condition: Id::default(),
        condition_name: "pm25-unhealthy".into(),
        condition_version: "1".into(),
        detector: "threshold".into(),
        subject: "PK/Lahore".into(),
        measure: "pm25".into(),
        place: "Lahore".into(),
        event_time: Micros(5),
        detected_at: Micros(DAY),
        value: "180".into(),
        unit: "AQI-US".into(),
        limit: "100".into(),
        band: "Unhealthy".into(),
        evidence: Evidence::default(),
    }
}

fn delivery(state: DeliveryState, attempt: i32, at: i64) -> Delivery {
    Delivery {
        id: Id::of("delivery", &[]),
        tenant: "default".into(),
        subscriber: Id::of("subscriber", &[]),
        channel: "email".into(),
        state,
        attempt,
        at: Micros(at),
        message_id: "m@localhost".into(),
        address: "ada@example.org".into(),
        name: "Ada".into(),
        time_zone: "UTC".into(),
        notices: Vec::new(),
        reason: String::new(),
        next_attempt_at: None,
    }
}

fn letter() -> DeadLetter {
    DeadLetter {
        id: Id::of("letter", &[]),
        topic: topics::ORDERS_ROWS.into(),
        position: None,
        origin: "a.csv:3".into(),
        key: vec![1],
        value: vec![2],
        class: "csv".into(),
        reason: "no price".into(),
        service: "ingest".into(),
        at: Micros(3 * DAY),
        source: "a".into(),
        head: Vec::new(),
        cut: false,
        search: String::new(),
    }
}

fn framed<'a>(fact: &impl Fact<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write(fact, &mut bytes);
    bytes
}

/// The rows of facts, with one memory for all of them.
fn rows(topic: &str, facts: &[Vec<u8>]) -> Result<Vec<Write>, Poison> {
    let (mut state, mut out) = (State::<Total>::default(), Vec::new());
    let projection = PROJECTIONS.iter().find(|p| p.topic() == topic).unwrap();
    for fact in facts {
        projection.project(fact, &SchemaIds::default(), &mut state, &mut out)?;
    }
    assert!(out.iter().all(|write| write.table.fault(&write.row).is_none()));
    Ok(out)
}

fn value(writes: &[Write], table: &'static TableSpec, column: &str) -> Value {
    let write = writes.iter().rfind(|write| write.table.name == table.name).unwrap();
    table.get(&write.row, column).clone()
}

#[test]
fn each_fact_gives_its_rows() {
    let found = rows(topics::AQI_READINGS, &[framed(&reading(12.5, DAY))]).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(value(&found, &READINGS_LATEST, "value"), "12.5".into());
    assert_eq!(value(&found, &READINGS_BY_DAY, "day"), "1970-01-02".into());
    assert_eq!(value(&found, &SUBJECTS, "place"), "Lahore".into());
    let found = rows(topics::MARKET_LISTINGS, &[framed(&listing("9.90", 7))]).unwrap();
    assert_eq!(value(&found, &LISTINGS_LATEST, "price"), "9.9".into());
    assert_eq!(value(&found, &LISTING_PRICES, "units_available"), Value::Null);
    let found = rows(topics::ALERTS, &[framed(&alert())]).unwrap();
    assert_eq!(value(&found, &ALERTS_BY_DAY, "day"), "1970-01-02".into());
    assert_eq!(value(&found, &ALERTS_BY_SUBJECT, "limit_value"), "100".into());
    assert!(value(&found, &ALERTS_BY_ID, "fact").text().contains("pm25-unhealthy"));
    let found = rows(topics::DEAD_LETTERS, &[framed(&letter())]).unwrap();
    assert_eq!(value(&found, &DEAD_LETTERS_BY_DAY, "class"), "csv".into());
}

#[test]
fn sales_are_exact_and_a_row_counts_once() {
    let facts = [("a", "0.1", 3), ("b", "0.2", 1), ("a", "0.1", 3), ("c", "0.2", -1)];
    let facts = facts.map(|(row, price, units)| framed(&order(row, price, units)));
    let found = rows(topics::ORDERS_ROWS, &facts).unwrap();
    assert_eq!(found.len(), 6);
    assert_eq!(value(&found, &SALES_BY_DAY, "revenue"), "0.3".into());
    assert_eq!(value(&found, &SALES_BY_PRODUCT, "units"), 3.into());
    assert_eq!(value(&found, &SALES_BY_PRODUCT, "rows"), 3.into());
}

#[test]
fn what_cannot_be_read_is_poison() {
    for projection in &PROJECTIONS {
        assert_eq!(rows(projection.topic(), &[b"{}".to_vec()]).unwrap_err().class, "framing");
    }
}

#[test]
fn the_topology_is_sound_and_the_tables_have_names_of_their_own() {
    assert_eq!(topology().problems(Topics::builtin()), Vec::<String>::new());
    assert!(topology().outputs.is_empty());
    let mut names: Vec<&str> = all_tables().iter().map(|table| table.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all_tables().len());
}

#[test]
fn a_delivery_stands_the_same_in_whatever_order_its_facts_come() {
    use DeliveryState::{Attempt, Deferred, Requested, Sent};
    // The last clock was behind: time does not decide.
    let facts =
        [(Requested, 0, 10), (Attempt, 1, 11), (Deferred, 1, 12), (Attempt, 2, 13), (Sent, 2, 9)]
            .map(|(state, attempt, at)| framed(&delivery(state, attempt, at)));
    let mut dumps = Vec::new();
    for turn in 0..facts.len() {
        let mut facts = facts.to_vec();
        facts.rotate_left(turn);
        facts.extend_from_within(..turn);
        let (_directory, store) = store();
        for fact in facts {
            store.apply(&rows(topics::DELIVERIES, &[fact]).unwrap()).unwrap();
        }
        let now = store.dump(&DELIVERIES_BY_MESSAGE_ID).unwrap();
        assert_eq!(DELIVERIES_BY_MESSAGE_ID.get(&now[0], "state"), &"sent".into());
        let log = store.dump(&DELIVERIES_LOG).unwrap();
        let states: Vec<_> = log.iter().map(|r| DELIVERIES_LOG.get(r, "state").text()).collect();
        assert_eq!(states, ["requested", "attempt", "deferred", "attempt", "sent"]);
        dumps.push(dump(&store));
    }
    assert!(dumps.windows(2).all(|two| two[0] == two[1]));
}

#[test]
fn of_two_values_for_one_moment_the_one_that_came_later_stands() {
    let corrected =
        |value, arrival| Reading { arrival_time: Micros(arrival), ..reading(value, DAY) };
    let facts = [framed(&corrected(1.5, DAY + 1)), framed(&corrected(2.5, DAY + 2))];
    for order in [[0, 1], [1, 0]] {
        let (_directory, store) = store();
        for at in order {
            store.apply(&rows(topics::AQI_READINGS, &[facts[at].clone()]).unwrap()).unwrap();
        }
        for table in [&READINGS_LATEST, &SUBJECTS, &READINGS_BY_DAY] {
            let found = store.dump(table).unwrap();
            assert_eq!(table.get(&found[0], "value"), &"2.5".into(), "{order:?} {}", table.name);
        }
    }
}

#[test]
fn a_fact_whose_row_no_store_takes_is_a_dead_letter() {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let nameless = Delivery { message_id: String::new(), ..delivery(DeliveryState::Sent, 1, 2) };
    append(&log, &[(topics::DELIVERIES, b"d", framed(&nameless))]);
    let (_directory, store) = store();
    let store: Arc<dyn Store> = Arc::new(store);
    // The fact, and the letter that was made of it.
    assert_eq!(run(&log, &store), 2);
    let letters = store.dump(&DEAD_LETTERS_BY_DAY).unwrap();
    let reason = DEAD_LETTERS_BY_DAY.get(&letters[0], "reason").text();
    assert!(reason.contains("deliveries_by_message_id has an empty text"), "{reason}");
    assert!(store.dump(&DELIVERIES_LOG).unwrap().is_empty());
}

fn store() -> (tempfile::TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    store.create(&all_tables()).unwrap();
    (directory, store)
}

fn dump(store: &dyn Store) -> Vec<Vec<tocsin_store::Row>> {
    all_tables().iter().map(|table| store.dump(table).unwrap()).collect()
}

fn append(log: &Arc<MemoryLog>, facts: &[(&str, &[u8], Vec<u8>)]) {
    let spec = WorkerSpec { id: "test-0".into(), group: "test".into(), inputs: Vec::new() };
    let mut transaction = Transaction::default();
    for (topic, key, fact) in facts {
        let number = transaction.register(topic, log.partitions(topic).unwrap());
        transaction.to(number, key).push(key, Some(fact));
    }
    log.worker(&spec).unwrap().commit(&mut transaction).unwrap();
}

fn run(log: &Arc<MemoryLog>, store: &Arc<dyn Store>) -> u64 {
    let sink = Box::new(StoreSink::new(store.clone()));
    let step = ProjectStep::default();
    let options = Options { max_records: 1, ..Options::default() };
    let mut processor = Processor::new(topology(), log.clone(), step, sink, options).unwrap();
    let turn = || processor.turn(Duration::ZERO, Micros(1)).unwrap().records;
    std::iter::repeat_with(turn).take(50).sum()
}

#[test]
fn tables_that_are_rebuilt_are_the_same_tables() {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    append(
        &log,
        &[
            (topics::AQI_READINGS, b"l", framed(&reading(12.5, DAY))),
            (topics::AQI_READINGS, b"l", framed(&reading(99.0, 2 * DAY))),
            (topics::ORDERS_ROWS, b"o", framed(&order("a", "2.55", 6))),
            (topics::ORDERS_ROWS, b"o", framed(&order("b", "3.39", 6))),
            (topics::ORDERS_ROWS, b"o", b"not a fact".to_vec()),
            (topics::ALERTS, b"a", framed(&alert())),
            (topics::DELIVERIES, b"d", framed(&delivery(DeliveryState::Requested, 0, 1))),
            (topics::DELIVERIES, b"d", framed(&delivery(DeliveryState::Sent, 1, 2))),
        ],
    );
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(directory.path()).unwrap());
    assert_eq!(prepare(&*log, &*store).unwrap(), Prepared::Reset);
    // The bad row became a dead letter, which is itself a fact that is read.
    assert_eq!(run(&log, &store), 9);
    let first = dump(&*store);
    let product = ["default".into(), "85123A".into()];
    let sales = store.select(&Query::of(&SALES_BY_PRODUCT, &product, 9)).unwrap();
    assert_eq!(SALES_BY_PRODUCT.get(&sales[0], "revenue"), &"35.64".into());
    assert_eq!(prepare(&*log, &*store).unwrap(), Prepared::Kept);
    assert_eq!(run(&log, &store), 0);
    for _ in 0..2 {
        rebuild(&*log, &*store).unwrap();
        assert_ne!(dump(&*store), first);
        run(&log, &store);
        // Reading the bad row again makes the same letter again, by its id.
        assert_eq!(dump(&*store), first);
    }
    // A rebuild that was cut short is begun again.
    store.drop_all().unwrap();
    assert_eq!(prepare(&*log, &*store).unwrap(), Prepared::Reset);
    run(&log, &store);
    assert_eq!(dump(&*store), first);
}
