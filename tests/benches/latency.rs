//! From append to accepted mail, at 1,000 events a second over real SMTP on this machine: one event
//! in twenty raises an alert that somebody watches.
//!
//! `cargo bench -p tocsin-tests --bench latency` prints one line of JSON. With TOCSIN_BENCH_CLUSTER=1 the
//! services run over Kafka and Cassandra, which are given 20 s first, and ten events are appended at a
//! time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Meter, quantile, reading};
use tocsin::facts;
use tocsin::runtime::Node;
use tocsin::settings::Settings;
use tocsin_domain::event::reading_key;
use tocsin_domain::topics::{self, Topics};
use tocsin_stream::Log;
use tocsin_stream::kafka::{KafkaLog, KafkaOptions};
use tocsin_stream::log::{Transaction, WorkerSpec};
use tocsin_testkit::servers::{Kind, Private};
use tocsin_testkit::smtp::{Faults, SmtpServer};

const RATE: u64 = 1_000;
const SECONDS: u64 = 20;
/// Servers that have just started are slow until their code is compiled: what is sent then is not
/// counted.
const WARM: u64 = 20;
const ONE_IN: u64 = 20;

fn main() {
    let server = SmtpServer::start(Faults::new()).unwrap();
    let text = format!(
        "[channels.email]\ntransport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"Tocsin <tocsin@example.org>\"\n\
         [[detectors]]\nname = \"high\"\nkind = \"threshold\"\nmeasure = \"pm25\"\nraise_above = 150\nclear_below = 140\n\
         [[watches]]\nemail = \"ada@example.org\"\ndetector = \"high\"\non = [\"raised\"]\n",
        server.port()
    );
    let directory = tempfile::tempdir().unwrap();
    let cluster =
        std::env::var_os("TOCSIN_BENCH_CLUSTER").map(|_| Cluster::start(directory.path()));
    let text = cluster.as_ref().map(Cluster::configuration).unwrap_or_default() + &text;
    let batch = if cluster.is_some() { 10 } else { 1 };
    let settings = Settings::parse(&text, "benchmark", facts::now()).unwrap();
    let node = Node::start(settings, directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    while ureq::get(format!("{}/readyz", node.url)).call().is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }

    let mut worker =
        node.log.worker(&WorkerSpec { id: "producer".into(), ..WorkerSpec::default() }).unwrap();
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::AQI_READINGS, 8);
    let (mut key, mut appended) = (Vec::new(), HashMap::new());
    let meter = Meter::start();
    let started = Instant::now();
    let warm = if cluster.is_some() { WARM } else { 0 };
    for event in 0..RATE * (warm + SECONDS) {
        let due = started + Duration::from_micros(event * 1_000_000 / RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let alarming = event % ONE_IN == 0;
        let subject =
            if alarming { format!("hot{event}x") } else { format!("calm{}", event % 997) };
        reading_key(&mut key, "default", &subject, "pm25");
        let value = if alarming { 200.0 } else { 50.0 };
        let out = transaction.to(topic, &key);
        out.push_with(&key, |out| reading(&subject, value, event, out));
        if alarming {
            appended.insert(subject, Instant::now());
        }
        if (event + 1) % batch == 0 {
            transaction.time = facts::now();
            worker.commit(&mut transaction).unwrap();
        }
    }
    // A producer that waits for its commits may not keep up: what it did is said.
    let rate = RATE as f64 * (warm + SECONDS) as f64 / started.elapsed().as_secs_f64();
    assert!(server.wait_for(appended.len(), Duration::from_secs(30)), "mails are missing");
    let cpu = meter.cpu();
    let mut waits = Vec::new();
    for mail in server.accepted() {
        let text = String::from_utf8_lossy(&mail.bytes);
        let at = text.find("hot").expect("the subject is in the mail");
        let subject = &text[at..=at + text[at..].find('x').unwrap()];
        let appended = appended.remove(subject).expect("each mail once");
        if appended.duration_since(started) >= Duration::from_secs(warm) {
            waits.push(mail.at.duration_since(appended).as_secs_f64() * 1e3);
        }
    }
    waits.sort_by(f64::total_cmp);
    println!(
        "{{\"benchmark\":\"latency\",\"cluster\":{},\"events_per_second\":{rate:.0},\"mails\":{},\"p50_ms\":{:.1},\"p99_ms\":{:.1},\"max_ms\":{:.1},\"cpu_share\":{:.2}}}",
        cluster.is_some(),
        waits.len(),
        quantile(&waits, 0.5),
        quantile(&waits, 0.99),
        quantile(&waits, 1.0),
        cpu / meter.seconds()
    );
    node.stop.stop();
    node.wait().unwrap();
}

/// Servers for the services to run over.
struct Cluster {
    kafka: Private,
    cql: Private,
}

impl Cluster {
    fn start(directory: &Path) -> Cluster {
        let cluster = Cluster {
            kafka: Private::start(Kind::Kafka, &directory.join("kafka")),
            cql: Private::start(Kind::Cql, &directory.join("cassandra")),
        };
        let bootstrap = cluster.kafka.address().to_owned();
        let options = KafkaOptions { bootstrap, ..KafkaOptions::default() };
        let log = KafkaLog::connect(options).unwrap();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        cluster
    }

    fn configuration(&self) -> String {
        format!(
            "[log]\nkind = \"kafka\"\nbootstrap = \"{}\"\nreplication_factor = 1\n[store]\nkind = \"cql\"\ncontact_points = \"{}\"\nkeyspace = \"latency\"\ndialect = \"cassandra\"\n",
            self.kafka.address(),
            self.cql.address()
        )
    }
}
