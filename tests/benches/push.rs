//! Pushed readings, in batches of 500 CloudEvents, to a log whose every commit is on the disk. The
//! load comes from a process of its own on the same machine, so that the CPU is that of who takes.
//! Beside it, in the same run, the floor: the same log, filled in batches of 500 without HTTP or JSON.
//!
//! `cargo bench -p tocsin-tests --bench push` prints one line of JSON. With TOCSIN_BENCH_PEER=1 a second
//! one: Apache Flume takes the same load, and its 200, too, comes after the batch is on the disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking"
)]

mod support;

use std::fmt::{self, Write as _};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
use tocsin_testkit::servers::{Kind, Private};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 500;
const SUBJECTS: usize = 10_000;
const CONNECTIONS: usize = 8;
/// Bodies are made before the clock runs, and each is sent several times with other keys.
const BODIES: usize = 40;
const TOKEN: &str = "a-token-of-the-benchmark";

fn main() {
    let mut words = std::env::args().skip_while(|arg| arg != "--load").skip(1);
    if let Some(at) = words.next() {
        let taker = Taker::named(&words.next().unwrap());
        return load(at.parse().unwrap(), taker);
    }
    let directory = tempfile::tempdir().unwrap();
    let (pushed, commits) = push(&directory.path().join("pushed"));
    let (floor, floor_cpu) = floor(&directory.path().join("floor"));
    println!(
        "{{\"benchmark\":\"push\",{pushed},\"commits\":{commits:.0},\"log_alone_per_second\":{floor:.0},\"log_alone_cpu_us_per_event\":{floor_cpu:.2}}}"
    );
    if std::env::var_os("TOCSIN_BENCH_PEER").is_some() {
        let taken = flume(&directory.path().join("flume"));
        println!(
            "{{\"benchmark\":\"push\",\"peer\":\"Apache Flume 1.11.0\",{taken},\"acknowledges\":\"{FLUME_ACKNOWLEDGES}\"}}"
        );
    }
}

/// What the 200 of Flume says, and what ours says beyond it.
const FLUME_ACKNOWLEDGES: &str = "the batch is in its write-ahead file after an fdatasync, as ours is in the log; but whatever is headers and a text passes: no token, no schema of an event, no id that makes a repeat harmless, no key of a request";

/// Who takes the load: what is said to them differs, what is measured does not.
#[derive(Clone, Copy)]
enum Taker {
    Tocsin,
    Flume,
}

impl Taker {
    fn name(self) -> &'static str {
        match self {
            Taker::Tocsin => "tocsin",
            Taker::Flume => "flume",
        }
    }

    fn named(name: &str) -> Taker {
        [Taker::Tocsin, Taker::Flume].into_iter().find(|taker| taker.name() == name).unwrap()
    }

    /// One event: a CloudEvent; for Flume, whose events are headers and a text, the same attributes and data.
    fn event(self, (id, time): (usize, &str), (subject, value): (usize, f64), body: &mut String) {
        match self {
            Taker::Tocsin => write!(body, r#"{{"specversion":"1.0","id":"{id}","source":"/benchmark","type":"tocsin.reading","time":"{time}","data":{{"subject":"station-{subject}","measure":"pm25","value":{value:.2},"unit":"ug/m3","averaging":"PT1H"}}}}"#),
            Taker::Flume => write!(body, r#"{{"headers":{{"specversion":"1.0","id":"{id}","source":"/benchmark","type":"tocsin.reading","time":"{time}"}},"body":"{{\"subject\":\"station-{subject}\",\"measure\":\"pm25\",\"value\":{value:.2},\"unit\":\"ug/m3\",\"averaging\":\"PT1H\"}}"}}"#),
        }
        .unwrap();
    }

    fn head(self, number: usize, length: usize) -> String {
        let own = match self {
            Taker::Tocsin => format!(
                "POST /v1/events HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/cloudevents-batch+json\r\nidempotency-key: {number}"
            ),
            Taker::Flume => "POST / HTTP/1.1\r\ncontent-type: application/json".to_owned(),
        };
        format!("{own}\r\nhost: t\r\ncontent-length: {length}\r\n\r\n")
    }

    /// How the answer to a batch that was taken begins, and how it ends.
    fn accepted(self) -> (&'static str, &'static str) {
        match self {
            Taker::Tocsin => ("HTTP/1.1 202", "}"),
            Taker::Flume => ("HTTP/1.1 200", "\r\n\r\n0\r\n\r\n"),
        }
    }
}

/// What the pushes took.
struct Pushed {
    seconds: f64,
    cpu: f64,
    bytes: f64,
    p50: f64,
    p99: f64,
}

/// As members of a JSON object.
impl fmt::Display for Pushed {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(
            out,
            "\"events\":{EVENTS},\"batch\":{BATCH},\"connections\":{CONNECTIONS},\"bytes_per_event\":{:.0},\"per_second\":{:.0},\"cpu_us_per_event\":{:.2},\"p50_ms\":{:.1},\"p99_ms\":{:.1}",
            self.bytes,
            EVENTS as f64 / self.seconds,
            self.cpu * 1e6 / EVENTS as f64,
            self.p50,
            self.p99
        )
    }
}

