//! Writing rows into a cluster: `CqlStore` beside the bare driver on the same server in the same run.
//! Prints a line of JSON for each. The driver's own part is the floor: prepared statements, so many
//! at a time, and nothing around them. Both write a transaction's rows, wait for all of them, and go
//! on; both have their rows beforehand. The first round warms the server and is not counted.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on ends")]

use futures::StreamExt;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use std::time::Instant;
use tocsin_domain::Micros;
use tocsin_store::{CqlOptions, CqlStore, Order, Store, TableSpec, Type, Write};
use tocsin_testkit::servers;
use tokio::runtime::Runtime;

const ROWS: usize = 200_000;
/// Rows of a transaction: its offsets are committed when all of them are written.
const AT_ONCE: usize = 20_000;
const CONCURRENCY: usize = 256;
const PER_PARTITION: usize = 50;
const ROUNDS: usize = 6;
const BEGIN: i64 = 1_700_000_000_000_000;

static LATEST: TableSpec = TableSpec {
    name: "latest",
    columns: &[("subject", Type::Text), ("at", Type::Time), ("value", Type::Text)],
    partition_key: &["subject"],
    clustering_key: &[],
};
static HISTORY: TableSpec = TableSpec {
    name: "history",
    columns: &[
        ("subject", Type::Text),
        ("day", Type::Text),
        ("at", Type::Time),
        ("value", Type::Text),
    ],
    partition_key: &["subject", "day"],
    clustering_key: &[("at", Order::Asc)],
};
const DAY: &str = "2023-11-14";

type Raws = Vec<(String, i64, String)>;

fn main() {
    let keyspace = servers::unique("bench");
    let store = CqlStore::open(&CqlOptions {
        concurrency: CONCURRENCY,
        ..CqlOptions::new(servers::cql(), &keyspace)
    });
    let store = store.unwrap();
    store.create(&[&LATEST, &HISTORY]).unwrap();
    let runtime = Runtime::new().unwrap();
    let raw = runtime.block_on(Raw::open(&keyspace));
    for (variant, per_partition) in [("latest", 1), ("history", PER_PARTITION)] {
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let rows: Raws = (0..ROWS).map(|at| row(at, round, per_partition)).collect();
            let writes: Vec<Write> = rows.iter().map(|row| write(row, per_partition)).collect();
            let took = [
                timed(|| {
                    rows.chunks(AT_ONCE).for_each(|rows| raw.write(&runtime, rows, per_partition))
                }),
                timed(|| writes.chunks(AT_ONCE).for_each(|writes| store.apply(writes).unwrap())),
            ];
            if round > 0 {
                rates.iter_mut().zip(took).for_each(|(rates, took)| rates.push(ROWS as f64 / took));
            }
        }
        let [driver, store] = rates.map(median);
        println!(
            "{{\"bench\":\"projections\",\"variant\":\"{variant}\",\"rows\":{ROWS},\
             \"rows_a_partition\":{per_partition},\"driver_rows_per_second\":{driver:.0},\
             \"store_rows_per_second\":{store:.0},\"share\":{:.2}}}",
            store / driver
        );
    }
    assert_eq!(store.dump(&LATEST).unwrap().len(), ROWS);
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Subject, time and value of a row, newer in every round.
fn row(at: usize, round: usize, per_partition: usize) -> (String, i64, String) {
    let time = BEGIN + at as i64 + if per_partition == 1 { (round * ROWS) as i64 } else { 0 };
    (format!("station-{}", at / per_partition), time, format!("{}.{}", 100 + at % 100, round))
}

fn write((subject, at, value): &(String, i64, String), per_partition: usize) -> Write {
    let (subject, time, value) =
        (subject.as_str().into(), Micros(*at).into(), value.as_str().into());
    match per_partition {
        1 => Write::new(&LATEST, (*at, *at), [subject, time, value]),
        _ => Write::new(&HISTORY, (*at, *at), [subject, DAY.into(), time, value]),
    }
}

/// The bare driver.
struct Raw {
    session: Session,
    latest: PreparedStatement,
    history: PreparedStatement,
}

impl Raw {
    async fn open(keyspace: &str) -> Raw {
        let session = SessionBuilder::new().known_node(servers::cql()).build().await.unwrap();
        for table in [
            "raw_latest (subject text PRIMARY KEY, at bigint, value text)",
            "raw_history (subject text, day text, at bigint, value text, \
             PRIMARY KEY ((subject, day), at))",
        ] {
            session.query_unpaged(format!("CREATE TABLE {keyspace}.{table}"), &[]).await.unwrap();
        }
        let insert = |table: &str, columns: &str, marks: &str| {
            let cql = format!(
                "INSERT INTO {keyspace}.{table} ({columns}) VALUES ({marks}) USING TIMESTAMP ?"
            );
            let session = &session;
            async move { session.prepare(cql).await.unwrap() }
        };
        let latest = insert("raw_latest", "subject, at, value", "?, ?, ?").await;
        let history = insert("raw_history", "subject, day, at, value", "?, ?, ?, ?").await;
        Raw { session, latest, history }
    }

    fn write(&self, runtime: &Runtime, rows: &[(String, i64, String)], per_partition: usize) {
        match per_partition {
            1 => runtime.block_on(self.write_latest(rows)),
            _ => runtime.block_on(self.write_history(rows)),
        }
    }

    async fn write_latest(&self, rows: &[(String, i64, String)]) {
        let write = async |(subject, at, value): &(String, i64, String)| {
            let values = (subject.as_str(), at, value.as_str(), at);
            self.session.execute_unpaged(&self.latest, values).await.unwrap();
        };
        futures::stream::iter(rows).for_each_concurrent(CONCURRENCY, write).await;
    }

    async fn write_history(&self, rows: &[(String, i64, String)]) {
        let statements = vec![self.history.clone().into(); PER_PARTITION];
        let batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        let write = async |rows: &[(String, i64, String)]| {
            let values = rows.iter().map(|(subject, at, value)| (subject, DAY, at, value, at));
            self.session.batch(&batch, values.collect::<Vec<_>>()).await.unwrap();
        };
        let partitions = futures::stream::iter(rows.chunks(PER_PARTITION));
        partitions.for_each_concurrent(CONCURRENCY, write).await;
    }
}
