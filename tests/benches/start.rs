//! From start to ready, with an empty log and with 2,000,000 events behind snapshots, and the
//! resident memory of an idle process. Build the program first: `cargo build --release -p tocsin`.
//!
//! `cargo bench -p tocsin-tests --bench start` prints one line of JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use std::time::Duration;
use support::{Up, fill, resident_mb};
use tocsin_stream::embedded::Sync;

const RECORDS: usize = 2_000_000;
const SUBJECTS: usize = 10_000;
const CONFIG: &str = "[[detectors]]\nname = \"high\"\nkind = \"threshold\"\nmeasure = \"pm25\"\nraise_above = 150\nclear_below = 140\n[[watches]]\nemail = \"ada@example.org\"\ndetector = \"high\"\nsubject = \"station-7\"\n";

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("tocsin.toml");
    std::fs::write(&config, CONFIG).unwrap();

    let (up, empty) = Up::start(&config, &directory.path().join("empty"));
    std::thread::sleep(Duration::from_secs(5));
    let idle = resident_mb(up.child.id());
    up.stop();

    let data = directory.path().join("full");
    let log = tocsin::backend::open_log(&data, Sync::Full).unwrap();
    fill(&*log, RECORDS, SUBJECTS);
    drop(log);
    let (up, _) = Up::start(&config, &data);
    for service in ["detect", "project"] {
        let metric = format!("tocsin_records_total{{service=\"{service}\"}}");
        while up.metric(&metric) < RECORDS as f64 {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    up.stop();
    let (up, full) = Up::start(&config, &data);
    std::thread::sleep(Duration::from_secs(5));
    let idle_full = resident_mb(up.child.id());
    up.stop();
    println!(
        "{{\"benchmark\":\"start\",\"ready_empty_s\":{:.3},\"ready_behind_snapshot_s\":{:.3},\"events\":{RECORDS},\"idle_rss_mb\":{idle:.1},\"idle_rss_full_mb\":{idle_full:.1}}}",
        empty.as_secs_f64(),
        full.as_secs_f64()
    );
}
