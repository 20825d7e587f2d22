//! A cluster for a test: a Kafka of its own and a keyspace of its own, the services as processes on
//! them, and what their probes say. Topics have fixed names, so two tests cannot share a broker.

#![allow(dead_code, reason = "each test binary uses its part")]

use super::{Running, tocsin, until};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tocsin_testkit::servers::{self, Kind, Private};

/// The servers of one test.
pub struct Servers {
    pub kafka: Private,
    cql: String,
    keyspace: String,
}

impl Servers {
    /// A broker below `at`, and a keyspace in the database that the whole run shares.
    pub fn start(at: &Path) -> Servers {
        Servers::with_database(at, servers::cql())
    }

    /// The same in that database.
    pub fn with_database(at: &Path, cql: &str) -> Servers {
        let kafka = Private::start(Kind::Kafka, &at.join("kafka"));
        Servers { kafka, cql: cql.to_owned(), keyspace: servers::unique("processes") }
    }

    /// `[log]` and `[store]`; `more` are other keys of `[log]`.
    pub fn sections(&self, more: &str) -> String {
        let (kafka, cql, keyspace) = (self.kafka.address(), &self.cql, &self.keyspace);
        format!(
            r#"
[log]
kind = "kafka"
bootstrap = "{kafka}"
replication_factor = 1
transaction_timeout = "4s"
session_timeout = "6s"
{more}
[store]
kind = "cql"
contact_points = "{cql}"
keyspace = "{keyspace}"
dialect = "cassandra"
"#
        )
    }
}

/// A service with the configuration, data directory and slot that it has in these tests.
pub fn service(at: &Path, name: &str, slot: u32) -> Command {
    let mut command = tocsin();
    command.arg(name).arg("--config").arg(at.join("tocsin.toml"));
    command.args(["--admin", "127.0.0.1:0", "--slot", &slot.to_string()]);
    command.arg("--data").arg(at.join(format!("{name}-{slot}")));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A command that ends: what it said, as an error if it failed.
pub fn run(at: &Path, words: &[&str]) -> Result<String, String> {
    let mut command = tocsin();
    command.args(words).arg("--config").arg(at.join("tocsin.toml"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Puts a file into a folder as it should be done: under another name first, so that it comes whole.
pub fn put(file: &Path, folder: &Path) -> PathBuf {
    let target = folder.join(file.file_name().unwrap());
    let draft = folder.join(format!(".{}", file.file_name().unwrap().to_string_lossy()));
    std::fs::copy(file, &draft).unwrap();
    std::fs::rename(&draft, &target).unwrap();
    target
}

/// A process and where it is asked how it is.
pub struct Process {
    pub running: Running,
    pub admin: String,
    /// Where the pages are, of `api`.
    pub url: String,
    log: PathBuf,
}

impl Process {
    /// Starts a service. What it logs stays in `at`.
    pub fn service(at: &Path, name: &str, slot: u32) -> Process {
        let mut command = service(at, name, slot);
        if name == "api" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Process::start(&mut command, at.join(format!("{name}-{slot}.log")))
    }

    /// Starts a command that answers probes, and waits until it says where.
    pub fn start(command: &mut Command, log: PathBuf) -> Process {
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let written = file.metadata().unwrap().len() as usize;
        command.env("TOCSIN_LOG", "info").stdout(Stdio::null()).stderr(file);
        let running = Running(command.spawn().unwrap());
        let (admin, url) = (String::new(), String::new());
        let mut process = Process { running, admin, url, log };
        let address = |text: &str, before: &str| {
            let at = text.find(&format!("{before} http://"))? + before.len() + 1;
            text[at..].split_whitespace().next().map(str::to_owned)
        };
        until("a process says where it is asked", || {
            let said = process.said();
            process.url = address(&said[written..], "serving").unwrap_or_default();
            process.admin = address(&said[written..], "probes at").unwrap_or_default();
            !process.admin.is_empty()
        });
        process
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Status and text of an answer of its admin port; no status if there is none.
    pub fn ask(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let answer = agent.get(format!("{}{path}", self.admin)).call();
        let text = answer.and_then(|mut answer| {
            Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
        });
        text.unwrap_or_else(|error| (0, error.to_string()))
    }

    pub fn is_ready(&self) -> bool {
        self.ask("/readyz").0 == 200
    }

    /// What `/readyz` says.
    pub fn ready(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask("/readyz").1).unwrap_or_default()
    }

    pub fn partitions(&self, part: &str) -> u64 {
        self.ready()["parts"][part]["partitions"].as_u64().unwrap_or_default()
    }

    /// The sum of a metric over those of its lines that hold `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.ask("/metrics").1;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The last lines that it has logged.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(4)..].join("\n")
    }

    /// Whether a signal has stopped it.
    pub fn is_stopped(&self) -> bool {
        let path = format!("/proc/{}/stat", self.running.0.id());
        let status = std::fs::read_to_string(path).unwrap();
        status.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// What it has in memory, in KiB.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.running.0.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let id = self.running.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Asks it to end; its exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.running.0.wait().unwrap().code()
    }
}
