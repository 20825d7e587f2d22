//! From `kill -9` of a detector on Kafka to its next alerts, the first of any partition and the last
//! partition's: 500,000 subjects, 2,000,000 records of changelog, the broker on this machine, the
//! slot pinned. Once with the snapshots of its disk and the changelog's tail, once with an empty
//! disk. Build the program first: `cargo build --release -p tocsin`.
//!
//! `cargo bench -p tocsin-tests --bench restart` prints one line of JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{fill, program, reading};
use tocsin::facts;
use tocsin_domain::TopicPartition;
use tocsin_domain::alert::Alert;
use tocsin_domain::event::reading_key;
use tocsin_domain::partition::partition_of;
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_stream::Log;
use tocsin_stream::kafka::{KafkaLog, KafkaOptions};
use tocsin_stream::log::{Transaction, Worker, WorkerSpec};
use tocsin_testkit::servers::{Kind, Private};

const RECORDS: usize = 2_000_000;
const SUBJECTS: usize = 500_000;
/// What is detected after the snapshot and before the death.
const TAIL: u64 = 20_000;
const RUNS: u64 = 3;
const PARTITIONS: u32 = 8;
const CHANGELOG: &str = "detect.subjects.changelog";

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let kafka = Private::start(Kind::Kafka, &at.join("kafka"));
    let bootstrap = kafka.address().to_owned();
    std::fs::write(at.join("tocsin.toml"), configuration(&bootstrap)).unwrap();
    let log = KafkaLog::connect(KafkaOptions { bootstrap, ..KafkaOptions::default() }).unwrap();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    fill(&*log, RECORDS, SUBJECTS);
    let (mut upstream, mut alerts) = (Upstream::new(&*log), Alerts::default());

    let detect = Detect::start(at);
    upstream.push_everywhere("first");
    alerts.wait_for(&*log, "first");
    // Stopped in good order, it leaves a snapshot of everything.
    detect.stop();
    let spans = places(CHANGELOG).map(|at| log.span(&at).unwrap());
    let offsets: u64 = spans.map(|span| span.end - span.start).sum();

    let mut took = [Took::default(), Took::default()];
    for run in 0..RUNS {
        for (took, kept) in took.iter_mut().zip([true, false]) {
            let detect = Detect::start(at);
            (0..TAIL).for_each(|i| upstream.push(&format!("calm{i}"), 50.0));
            let (before, after) = (format!("before{run}{kept}"), format!("after{run}{kept}"));
            upstream.push_everywhere(&before);
            alerts.wait_for(&*log, &before);
            drop(detect); // kill -9
            if !kept {
                std::fs::remove_dir_all(at.join("data")).unwrap();
            }
            upstream.push_everywhere(&after);
            let started = Instant::now();
            let detect = Detect::start(at);
            let (first, last) = alerts.wait_for(&*log, &after);
            took.first.push((first - started).as_secs_f64());
            took.last.push((last - started).as_secs_f64());
            detect.stop();
        }
    }
    let [snapshot, empty] = took;
    println!(
        "{{\"benchmark\":\"restart\",\"subjects\":{SUBJECTS},\"changelog_offsets\":{offsets},\
         \"with_snapshot\":{snapshot},\"from_changelog\":{empty}}}"
    );
}

/// Seconds to the first alert of any partition and to that of the last partition, run by run.
#[derive(Default)]
struct Took {
    first: Vec<f64>,
    last: Vec<f64>,
}

impl std::fmt::Display for Took {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Took { first, last } = self;
        write!(out, "{{\"first_alert_s\":{first:.2?},\"last_partition_s\":{last:.2?}}}")
    }
}

fn configuration(bootstrap: &str) -> String {
    format!(
        "[log]\nkind = \"kafka\"\nbootstrap = \"{bootstrap}\"\nreplication_factor = 1\nmembership = \"static\"\n\
         [[detectors]]\nname = \"high\"\nkind = \"threshold\"\nmeasure = \"pm25\"\nraise_above = 150\nclear_below = 140\n\
         [[watches]]\nemail = \"ada@example.org\"\ndetector = \"high\"\n"
    )
}

