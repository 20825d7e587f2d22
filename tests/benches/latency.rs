//! From append to accepted mail, at 1,000 events a second over real SMTP on this machine: one event
//! in twenty raises an alert that somebody watches.
//!
//! Each event has a moment at which it is due, whatever became of those before it. Several producers
//! append what is due, all of it in one transaction, and wait for nothing else: if a commit takes long,
//! the next one has more. Latency is counted from when an event was due, so that what it waited for its
//! producer counts as well.
//!
//! `cargo bench -p tocsin-tests --bench latency` prints one line of JSON. With TOCSIN_BENCH_CLUSTER=1 the
//! services run over Kafka and Cassandra, which are given a minute first.

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
/// How long is counted. On the cluster longer, so that no pause of a server is missed.
const SECONDS: [u64; 2] = [20, 60];
/// Servers that have just started are slow until their hot code is compiled, which takes most of a
/// minute and most of the machine: what is sent then is not counted.
const WARM: [u64; 2] = [0, 60];
const ONE_IN: u64 = 20;
/// Each has every third event, so that each has some of those that alarm.
const PRODUCERS: u64 = 3;

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
    let settings = Settings::parse(&text, "benchmark", facts::now()).unwrap();
    let node = Node::start(settings, directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    while ureq::get(format!("{}/readyz", node.url)).call().is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }

    let meter = Meter::start();
    let [warm, counted] = [WARM, SECONDS].map(|seconds| seconds[usize::from(cluster.is_some())]);
    let events = RATE * (warm + counted);
    let load = Load { log: &*node.log, started: Instant::now(), events };
    let produced: Vec<Produced> = std::thread::scope(|scope| {
        let producers: Vec<_> =
            (0..PRODUCERS).map(|number| scope.spawn(move || load.produce(number))).collect();
        producers.into_iter().map(|producer| producer.join().unwrap()).collect()
    });
    let rate = events as f64 / load.started.elapsed().as_secs_f64();
    assert!(rate > 0.98 * RATE as f64, "only {rate:.0} events/s were appended");
    let (mut appended, mut lags) = (HashMap::new(), Vec::new());
    for one in produced {
        appended.extend(one.alarming);
        lags.extend(one.lags.into_iter().filter(|(due, _)| load.counts(*due, warm)));
    }
    let mut lags: Vec<f64> = lags.into_iter().map(|(_, lag)| lag).collect();
    lags.sort_by(f64::total_cmp);
    assert!(server.wait_for(appended.len(), Duration::from_secs(30)), "mails are missing");
    let cpu = meter.cpu();
    let mut waits = Vec::new();
    for mail in server.accepted() {
        let text = String::from_utf8_lossy(&mail.bytes);
        let at = text.find("hot").expect("the subject is in the mail");
        let subject = &text[at..=at + text[at..].find('x').unwrap()];
        let due = appended.remove(subject).expect("each mail once");
        if load.counts(due, warm) {
            waits.push(mail.at.duration_since(due).as_secs_f64() * 1e3);
        }
    }
    waits.sort_by(f64::total_cmp);
    println!(
        "{{\"benchmark\":\"latency\",\"cluster\":{},\"events_per_second\":{rate:.0},\"append_p99_ms\":{:.1},\"mails\":{},\"p50_ms\":{:.1},\"p99_ms\":{:.1},\"max_ms\":{:.1},\"cpu_share\":{:.2}}}",
        cluster.is_some(),
        quantile(&lags, 0.99),
        waits.len(),
        quantile(&waits, 0.5),
        quantile(&waits, 0.99),
        quantile(&waits, 1.0),
        cpu / meter.seconds()
    );
    node.stop.stop();
    node.wait().unwrap();
}

/// Events that are due one after the other.
#[derive(Clone, Copy)]
struct Load<'l> {
    log: &'l dyn Log,
    started: Instant,
    events: u64,
}

/// What a producer has appended.
#[derive(Default)]
struct Produced {
    /// When the events were due that raise an alert, by subject.
    alarming: HashMap<String, Instant>,
    /// When each transaction's first event was due, and how many milliseconds later it was committed.
    lags: Vec<(Instant, f64)>,
}

impl Load<'_> {
    fn due(&self, event: u64) -> Instant {
        self.started + Duration::from_micros(event * 1_000_000 / RATE)
    }

    /// Whether what was due then is not of the warming up.
    fn counts(&self, due: Instant, warm: u64) -> bool {
        due.duration_since(self.started) >= Duration::from_secs(warm)
    }

    /// Appends the events of one producer as they become due.
    fn produce(&self, number: u64) -> Produced {
        let spec = WorkerSpec { id: format!("producer-{number}"), ..WorkerSpec::default() };
        let mut worker = self.log.worker(&spec).unwrap();
        let mut transaction = Transaction::default();
        let topic = transaction.register(topics::AQI_READINGS, 8);
        let (mut key, mut produced) = (Vec::new(), Produced::default());
        let mut next = number;
        while next < self.events {
            let first = self.due(next);
            std::thread::sleep(first.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            while next < self.events && self.due(next) <= now {
                let alarming = next.is_multiple_of(ONE_IN);
                let subject = match alarming {
                    true => format!("hot{next}x"),
                    false => format!("calm{number}-{}", next % 997),
                };
                reading_key(&mut key, "default", &subject, "pm25");
                let value = if alarming { 200.0 } else { 50.0 };
                let out = transaction.to(topic, &key);
                out.push_with(&key, |out| reading(&subject, value, next, out));
                if alarming {
                    produced.alarming.insert(subject, self.due(next));
                }
                next += PRODUCERS;
            }
            transaction.time = facts::now();
            worker.commit(&mut transaction).unwrap();
            produced.lags.push((first, first.elapsed().as_secs_f64() * 1e3));
        }
        produced
    }
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
