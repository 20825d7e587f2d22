//! `tocsin schema` and the ids of a real registry: ours are registered once, what does not fit is
//! refused, and values that an id frames are read, even when the registry is away at a later start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use support::said::Said;
use support::{Running, get, serve, tocsin, until};
use tocsin::{backend, facts};
use tocsin_domain::event::Reading;
use tocsin_domain::wire::Fact;
use tocsin_domain::wire::catalogue::FACTS;
use tocsin_domain::{Id, Micros, topics};
use tocsin_stream::embedded::Sync;
use tocsin_stream::{Transaction, WorkerSpec};
use tocsin_testkit::servers::{self, Kind, Private};

fn schema(what: &str, more: &[&str]) -> Output {
    tocsin().args(["schema", what]).args(more).output().unwrap()
}

#[track_caller]
fn ended(output: &Output, code: i32, parts: &[&str]) -> String {
    Said::of(output).ended(code, parts).out
}

/// The ids of the subjects, as the JSON of a command has them.
fn ids(output: &Output) -> Vec<(String, u64)> {
    let said: Value = serde_json::from_str(&ended(output, 0, &[])).unwrap();
    let subjects = said["subjects"].as_array().unwrap().iter();
    let id = |s: &Value| (s["name"].as_str().unwrap().to_owned(), s["id"].as_u64().unwrap());
    subjects.map(id).collect()
}

/// A value as another producer frames it: zero, the registry's id, the Avro body.
fn publish(data: &Path, id: u32, hour: i64) {
    let log = backend::open_log(data, Sync::Full).unwrap();
    let mut worker =
        log.worker(&WorkerSpec { id: "elsewhere".to_owned(), ..WorkerSpec::default() }).unwrap();
    let reading = Reading {
        id: Id::of("reading", &[&hour.to_be_bytes()]),
        tenant: "default",
        subject: "Market",
        measure: "pm25",
        value: hour as f64,
        unit: "ug/m3",
        averaging: "",
        place: "",
        event_time: Micros(1_709_280_000_000_000 + hour * 3_600_000_000),
        arrival_time: facts::now(),
        source: "elsewhere",
        origin: "",
    };
    let mut value = [&[0][..], &id.to_be_bytes()].concat();
    reading.encode(&mut value);
    let mut transaction = Transaction::default();
    transaction.time = facts::now();
    let partitions = log.partitions(topics::AQI_READINGS).unwrap();
    let topic = transaction.register(topics::AQI_READINGS, partitions);
    let key = b"default/Market/pm25";
    transaction.to(topic, key).push(key, Some(&value));
    worker.commit(&mut transaction).unwrap();
}

fn up(directory: &Path, data: &Path) -> Command {
    let mut command = tocsin();
    command.arg("up").arg("--config").arg(directory.join("tocsin.toml")).arg("--data").arg(data);
    command
}

fn stop(mut running: Running) {
    Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

/// Waits until the newest value is that; a value that could not be read would be a dead letter.
fn shows(url: &str, value: &str) {
    until(&format!("the value {value} is shown"), || {
        let subjects = get(&format!("{url}/api/v1/subjects"));
        let letters = get(&format!("{url}/api/v1/dead-letters"));
        assert_eq!(letters["items"].as_array().map(Vec::len), Some(0), "{letters}");
        subjects["items"].as_array().unwrap().iter().any(|item| item["value"] == value)
    });
}

#[test]
fn ours_are_registered_once_and_their_ids_are_known_without_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let registry = Private::start(Kind::Registry, &at.join("registry"));
    let named = ["--registry", registry.address()];
    ended(&schema("check", &[]), 0, &["reading.avsc", "compatible, 1 kept"]);
    ended(&schema("register", &[]), 3, &["--registry"]);
    ended(&schema("check", &named), 5, &["aqi.readings-value", "not registered"]);

    let json = [&named[..], &["--json"]].concat();
    let first = ids(&schema("register", &json));
    assert_eq!(first.len(), FACTS.len());
    assert_eq!(ids(&schema("register", &json)), first);
    assert_eq!(ids(&schema("check", &json)), first);
    ended(&schema("check", &named), 0, &["registered as version 1"]);
    for (subject, _) in &first {
        let level = get(&format!("{}/config/{subject}", registry.address()));
        assert_eq!(level["compatibilityLevel"], "FULL_TRANSITIVE", "{subject}: {level}");
    }

    // A registry that lets in what does not fit is told of, and told.
    let config = format!("{}/config/aqi.readings-value", registry.address());
    ureq::put(&config).send_json(json!({ "compatibility": "BACKWARD" })).unwrap();
    ended(&schema("check", &named), 5, &["held to \"BACKWARD\", not FULL_TRANSITIVE"]);
    ended(&schema("register", &named), 0, &[]);
    ended(&schema("check", &named), 0, &[]);

    let id = first.iter().find(|(name, _)| name == "aqi.readings-value").unwrap().1 as u32;
    let text = format!("[schema]\nregistry = \"{}\"\n", registry.address());
    std::fs::write(at.join("tocsin.toml"), text).unwrap();
    let data = at.join("data");
    std::fs::create_dir(&data).unwrap();
    publish(&data, id, 1);
    let (running, url) = serve(&mut up(at, &data));
    shows(&url, "1");
    stop(running);

    registry.kill();
    publish(&data, id, 2);
    let (running, url) = serve(&mut up(at, &data));
    shows(&url, "2");
    stop(running);
    // What has never asked does not know, and must not put values aside for it.
    let refused = up(at, &at.join("fresh")).output().unwrap();
    ended(&refused, 4, &[registry.address(), "holds none of its ids"]);
    ended(&schema("check", &named), 4, &["does not answer", registry.address()]);
}

#[test]
fn what_does_not_fit_is_named_and_refused() {
    let registry = servers::registry();
    let other = r#"{"type": "record", "name": "Other", "fields": [{"name": "x", "type": "long"}]}"#;
    let url = format!("{registry}/subjects/watches-value/versions");
    ureq::post(&url).send_json(json!({ "schema": other })).unwrap();
    let named = ["--registry", registry];
    let out = ended(&schema("check", &named), 5, &["watches-value"]);
    let line = out.lines().find(|line| line.starts_with("watches-value")).unwrap();
    assert!(line.contains("incompatible"), "{line}");
    ended(&schema("register", &named), 5, &["does not take the schema", "watches-value"]);
    let elsewhere = format!("{}/nowhere", registry);
    ended(&schema("check", &["--registry", &elsewhere]), 3, &["there is no schema registry at"]);
    ended(&schema("check", &["--registry", "r:1"]), 3, &["--registry: ", "must be an address"]);
}
