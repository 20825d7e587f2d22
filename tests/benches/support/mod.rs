//! What the benchmarks share: the events of the walk, the clock of the CPU, a running program.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin::facts;
use tocsin::settings::Settings;
use tocsin_detect::DetectStep;
use tocsin_domain::alert::{Alert, AlertState};
use tocsin_domain::event::{Reading, reading_key};
use tocsin_domain::topics::Topics;
use tocsin_domain::{Id, Micros, topics, wire};
use tocsin_stream::Log;
use tocsin_stream::log::{Transaction, WorkerSpec};
use tocsin_stream::processor::{Options, Processor};

/// Records in a transaction while the log is filled.
const BATCH: usize = 10_000;

/// A random walk of many subjects around 100, the same in every run.
pub struct Walk {
    seed: u64,
    values: Vec<f64>,
}

impl Walk {
    pub fn new(subjects: usize) -> Walk {
        Walk { seed: 42, values: vec![100.0; subjects] }
    }

    fn step(&mut self) -> u64 {
        let next = self.seed.wrapping_mul(6_364_136_223_846_793_005);
        self.seed = next.wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }

    /// The next subject and its value.
    pub fn next(&mut self) -> (usize, f64) {
        let subject = (self.step() as i32 % self.values.len() as i32) as usize;
        let by = (self.step() % 4001) as f64 / 100.0 - 20.0;
        let value = &mut self.values[subject];
        *value += by - (*value - 100.0) * 0.05;
        (subject, *value)
    }
}

/// The reading of a subject, `at` seconds after the beginning.
pub fn reading(subject: &str, value: f64, at: u64, out: &mut Vec<u8>) {
    let event_time = Micros(1_700_000_000_000_000 + at as i64 * 1_000_000);
    let parts = [subject.as_bytes(), &at.to_be_bytes()];
    let reading = Reading {
        id: Id::of("event", &parts),
        tenant: "default",
        subject,
        measure: "pm25",
        value,
        unit: "ug/m3",
        averaging: "",
        place: "",
        event_time,
        arrival_time: event_time,
        source: "walk",
        origin: "",
    };
    wire::write(&reading, out);
}

/// Appends the walk's first readings.
pub fn fill(log: &dyn Log, records: usize, subjects: usize) {
    let mut walk = Walk::new(subjects);
    let spec = WorkerSpec { id: "fill".into(), ..WorkerSpec::default() };
    let mut worker = log.worker(&spec).unwrap();
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::AQI_READINGS, 8);
    transaction.time = tocsin::facts::now();
    let mut key = Vec::new();
    for at in 0..records {
        let (subject, value) = walk.next();
        let subject = format!("station-{subject}");
        reading_key(&mut key, "default", &subject, "pm25");
        let out = transaction.to(topic, &key);
        out.push_with(&key, |out| reading(&subject, value, at as u64, out));
        if (at + 1) % BATCH == 0 || at + 1 == records {
            worker.commit(&mut transaction).unwrap();
        }
    }
}

const CONFIG: &str = "[[detectors]]\nname = \"high\"\nkind = \"threshold\"\nmeasure = \"pm25\"\nraise_above = 150\nclear_below = 140\n";

/// What detecting the walk took.
pub struct Done {
    pub seconds: f64,
    pub cpu: f64,
}

/// Fills a log that is empty with the walk and detects in it, exactly once and with changelog; checks
/// the number of alerts, because with a wrong one the figures mean nothing.
pub fn detect(
    log: Arc<dyn Log>,
    records: usize,
    subjects: usize,
    alerts: usize,
    options: Options,
) -> Done {
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let settings = Settings::parse(CONFIG, "benchmark", facts::now()).unwrap();
    facts::declare(&*log, &settings.conditions, &[]).unwrap();
    fill(&*log, records, subjects);

    let step = DetectStep::new(settings.lateness.clone());
    let topology = tocsin_detect::topology();
    let mut detect = Processor::new(topology, log.clone(), step, Box::new(()), options).unwrap();
    let (mut meter, mut done) = (Meter::start(), 0);
    while done < records as u64 {
        let turn = detect.turn(Duration::from_millis(100), facts::now()).unwrap();
        if done == 0 && turn.records == 0 {
            // Joining a group and reading the tables is no detection.
            meter = Meter::start();
        }
        done += turn.records;
    }
    let took = Done { seconds: meter.seconds(), cpu: meter.cpu() };
    let found: Vec<Alert> = facts::all(&*log, topics::ALERTS).unwrap();
    let raised = found.iter().filter(|alert| alert.state == AlertState::Raised).count();
    assert_eq!(raised, alerts, "the alerts are wrong, so the figures mean nothing");
    took
}

/// Wall time, and the CPU time of a process, since a moment.
pub struct Meter {
    process: u32,
    at: Instant,
    cpu: f64,
}

impl Meter {
    pub fn start() -> Meter {
        Meter::of(std::process::id())
    }

    pub fn of(process: u32) -> Meter {
        Meter { process, at: Instant::now(), cpu: cpu_seconds(process) }
    }

    pub fn seconds(&self) -> f64 {
        self.at.elapsed().as_secs_f64()
    }

    pub fn cpu(&self) -> f64 {
        cpu_seconds(self.process) - self.cpu
    }
}

/// User and system time of a process, all threads; to 10 ms.
fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of a process, in MB.
pub fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The value at a share of sorted values.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// The program, built with the profile of the benchmark.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().parent().unwrap().join("tocsin");
    assert!(program.exists(), "build it first: cargo build --release -p tocsin");
    program
}

/// A running `tocsin up`; killed when it is dropped.
pub struct Up {
    pub child: Child,
    pub url: String,
}

impl Up {
    /// Starts it and waits until it is ready; gives the time that this took.
    pub fn start(config: &Path, data: &Path) -> (Up, Duration) {
        let started = Instant::now();
        let mut command = Command::new(program());
        command.arg("up").arg("--config").arg(config).arg("--data").arg(data);
        command.args(["--listen", "127.0.0.1:0"]).env("TOCSIN_LOG", "error");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let url = line[line.find("http://").expect(&line)..].trim().to_owned();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        let up = Up { child, url };
        while ureq::get(format!("{}/readyz", up.url)).call().is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        (up, started.elapsed())
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let mut answer = ureq::get(format!("{}/metrics", self.url)).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