/// Has another process send events; measures how long it takes, and the CPU of the process that takes them.
fn drive(at: SocketAddr, taker: Taker, process: u32) -> Pushed {
    let mut load = Command::new(std::env::current_exe().unwrap());
    load.args(["--load", &at.to_string(), taker.name()]);
    let mut load = load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(load.stdout.take().unwrap()).lines();
    let bytes: f64 = said.next().unwrap().unwrap().parse().unwrap();
    let meter = Meter::of(process);
    load.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let line = said.next().unwrap().unwrap();
    let (seconds, cpu) = (meter.seconds(), meter.cpu());
    assert!(load.wait().unwrap().success());
    let quantiles: Vec<f64> = line.split(' ').map(|text| text.parse().unwrap()).collect();
    Pushed { seconds, cpu, bytes, p50: quantiles[0], p99: quantiles[1] }
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

/// What the pushes took, and how many commits they were.
fn push(directory: &Path) -> (Pushed, f64) {
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

    let pushed = drive(at, Taker::Tocsin, std::process::id());
    assert_eq!(stored(&*log), EVENTS as u64, "what was accepted is in the log");
    stop.stop();
    writer.join().unwrap().unwrap();
    let text = metrics.encode();
    let commits = text.lines().find(|line| line.starts_with("tocsin_commits_total")).unwrap();
    (pushed, commits.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Apache Flume: its HTTP source, and its file channel in the place of our log.
fn flume(directory: &Path) -> Pushed {
    let flume = Private::start(Kind::Flume, directory);
    let (at, process) = (flume.address().parse().unwrap(), flume.process().unwrap());
    // The first time does not count: a JVM compiles while it works.
    drive(at, Taker::Flume, process);
    let files = directory.join("flume-data/log");
    let before = bytes_in(&files);
    let taken = drive(at, Taker::Flume, process);
    // Its files say no number of events; each event is more than its data, which has 80 bytes.
    assert!(bytes_in(&files) - before > EVENTS as u64 * 80, "what was accepted is in its files");
    taken
}

fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
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
fn load(at: SocketAddr, taker: Taker) {
    let bodies = bodies(taker);
    let bytes: usize = bodies.iter().map(String::len).sum();
    println!("{:.0}", bytes as f64 / (BODIES * BATCH) as f64);
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let each = EVENTS / BATCH / CONNECTIONS;
    let mut took: Vec<f64> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let bodies = &bodies;
                scope.spawn(move || send(at, taker, number * each..(number + 1) * each, bodies))
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    took.sort_by(f64::total_cmp);
    println!("{:.3} {:.3}", quantile(&took, 0.5), quantile(&took, 0.99));
}

fn bodies(taker: Taker) -> Vec<String> {
    let mut walk = Walk::new(SUBJECTS);
    let body = |number: usize| {
        let mut body = String::from("[");
        for n in 0..BATCH {
            let comma = if n == 0 { "" } else { "," };
            body.push_str(comma);
            let time = format!("2024-05-01T12:{:02}:{:02}Z", n / 60, n % 60);
            taker.event((number * BATCH + n, &time), walk.next(), &mut body);
        }
        body + "]"
    };
    (0..BODIES).map(body).collect()
}

/// Milliseconds of each answer.
fn send(
    at: SocketAddr,
    taker: Taker,
    numbers: std::ops::Range<usize>,
    bodies: &[String],
) -> Vec<f64> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut took, mut answer) = (Vec::new(), vec![0; 4096]);
    let (begins, ends) = taker.accepted();
    for number in numbers {
        let body = &bodies[number % BODIES];
        let head = taker.head(number, body.len());
        let begun = Instant::now();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut length = 0;
        while !answer[..length].ends_with(ends.as_bytes()) {
            let read = stream.read(&mut answer[length..]).unwrap();
            assert!(read > 0, "no more came: {}", String::from_utf8_lossy(&answer[..length]));
            length += read;
        }
        let text = String::from_utf8_lossy(&answer[..length]);
        assert!(text.starts_with(begins), "{text}");
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took
}
