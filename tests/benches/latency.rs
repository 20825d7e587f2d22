//! From append to accepted mail, at 1,000 events a second over real SMTP on this machine: one event
//! in twenty raises an alert that somebody watches.
//!
//! `cargo bench -p tocsin-tests --bench latency` prints one line of JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};
use support::{Meter, quantile, reading};
use tocsin::facts;
use tocsin::runtime::Node;
use tocsin::settings::Settings;
use tocsin_domain::event::reading_key;
use tocsin_domain::topics;
use tocsin_stream::log::{Transaction, WorkerSpec};
use tocsin_testkit::smtp::{Faults, SmtpServer};

const RATE: u64 = 1_000;
const SECONDS: u64 = 20;
const ONE_IN: u64 = 20;

fn main() {
    let server = SmtpServer::start(Faults::new()).unwrap();
    let text = format!(
        "[channels.email]\ntransport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"Tocsin <tocsin@example.org>\"\n\
         [[detectors]]\nname = \"high\"\nkind = \"threshold\"\nmeasure = \"pm25\"\nraise_above = 150\nclear_below = 140\n\
         [[watches]]\nemail = \"ada@example.org\"\ndetector = \"high\"\non = [\"raised\"]\n",
        server.port()
    );
    let settings = Settings::parse(&text, "benchmark", facts::now()).unwrap();
    let directory = tempfile::tempdir().unwrap();
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
    for event in 0..RATE * SECONDS {
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
        transaction.time = facts::now();
        worker.commit(&mut transaction).unwrap();
    }
    assert!(server.wait_for(appended.len(), Duration::from_secs(30)), "mails are missing");
    let cpu = meter.cpu();
    let mut waits = Vec::new();
    for mail in server.accepted() {
        let text = String::from_utf8_lossy(&mail.bytes);
        let at = text.find("hot").expect("the subject is in the mail");
        let subject = &text[at..=at + text[at..].find('x').unwrap()];
        waits.push(mail.at.duration_since(appended[subject]).as_secs_f64() * 1e3);
    }
    assert_eq!(waits.len(), appended.len(), "each mail once");
    waits.sort_by(f64::total_cmp);
    println!(
        "{{\"benchmark\":\"latency\",\"events_per_second\":{RATE},\"mails\":{},\"p50_ms\":{:.1},\"p99_ms\":{:.1},\"max_ms\":{:.1},\"cpu_share\":{:.2}}}",
        waits.len(),
        quantile(&waits, 0.5),
        quantile(&waits, 0.99),
        quantile(&waits, 1.0),
        cpu / meter.seconds()
    );
    node.stop.stop();
    node.wait().unwrap();
}
