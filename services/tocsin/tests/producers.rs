//! The producers of `examples/producers`: what a program in another language writes to a real Kafka are
//! readings as good as ours, on the partitions that they belong to, with the ids that they have here. A
//! language that is not on this machine is said to be left out; Rust always is there, and on a build server
//! every language that is there must run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::cluster::run;
use support::root;
use tocsin::backend;
use tocsin::facts;
use tocsin::settings::Settings;
use tocsin_domain::event::Reading;
use tocsin_domain::partition::partition_of;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, Micros, TopicPartition, topics};
use tocsin_stream::Log;
use tocsin_testkit::data::is_build_server;
use tocsin_testkit::servers::{Kind, Private};

/// What is sent: some subjects more, so that several partitions are hit.
fn readings() -> Vec<(String, f64, &'static str)> {
    let time = "2024-03-01T08:00:00.25Z";
    (0..20).map(|n| (format!("Station Ünter {n}"), f64::from(n) * 1.5 - 3.0, time)).collect()
}

fn examples() -> PathBuf {
    root().join("examples/producers")
}

/// Whether a program is there and answers.
fn is_there(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// A producer that can be started, or why not.
enum Producer {
    Ready(Command),
    /// Its language is not on this machine.
    NotHere(&'static str),
    /// Its language is here, and something else is missing.
    Fails(&'static str),
}
use Producer::{Fails, NotHere, Ready};

impl Producer {
    /// How to start it; `None` if it may be left out. An error is why it may not.
    fn wanted(self, language: &str, must_run: bool) -> Result<Option<Command>, String> {
        match self {
            Ready(command) => Ok(Some(command)),
            Fails(why) if must_run => Err(format!("the producer in {language} must run: {why}")),
            NotHere(why) | Fails(why) => {
                eprintln!("NOT RUN: the producer in {language}: {why}");
                Ok(None)
            }
        }
    }
}

fn rust() -> Producer {
    let own = std::env::current_exe().unwrap();
    let built = own.parent().unwrap().parent().unwrap().join("examples/produce");
    match built.is_file() {
        true => Ready(Command::new(built)),
        false => Fails("build it first, cargo build --workspace --examples"),
    }
}

fn python(at: &Path) -> Producer {
    if !is_there(Command::new("python3").args(["-m", "venv", "--help"])) {
        return NotHere("python3 is not here");
    }
    let venv = at.join("venv");
    let made = is_there(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let mut pip = Command::new(venv.join("bin/pip"));
    let wanted = examples().join("python/requirements.txt");
    if !made || !is_there(pip.args(["install", "-q", "-r"]).arg(wanted)) {
        return Fails("its client cannot be installed");
    }
    let mut command = Command::new(venv.join("bin/python3"));
    command.arg(examples().join("python/produce.py"));
    Ready(command)
}

fn java() -> Producer {
    if !is_there(Command::new("javac").arg("-version")) {
        return NotHere("a JDK is not here");
    }
    // The servers of these tests have brought the client.
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("TOCSIN_SERVER_CACHE").or_else(|| {
        let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Some(caches?.join("tocsin-servers"))
    });
    let jars = cache.and_then(|cache| {
        let files = std::fs::read_dir(cache).ok()?;
        let names = files.filter_map(|file| Some(file.ok()?.path()));
        let of_kafka = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("kafka-") && name.ends_with(".classpath")
        };
        std::fs::read_to_string(names.into_iter().find(of_kafka)?).ok()
    });
    let Some(jars) = jars else { return Fails("the Kafka client's jars are not here") };
    let mut command = Command::new("java");
    command.args(["-cp", jars.trim()]).arg(examples().join("java/Produce.java"));
    Ready(command)
}

fn go(at: &Path) -> Producer {
    if !is_there(Command::new("go").arg("version")) {
        return NotHere("go is not here");
    }
    let program = at.join("producer");
    let mut build = Command::new("go");
    build.current_dir(examples().join("go")).args(["build", "-o"]).arg(&program).arg(".");
    if !is_there(&mut build) {
        return Fails("its client cannot be fetched");
    }
    Ready(Command::new(program))
}

/// Sends all readings with one producer, twice.
fn send(mut command: Command, broker: &str, measure: &str) {
    for _ in 0..2 {
        let mut running = command
            .args(if command.get_args().any(|word| word == broker) { None } else { Some(broker) })
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = running.stdin.take().unwrap();
        for (subject, value, time) in readings() {
            writeln!(lines, "{subject},{measure},{value},ug/m3,{time}").unwrap();
        }
        drop(lines);
        assert!(running.wait().unwrap().success(), "the producer of {measure} has failed");
    }
}

/// Every reading of a measure is there, where it belongs, with its own id, twice.
fn check(log: &dyn Log, measure: &str) {
    let mut found = 0;
    let partitions = log.partitions(topics::AQI_READINGS).unwrap();
    for partition in 0..partitions {
        let at = TopicPartition::new(topics::AQI_READINGS, partition);
        log.scan_all(&at, |record| {
            let ids = SchemaIds::default();
            let reading: Reading<'_> = wire::read(record.value.unwrap(), &ids).unwrap();
            if reading.measure != measure {
                return Ok::<(), tocsin_stream::LogError>(());
            }
            let key = format!("default/{}/{measure}", reading.subject);
            assert_eq!(record.key, key.as_bytes());
            assert_eq!(partition_of(record.key, partitions), partition, "{measure}: {key}");
            let sent = readings().into_iter().find(|(subject, ..)| subject == reading.subject);
            let (subject, value, time) = sent.unwrap();
            let time = Micros::parse(time).unwrap();
            let parts =
                [&b"default"[..], subject.as_bytes(), measure.as_bytes(), &time.0.to_be_bytes()];
            assert_eq!((reading.id, reading.event_time), (Id::of("reading", &parts), time));
            assert_eq!((reading.value, reading.unit), (value, "ug/m3"));
            found += 1;
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(found, 2 * readings().len(), "{measure}");
}

#[test]
fn what_other_languages_send_are_readings_where_they_belong() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let kafka = Private::start(Kind::Kafka, &at.join("kafka"));
    let text = format!(
        "[log]\nkind = \"kafka\"\nbootstrap = \"{}\"\nreplication_factor = 1\n",
        kafka.address()
    );
    let file = at.join("tocsin.toml");
    std::fs::write(&file, text).unwrap();
    run(at, &["topics", "apply", "--yes"]).unwrap();
    let log = backend::log(&Settings::load(&file, facts::now()).unwrap(), at).unwrap();
    let producers = [("rust", rust()), ("python", python(at)), ("java", java()), ("go", go(at))];
    for (measure, producer) in producers {
        // Ours is built with the tests.
        let must_run = measure == "rust" || is_build_server();
        let Some(command) = producer.wanted(measure, must_run).unwrap() else { continue };
        send(command, kafka.address(), measure);
        check(&*log, measure);
        eprintln!("RUN: the producer in {measure}");
    }
}

#[test]
fn a_language_that_is_here_must_run_where_it_is_asked_for_and_one_that_is_not_may_be_left_out() {
    for (producer, must_run, wanted) in [
        (Ready(Command::new("true")), true, "runs"),
        (Fails("no client"), true, "fails"),
        (Fails("no client"), false, "left out"),
        (NotHere("no compiler"), true, "left out"),
    ] {
        let found = match producer.wanted("x", must_run) {
            Ok(Some(_)) => "runs",
            Ok(None) => "left out",
            Err(why) => {
                assert_eq!(why, "the producer in x must run: no client");
                "fails"
            }
        };
        assert_eq!(found, wanted, "{must_run}");
    }
}