fn places(topic: &'static str) -> impl Iterator<Item = TopicPartition> {
    (0..PARTITIONS).map(move |partition| TopicPartition::new(topic, partition))
}

/// Whoever appends readings.
struct Upstream {
    worker: Box<dyn Worker>,
    transaction: Transaction,
    topic: usize,
    key: Vec<u8>,
    seconds: u64,
}

impl Upstream {
    fn new(log: &dyn Log) -> Upstream {
        let spec = WorkerSpec { id: "producer".into(), ..WorkerSpec::default() };
        let mut transaction = Transaction::default();
        let topic = transaction.register(topics::AQI_READINGS, PARTITIONS);
        let (worker, key) = (log.worker(&spec).unwrap(), Vec::new());
        Upstream { worker, transaction, topic, key, seconds: RECORDS as u64 }
    }

    fn push(&mut self, subject: &str, value: f64) {
        reading_key(&mut self.key, "default", subject, "pm25");
        self.seconds += 1;
        let out = self.transaction.to(self.topic, &self.key);
        out.push_with(&self.key, |out| reading(subject, value, self.seconds, out));
    }

    /// A high value of a subject in each partition, named after `name`.
    fn push_everywhere(&mut self, name: &str) {
        let mut left: HashSet<u32> = (0..PARTITIONS).collect();
        for number in 0.. {
            let subject = format!("{name}-{number}");
            reading_key(&mut self.key, "default", &subject, "pm25");
            if left.remove(&partition_of(&self.key, PARTITIONS)) {
                self.push(&subject, 200.0);
            }
            if left.is_empty() {
                break;
            }
        }
        self.transaction.time = facts::now();
        self.worker.commit(&mut self.transaction).unwrap();
    }
}

/// What was alerted, and up to where it was read.
#[derive(Default)]
struct Alerts {
    read: HashMap<TopicPartition, u64>,
    subjects: HashSet<String>,
}

impl Alerts {
    /// Waits for the subjects named after `name` of all partitions; when the first and the last came.
    fn wait_for(&mut self, log: &dyn Log, name: &str) -> (Instant, Instant) {
        let (end, wanted) = (Instant::now() + Duration::from_secs(180), format!("{name}-"));
        let mut first = None;
        loop {
            self.read(log);
            let found = self.subjects.iter().filter(|subject| subject.starts_with(&wanted)).count();
            let now = Instant::now();
            if found > 0 {
                first.get_or_insert(now);
            }
            if found == PARTITIONS as usize {
                return (first.unwrap(), now);
            }
            assert!(now < end, "{found} alerts of {name} only");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn read(&mut self, log: &dyn Log) {
        for at in places(topics::ALERTS) {
            let from = self.read.get(&at).copied().unwrap_or_default();
            let batch = log.read(&at, from, 1 << 20).unwrap();
            for record in batch.records() {
                let alert: Alert =
                    wire::read_owned(record.value.unwrap(), &SchemaIds::default()).unwrap();
                self.subjects.insert(alert.subject);
            }
            self.read.insert(at, batch.next);
        }
    }
}

/// A running `tocsin detect`; killed when it is dropped.
struct Detect(Child);

impl Detect {
    fn start(at: &Path) -> Detect {
        let mut command = Command::new(program());
        command.arg("detect").arg("--config").arg(at.join("tocsin.toml"));
        command.arg("--data").arg(at.join("data")).args(["--admin", "127.0.0.1:0", "--slot", "0"]);
        command.env("TOCSIN_LOG", "error").stdout(Stdio::null());
        Detect(command.spawn().unwrap())
    }

    fn stop(mut self) {
        let id = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Detect {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
