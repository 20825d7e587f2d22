//! The services as processes over a real Kafka and a real database: two of each that divides its
//! work, one of them killed in the middle. The alerts are those of a backtest, every mail is sent
//! once, and the tables are as the log says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Running, get, tocsin, until};
use tocsin::command::backtest::backtest;
use tocsin::settings::Settings;
use tocsin::{backend, facts};
use tocsin_domain::alert::Alert;
use tocsin_domain::{Id, topics};
use tocsin_testkit::servers::{self, Kind, Private};
use tocsin_testkit::smtp::{Faults, SmtpServer};

const SUBJECTS: usize = 60;
const HOURS: usize = 50;
const FILES: usize = 5;

/// Each subject is up for an hour and down for two, and begins at an hour of its own.
fn recorded(part: usize) -> String {
    let mut text = String::from("time,station,value\n");
    for hour in part * HOURS / FILES..(part + 1) * HOURS / FILES {
        for subject in 0..SUBJECTS {
            let time = format!("2024-01-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24);
            let value = if (hour + subject) % 3 == 0 { 90 } else { 10 };
            writeln!(text, "{time},s{subject},{value}").unwrap();
        }
    }
    text
}

fn configuration(kafka: &str, smtp: u16) -> String {
    let (cql, keyspace) = (servers::cql(), servers::unique("processes"));
    format!(
        r#"
[log]
kind = "kafka"
bootstrap = "{kafka}"
replication_factor = 1
transaction_timeout = "4s"
session_timeout = "6s"
[store]
kind = "cql"
contact_points = "{cql}"
keyspace = "{keyspace}"
dialect = "cassandra"
[channels.email]
transport = "smtp"
host = "127.0.0.1"
port = {smtp}
tls = "none"
base_url = "http://tocsin.example.org"
[[sources]]
name = "walk"
kind = "csv"
event = "reading"
time = "{{time}}"
subject = "{{station}}"
measure = "pm25"
value = "{{value}}"
unit = "ug/m3"
folder = "incoming"
[[detectors]]
name = "high"
kind = "threshold"
measure = "pm25"
raise_above = 50
clear_below = 40
[[watches]]
email = "ada@example.org"
detector = "high"
subject = "s7"
on = ["raised"]
"#
    )
}

/// A process and where it is asked how it is.
struct Process {
    running: Running,
    admin: String,
    /// Where the pages are, of `api`.
    url: String,
}

fn start(directory: &Path, service: &str, slot: u32) -> Process {
    let mut command = tocsin();
    command.arg(service).arg("--config").arg(directory.join("tocsin.toml"));
    let data = directory.join(format!("{service}-{slot}"));
    command.args(["--admin", "127.0.0.1:0", "--slot", &slot.to_string()]).arg("--data").arg(data);
    if service == "api" {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let log = std::fs::File::create(directory.join(format!("{service}-{slot}.log"))).unwrap();
    let child =
        command.env("TOCSIN_LOG", "info").stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let running = Running(child);
    let said = || {
        let path = directory.join(format!("{service}-{slot}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let (mut admin, mut url) = (None, None);
    let address = |text: &str, before: &str| {
        let at = text.find(&format!("{before} http://"))? + before.len() + 1;
        text[at..].split_whitespace().next().map(str::to_owned)
    };
    until(&format!("{service} {slot} says where it is asked"), || {
        let text = said();
        (admin, url) = (address(&text, "probes at"), address(&text, "serving"));
        admin.is_some()
    });
    Process { running, admin: admin.unwrap(), url: url.unwrap_or_default() }
}

impl Process {
    fn is_ready(&self) -> bool {
        ureq::get(format!("{}/readyz", self.admin)).call().is_ok()
    }

    fn partitions(&self, part: &str) -> u64 {
        let mut answer = ureq::get(format!("{}/readyz", self.admin)).call().unwrap();
        let said: serde_json::Value = answer.body_mut().read_json().unwrap();
        said["parts"][part]["partitions"].as_u64().unwrap_or_default()
    }

    fn terminate(mut self) -> Option<i32> {
        let id = self.running.0.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        self.running.0.wait().unwrap().code()
    }
}

/// `tocsin projections <what>`, and what it said.
fn projections(directory: &Path, what: &str) -> String {
    let mut command = tocsin();
    command.args(["projections", what, "--config"]).arg(directory.join("tocsin.toml"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn put(directory: &Path, part: usize) {
    // As it should be done: under another name first, so that it comes whole.
    let (draft, path) = (directory.join(".draft"), directory.join(format!("part-{part}.csv")));
    std::fs::write(&draft, recorded(part)).unwrap();
    std::fs::rename(draft, path).unwrap();
}

fn expected(settings: &Settings, directory: &Path) -> (usize, BTreeSet<Id>) {
    let files: Vec<PathBuf> = (0..FILES).map(|p| directory.join(format!("part-{p}.csv"))).collect();
    let report = backtest(settings, Some("walk"), &files, facts::now()).unwrap();
    let mails = report.watches.iter().map(|watch| watch.mails.len()).sum();
    (mails, report.alerts.iter().map(|alert| alert.id).collect())
}

#[test]
fn two_processes_of_each_service_survive_the_loss_of_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let kafka = Private::start(Kind::Kafka, &at.join("kafka"));
    let smtp = SmtpServer::start(Faults::new()).unwrap();
    std::fs::write(at.join("tocsin.toml"), configuration(kafka.address(), smtp.port())).unwrap();
    std::fs::create_dir(at.join("incoming")).unwrap();
    let settings = Settings::load(&at.join("tocsin.toml"), facts::now()).unwrap();

    let mut apply = tocsin();
    apply.args(["topics", "apply", "--yes", "--config"]).arg(at.join("tocsin.toml"));
    assert!(apply.status().unwrap().success());
    assert!(projections(at, "migrate").contains("made the tables"));
    assert!(projections(at, "migrate").contains("nothing was changed"));
    // Both detectors declare what is configured, at once.
    let mut detectors = vec![start(at, "detect", 0), start(at, "detect", 1)];
    let names = [("ingest", 0), ("notify", 0), ("notify", 1), ("project", 0), ("project", 1)];
    let mut others: Vec<Process> = names.map(|(name, slot)| start(at, name, slot)).into();
    let api = start(at, "api", 0);
    until("the partitions are divided", || {
        let ready = detectors.iter().chain(&others).all(Process::is_ready);
        ready && detectors.iter().all(|process| process.partitions("detect") == 4)
    });

    for part in 0..2 {
        put(&at.join("incoming"), part);
    }
    let log = backend::log(&settings, at).unwrap();
    let count = || facts::all::<Alert>(&*log, topics::ALERTS).unwrap().len();
    until("the first alerts", || count() > 100);
    drop(detectors.pop()); // kill -9
    for part in 2..FILES {
        put(&at.join("incoming"), part);
    }
    let (mails, alerts) = expected(&settings, &at.join("incoming"));
    assert!(mails > 10 && alerts.len() > 1000, "{mails} mails, {} alerts", alerts.len());
    until("the other one has everything", || count() >= alerts.len());
    assert_eq!(detectors[0].partitions("detect"), 8);

    assert!(smtp.wait_for(mails, Duration::from_secs(60)), "{} of {mails}", smtp.accepted().len());
    until("the pages show every mail as sent", || {
        let items = get(&format!("{}/api/v1/deliveries?limit=100", api.url))["items"].clone();
        let sent = items.as_array().unwrap().iter().filter(|item| item["state"] == "sent").count();
        sent == mails
    });
    let verified = projections(at, "verify");
    assert!(verified.contains(&format!("alerts_by_id: {} rows, 0 differ", alerts.len())));
    others.push(api);
    for process in others.into_iter().chain(detectors) {
        assert_eq!(process.terminate(), Some(0));
    }
    let found: Vec<Id> =
        facts::all::<Alert>(&*log, topics::ALERTS).unwrap().iter().map(|alert| alert.id).collect();
    assert_eq!(found.len(), alerts.len(), "every alert once");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), alerts);
    assert_eq!(smtp.counts().len(), mails);
    assert!(smtp.counts().values().all(|copies| *copies == 1), "{:?}", smtp.counts());
}
