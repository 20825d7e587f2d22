//! What the tests of the command share: starting it, reading what it says, asking it.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod chaos;
pub mod cluster;
pub mod said;
pub mod walk;
pub mod world;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;
use tocsin_stream::{Log, LogError};

/// The readings of a walk, as they come into a folder.
pub const WALK: &str = r#"[[sources]]
name = "walk"
kind = "csv"
event = "reading"
time = "{time}"
subject = "{station}"
measure = "pm25"
value = "{value}"
unit = "ug/m3"
folder = "incoming"
"#;

/// The program under test.
pub fn tocsin() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tocsin"))
}

/// A running process; killed when it is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command that serves pages, and gives their address.
pub fn serve(command: &mut Command) -> (Running, String) {
    let mut child = command
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let outputs: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for output in outputs {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    drop(sender);
    let running = Running(child);
    let mut said = String::new();
    while let Ok(line) = receiver.recv_timeout(Duration::from_secs(60)) {
        said.push_str(&line);
        said.push('\n');
        // What is logged may name other addresses.
        if let Some(at) = line.find("http://").filter(|_| !line.starts_with('{')) {
            let url = line[at..].split(['/', ' ']).take(3).collect::<Vec<_>>().join("/");
            return (running, url);
        }
    }
    panic!("the program never said where it serves; it said:\n{said}");
}

/// Asks for JSON.
pub fn get(url: &str) -> serde_json::Value {
    let mut answer = ureq::get(url).call().unwrap_or_else(|error| panic!("GET {url}: {error}"));
    answer.body_mut().read_json().unwrap_or_else(|error| panic!("GET {url}: {error}"))
}

/// Asks for a page.
pub fn page(url: &str) -> String {
    let mut answer = ureq::get(url).call().unwrap_or_else(|error| panic!("GET {url}: {error}"));
    answer.body_mut().read_to_string().unwrap()
}

/// Waits until `done` says so; panics with `what` after a minute.
pub fn until(what: &str, done: impl FnMut() -> bool) {
    within(what, Duration::from_secs(60), done);
}

/// The same with another patience.
pub fn within(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < end, "waited {patience:?} in vain: {what}");
        // Who looks often at a cluster keeps it from its work.
        std::thread::sleep((patience / 1000).max(Duration::from_millis(20)));
    }
}

/// Key and value of each record of a topic; nothing for a topic that is not there yet, as in a log whose
/// owner died early.
pub fn scan(log: &dyn Log, topic: &str, mut take: impl FnMut(&[u8], &[u8])) {
    for partition in 0..log.partitions(topic).unwrap_or(0) {
        log.scan_all(&TopicPartition::new(topic, partition), |record| {
            take(record.key, record.value.unwrap_or_default());
            Ok::<(), LogError>(())
        })
        .unwrap();
    }
}

/// The workspace's directory.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
