//! Threshold detection over the embedded log: 2,000,000 readings of 10,000 subjects, exactly once,
//! with changelog, each commit on the disk. Beside it, in the same run, the floor: a bare loop over
//! SQLite with one changelog row an event.
//!
//! `cargo bench -p tocsin-tests --bench threshold` prints one line of JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::Arc;
use support::{Meter, Walk, detect};
use tocsin_stream::Log;
use tocsin_stream::embedded::{EmbeddedLog, Options as LogOptions};
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::processor::Options;

const RECORDS: usize = 2_000_000;
const SUBJECTS: usize = 10_000;
/// What this walk raises, whoever computes it.
const ALERTS: usize = 30_947;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(&directory.path().join("log"), LogOptions::default()).unwrap();
    let ours = tocsin(log);
    // The same without a disk: what decoding, state and encoding take.
    let engine = tocsin(MemoryLog::new());
    let (seconds, cpu) = bare(&directory.path().join("bare.db"));
    let (rate, us) = (RECORDS as f64 / seconds, cpu * 1e6 / RECORDS as f64);
    println!(
        "{{\"benchmark\":\"threshold\",\"records\":{RECORDS},\"subjects\":{SUBJECTS},\"alerts\":{ALERTS},\"per_second\":{:.0},\"cpu_us_per_event\":{:.2},\"in_memory_cpu_us_per_event\":{:.2},\"bare_sqlite_per_second\":{rate:.0},\"bare_sqlite_cpu_us_per_event\":{us:.2},\"cpu_ratio\":{:.2}}}",
        ours.0,
        ours.1,
        engine.1,
        ours.1 / us
    );
}

/// Events a second and CPU microseconds an event.
fn tocsin(log: Arc<dyn Log>) -> (f64, f64) {
    let done = detect(log, RECORDS, SUBJECTS, ALERTS, Options::default());
    (RECORDS as f64 / done.seconds, done.cpu * 1e6 / RECORDS as f64)
}

/// Seconds and CPU seconds of the floor.
fn bare(file: &Path) -> (f64, f64) {
    let mut db = Connection::open(file).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute_batch(
        "CREATE TABLE log (at INTEGER PRIMARY KEY, record BLOB NOT NULL);
         CREATE TABLE changelog (at INTEGER PRIMARY KEY, record BLOB NOT NULL);
         CREATE TABLE alerts (at INTEGER PRIMARY KEY, record BLOB NOT NULL);
         CREATE TABLE progress (id INTEGER PRIMARY KEY, next INTEGER NOT NULL);
         INSERT INTO progress VALUES (0, 0);",
    )
    .unwrap();
    let mut walk = Walk::new(SUBJECTS);
    let filling = db.transaction().unwrap();
    for at in 0..RECORDS {
        let (subject, value) = walk.next();
        let mut record = [0u8; 120];
        record[..4].copy_from_slice(&(subject as u32).to_le_bytes());
        record[4..12].copy_from_slice(&value.to_le_bytes());
        let mut insert = filling.prepare_cached("INSERT INTO log VALUES (?1, ?2)").unwrap();
        insert.execute(params![at as i64, &record[..]]).unwrap();
    }
    filling.commit().unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut above = vec![false; SUBJECTS];
    let (meter, mut next, mut alerts) = (Meter::start(), 0i64, 0);
    while (next as usize) < RECORDS {
        (next, alerts) = bare_transaction(&mut db, &mut above, next, alerts);
    }
    assert_eq!(alerts, ALERTS);
    (meter.seconds(), meter.cpu())
}

fn bare_transaction(
    db: &mut Connection,
    above: &mut [bool],
    from: i64,
    mut alerts: usize,
) -> (i64, usize) {
    let transaction = db.transaction().unwrap();
    let mut next = from;
    {
        let sql = "SELECT at, record FROM log WHERE at >= ?1 ORDER BY at LIMIT 1000";
        let mut read = transaction.prepare_cached(sql).unwrap();
        let mut change =
            transaction.prepare_cached("INSERT INTO changelog VALUES (?1, ?2)").unwrap();
        let mut alert = transaction.prepare_cached("INSERT INTO alerts VALUES (?1, ?2)").unwrap();
        let mut rows = read.query([from]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let at: i64 = row.get(0).unwrap();
            let record = row.get_ref(1).unwrap().as_blob().unwrap();
            let subject = u32::from_le_bytes(record[..4].try_into().unwrap()) as usize;
            let value = f64::from_le_bytes(record[4..12].try_into().unwrap());
            let was = above[subject];
            above[subject] = if was { value >= 140.0 } else { value > 150.0 };
            let mut state = [0u8; 13];
            state[..12].copy_from_slice(&record[..12]);
            state[12] = u8::from(above[subject]);
            change.execute(params![at, &state[..]]).unwrap();
            if above[subject] && !was {
                alert.execute(params![at, record]).unwrap();
                alerts += 1;
            }
            next = at + 1;
        }
    }
    transaction.execute("UPDATE progress SET next = ?1", [next]).unwrap();
    transaction.commit().unwrap();
    (next, alerts)
}
