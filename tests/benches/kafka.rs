//! Threshold detection over Kafka: 2,000,000 readings, exactly once, with changelog, on a broker of its
//! own on this machine; once with 10,000 subjects and once with 500,000.
//!
//! `cargo bench -p tocsin-tests --bench kafka` prints a line of JSON for each. TOCSIN_BENCH_BESIDE is a
//! shell command that is run between them on the same broker, which it finds in BOOTSTRAP: a peer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use std::process::Command;
use tocsin_stream::kafka::{KafkaLog, KafkaOptions};
use tocsin_stream::processor::Options;
use tocsin_testkit::servers::{Kind, Private};

const RECORDS: usize = 2_000_000;

fn main() {
    run(10_000, 30_947);
    run(500_000, 7_122);
}

fn run(subjects: usize, alerts: usize) {
    let directory = tempfile::tempdir().unwrap();
    let kafka = Private::start(Kind::Kafka, directory.path());
    let bootstrap = kafka.address().to_owned();
    let log =
        KafkaLog::connect(KafkaOptions { bootstrap: bootstrap.clone(), ..KafkaOptions::default() });
    let options = Options { max_records: 50_000, ..Options::default() };
    let done = support::detect(log.unwrap(), RECORDS, subjects, alerts, options);
    println!(
        "{{\"benchmark\":\"kafka\",\"records\":{RECORDS},\"subjects\":{subjects},\"alerts\":{alerts},\"per_second\":{:.0},\"cpu_us_per_event\":{:.2}}}",
        RECORDS as f64 / done.seconds,
        done.cpu * 1e6 / RECORDS as f64,
    );
    if let Ok(beside) = std::env::var("TOCSIN_BENCH_BESIDE") {
        let subjects = subjects.to_string();
        let environment = [("BOOTSTRAP", &bootstrap), ("SUBJECTS", &subjects)];
        Command::new("sh").args(["-c", &beside]).envs(environment).status().unwrap();
    }
}
