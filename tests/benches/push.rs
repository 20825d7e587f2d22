//! Pushed readings, in batches of 500 CloudEvents, to a log whose every commit is on the disk. The
//! load comes from a process of its own on the same machine, so that the CPU is that of who takes.
//! Beside it, in the same run, the floor: the same log, filled in batches of 500 without HTTP or JSON.
//!
//! `cargo bench -p tocsin-tests --bench push` prints one line of JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use support::{Meter, Walk, quantile, reading};
use tocsin::facts;
use tocsin::settings::Settings;
use tocsin_domain::event::reading_key;
use tocsin_domain::topics::Topics;
use tocsin_domain::{TopicPartition, topics};
use tocsin_ingest::push::{Push, token_hash};
use tocsin_service::{Metrics, Stop, http};
use tocsin_stream::Log;
use tocsin_stream::embedded::{EmbeddedLog, Options};
use tocsin_stream::log::{Transaction, WorkerSpec};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 500;
const SUBJECTS: usize = 10_000;
const CONNECTIONS: usize = 8;
/// Bodies are made before the clock runs, and each is sent several times with other keys.
const BODIES: usize = 40;
const TOKEN: &str = "a-token-of-the-benchmark";

fn main() {
    if let Some(at) = std::env::args().skip_while(|arg| arg != "--load").nth(1) {
        return load(at.parse().unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let pushed = push(&directory.path().join("pushed"));
    let (floor, floor_cpu) = floor(&directory.path().join("floor"));
    let per_second = EVENTS as f64 / pushed.seconds;
    println!(
        "{{\"benchmark\":\"push\",\"events\":{EVENTS},\"batch\":{BATCH},\"connections\":{CONNECTIONS},\"bytes_per_event\":{:.0},\"per_second\":{per_second:.0},\"cpu_us_per_event\":{:.2},\"commits\":{:.0},\"p50_ms\":{:.1},\"p99_ms\":{:.1},\"log_alone_per_second\":{floor:.0},\"log_alone_cpu_us_per_event\":{floor_cpu:.2}}}",
        pushed.bytes,
        pushed.cpu * 1e6 / EVENTS as f64,
        pushed.commits,
        pushed.p50,
        pushed.p99
    );
}

/// What the pushes took.
struct Pushed {
    seconds: f64,
    cpu: f64,
    commits: f64,
    bytes: f64,
    p50: f64,
    p99: f64,
}

fn open(directory: &Path) -> Arc<dyn Log> {
    let log = EmbeddedLog::open(directory, Options::default()).unwrap();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    log
}

fn stored(log: &dyn Log) -> u64 {
    let parts = 0..log.partitions(topics::AQI_READINGS).unwrap();
    parts.map(|n| log.span(&TopicPartition::new(topics::AQI_READINGS, n)).unwrap().end).sum()
}

fn push(directory: &Path) -> Pushed {
    let log = open(directory);
    let hash: String = token_hash(TOKEN.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    let text = format!(
        "[[producers]]\nname = \"bench\"\ntoken_sha256 = \"{hash}\"\nevents = [\"reading\"]\n"
    );
    let settings = Settings::parse(&text, "benchmark", facts::now()).unwrap();
    let (metrics, stop) = (Metrics::new(), Stop::new());
    let made =
        Push::new(&log, (&settings.push, &[]), 0, metrics.clone(), Arc::new(facts::now)).unwrap();
    let token = stop.clone();
    let writer = std::thread::spawn(move || made.1.run(&token));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    runtime.spawn(http::serve(listener, made.0.router(), stop.clone()));

    let mut load = Command::new(std::env::current_exe().unwrap());
    load.args(["--load", &at.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut load = load.spawn().unwrap();
    let mut said = BufReader::new(load.stdout.take().unwrap()).lines();
    let bytes: f64 = said.next().unwrap().unwrap().parse().unwrap();
    let meter = Meter::start();
    load.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let line = said.next().unwrap().unwrap();
    let (seconds, cpu) = (meter.seconds(), meter.cpu());
    assert!(load.wait().unwrap().success());
    assert_eq!(stored(&*log), EVENTS as u64, "what was accepted is in the log");
    stop.stop();
    writer.join().unwrap().unwrap();
    let quantiles: Vec<f64> = line.split(' ').map(|text| text.parse().unwrap()).collect();
    let text = metrics.encode();
    let commits = text.lines().find(|line| line.starts_with("tocsin_commits_total")).unwrap();
    let commits = commits.rsplit(' ').next().unwrap().parse().unwrap();
    Pushed { seconds, cpu, commits, bytes, p50: quantiles[0], p99: quantiles[1] }
}

/// Events a second and CPU microseconds an event of the log alone.
fn floor(directory: &Path) -> (f64, f64) {
    let log = open(directory);
    let mut walk = Walk::new(SUBJECTS);
    let spec = WorkerSpec { id: "floor".into(), ..WorkerSpec::default() };
    let mut worker = log.worker(&spec).unwrap();
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::AQI_READINGS, 8);
    let (meter, mut key) = (Meter::start(), Vec::new());
    for at in 0..EVENTS {
        let (subject, value) = walk.next();
        let subject = format!("station-{subject}");
        reading_key(&mut key, "default", &subject, "pm25");
        let out = transaction.to(topic, &key);
        out.push_with(&key, |out| reading(&subject, value, at as u64, out));
        if (at + 1) % BATCH == 0 {
            worker.commit(&mut transaction).unwrap();
        }
    }
    assert_eq!(stored(&*log), EVENTS as u64);
    (EVENTS as f64 / meter.seconds(), meter.cpu() * 1e6 / EVENTS as f64)
}

/// The other process: sends everything over some connections, and says how long answers took.
fn load(at: SocketAddr) {
    let bodies = bodies();
    let bytes: usize = bodies.iter().map(String::len).sum();
    println!("{:.0}", bytes as f64 / (BODIES * BATCH) as f64);
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let each = EVENTS / BATCH / CONNECTIONS;
    let mut took: Vec<f64> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let bodies = &bodies;
                scope.spawn(move || send(at, number * each..(number + 1) * each, bodies))
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    took.sort_by(f64::total_cmp);
    println!("{:.3} {:.3}", quantile(&took, 0.5), quantile(&took, 0.99));
}

fn bodies() -> Vec<String> {
    let mut walk = Walk::new(SUBJECTS);
    let body = |number: usize| {
        let mut body = String::from("[");
        for n in 0..BATCH {
            let (subject, value) = walk.next();
            let comma = if n == 0 { "" } else { "," };
            let (id, minute, second) = (number * BATCH + n, n / 60, n % 60);
            write!(body, r#"{comma}{{"specversion":"1.0","id":"{id}","source":"/benchmark","type":"tocsin.reading","time":"2024-05-01T12:{minute:02}:{second:02}Z","data":{{"subject":"station-{subject}","measure":"pm25","value":{value:.2},"unit":"ug/m3","averaging":"PT1H"}}}}"#).unwrap();
        }
        body + "]"
    };
    (0..BODIES).map(body).collect()
}

/// Milliseconds of each answer.
fn send(at: SocketAddr, numbers: std::ops::Range<usize>, bodies: &[String]) -> Vec<f64> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut took, mut answer) = (Vec::new(), vec![0; 4096]);
    for number in numbers {
        let body = &bodies[number % BODIES];
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/cloudevents-batch+json\r\nidempotency-key: {number}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let begun = Instant::now();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut length = 0;
        while !answer[..length].ends_with(b"}") {
            let read = stream.read(&mut answer[length..]).unwrap();
            assert!(read > 0, "the server has gone");
            length += read;
        }
        let text = String::from_utf8_lossy(&answer[..length]);
        assert!(text.starts_with("HTTP/1.1 202"), "{text}");
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took
}
