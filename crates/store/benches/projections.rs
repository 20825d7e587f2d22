//! Writing rows into a cluster: `CqlStore` beside the bare driver on the same server in the same run.
//! Prints a line of JSON for each. The driver's own part is the floor: prepared statements, so many
//! at a time, and nothing around them. The first round warms the server and is not counted.

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

const ROWS: usize = 200_000;
/// Rows that the projections write at once.
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

fn value(row: usize) -> String {
    format!("{}.{}", 100 + row % 100, row % 10)
}

fn at(row: usize, round: usize) -> i64 {
    BEGIN + row as i64 + (round * ROWS) as i64
}

fn main() {
    let keyspace = servers::unique("bench");
    let store = CqlStore::open(&CqlOptions {
        concurrency: CONCURRENCY,
        ..CqlOptions::new(servers::cql(), &keyspace)
    });
    let store = store.unwrap();
    store.create(&[&LATEST, &HISTORY]).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let raw = runtime.block_on(Raw::open(&keyspace));
    let mut rates = vec![Vec::new(); 4];
    for round in 0..ROUNDS {
        let took = [
            timed(|| runtime.block_on(raw.latest(round))),
            timed(|| ours(&store, round, latest)),
            timed(|| runtime.block_on(raw.history(round))),
            timed(|| ours(&store, round, history)),
        ];
        if round > 0 {
            rates
                .iter_mut()
                .zip(took)
                .for_each(|(rates, seconds)| rates.push(ROWS as f64 / seconds));
        }
    }
    assert_eq!(store.dump(&LATEST).unwrap().len(), ROWS);
    let median: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
    for (at, variant) in [(0, "latest, one row a partition"), (2, "history, many rows a partition")]
    {
        println!(
            "{{\"bench\":\"projections\",\"variant\":\"{variant}\",\"rows\":{ROWS},\
             \"driver_rows_per_second\":{:.0},\"store_rows_per_second\":{:.0},\"share\":{:.2}}}",
            median[at],
            median[at + 1],
            median[at + 1] / median[at]
        );
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Through the store, as the projections do it: rows as values, so many at once. To make the rows
/// is not what is measured of them either, but it is done here, between the calls.
fn ours(store: &CqlStore, round: usize, row: fn(usize, usize) -> Write) {
    for first in (0..ROWS).step_by(AT_ONCE) {
        let writes: Vec<Write> = (first..first + AT_ONCE).map(|at| row(at, round)).collect();
        store.apply(&writes).unwrap();
    }
}

fn latest(row: usize, round: usize) -> Write {
    let at = at(row, round);
    let columns = [format!("station-{row}").into(), Micros(at).into(), value(row).into()];
    Write::new(&LATEST, (at, at), columns)
}

fn history(row: usize, round: usize) -> Write {
    let (at, subject) = (at(row, round), format!("station-{}", row / PER_PARTITION));
    let columns = [subject.into(), DAY.into(), Micros(at).into(), value(row).into()];
    Write::new(&HISTORY, (at, at), columns)
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

    async fn latest(&self, round: usize) {
        let write = async |row: usize| {
            let (subject, at) = (format!("station-{row}"), at(row, round));
            let values = (subject.as_str(), at, value(row), at);
            self.session.execute_unpaged(&self.latest, values).await.unwrap();
        };
        futures::stream::iter(0..ROWS).for_each_concurrent(CONCURRENCY, write).await;
    }

    async fn history(&self, round: usize) {
        let statements = vec![self.history.clone().into(); PER_PARTITION];
        let batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        let write = async |partition: usize| {
            let subject = format!("station-{partition}");
            let first = partition * PER_PARTITION;
            let values = (first..first + PER_PARTITION).map(|row| {
                let at = at(row, round);
                (subject.as_str(), DAY, at, value(row), at)
            });
            self.session.batch(&batch, values.collect::<Vec<_>>()).await.unwrap();
        };
        let partitions = futures::stream::iter(0..ROWS / PER_PARTITION);
        partitions.for_each_concurrent(CONCURRENCY, write).await;
    }
}
