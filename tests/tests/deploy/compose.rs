//! `docker-compose.yml`: limited, watched, closed to the world, and in the order that it needs.

use crate::{at, none, word, words, yaml};
use serde_norway::Value;

/// The services of Tocsin itself, long-running and one-shot.
pub const OURS: [&str; 7] = ["topics", "migrate", "ingest", "detect", "notify", "project", "api"];

/// The two that end by themselves.
const JOBS: [&str; 2] = ["topics", "migrate"];

pub fn services() -> Vec<(String, Value)> {
    let compose = yaml("docker-compose.yml").remove(0);
    let services = at(&compose, "services").as_mapping().unwrap().clone();
    services.into_iter().map(|(name, service)| (word(&name).to_owned(), service)).collect()
}

fn service(name: &str) -> Value {
    services().into_iter().find(|(found, _)| found == name).unwrap().1
}

#[test]
fn every_container_is_limited_and_watched() {
    let mut problems = Vec::new();
    for (name, service) in services() {
        for key in ["mem_limit", "cpus", "pids_limit", "restart"] {
            if at(&service, key).is_null() {
                problems.push(format!("{name}: {key} is missing"));
            }
        }
        // Ours are asked by the image itself.
        if at(&service, "healthcheck.test").is_null() && !OURS.contains(&name.as_str()) {
            problems.push(format!("{name}: nobody asks whether it is healthy"));
        }
        let image = word(at(&service, "image"));
        let tag = image.split_once(':').map(|(_, tag)| tag).unwrap_or_default();
        if !tag.contains(|c: char| c.is_ascii_digit()) || tag == "latest" {
            problems.push(format!("{name}: the image {image} is of no certain version"));
        }
        for port in words(at(&service, "ports")) {
            if !port.starts_with("127.0.0.1:") {
                problems.push(format!("{name}: the port {port} is open to the network"));
            }
        }
    }
    none(problems);
}

#[test]
fn ours_cannot_write_beside_their_data_and_may_do_nothing_special() {
    for name in OURS {
        let service = service(name);
        assert_eq!(at(&service, "read_only"), &Value::Bool(true), "{name}");
        assert_eq!(words(at(&service, "cap_drop")), ["ALL"], "{name}");
        assert_eq!(words(at(&service, "security_opt")), ["no-new-privileges:true"], "{name}");
        assert!(at(&service, "privileged").is_null(), "{name}");
        let configuration = "./deploy/tocsin.toml:/etc/tocsin/tocsin.toml:ro".to_owned();
        assert!(words(at(&service, "volumes")).contains(&configuration), "{name}");
    }
}

#[test]
fn nothing_starts_before_what_it_needs() {
    for (name, needs) in [
        ("topics", vec![("kafka", "service_healthy")]),
        ("migrate", vec![("scylla", "service_healthy")]),
        ("detect", vec![("topics", "service_completed_successfully")]),
        ("notify", vec![("topics", "service_completed_successfully")]),
        ("project", vec![("migrate", "service_completed_successfully")]),
        ("project", vec![("topics", "service_completed_successfully")]),
        ("api", vec![("migrate", "service_completed_successfully")]),
        ("ingest", vec![("topics", "service_completed_successfully")]),
    ] {
        for (other, condition) in needs {
            let found = service(name);
            let found = word(at(&found, &format!("depends_on.{other}.condition"))).to_owned();
            assert_eq!(found, condition, "{name} needs {other}");
        }
    }
    for name in JOBS {
        assert_eq!(at(&service(name), "healthcheck.disable"), &Value::Bool(true), "{name}");
    }
}

#[test]
fn prometheus_scrapes_every_long_running_service_and_no_other() {
    let config = yaml("deploy/prometheus/prometheus.yml").remove(0);
    let jobs = at(&config, "scrape_configs").as_sequence().unwrap();
    let job = jobs.iter().find(|job| word(at(job, "job_name")) == "tocsin").unwrap();
    let mut found = Vec::new();
    for group in at(job, "static_configs").as_sequence().unwrap() {
        let component = word(at(group, "labels.component"));
        assert_eq!(words(at(group, "targets")), [format!("{component}:9464")]);
        found.push(component);
    }
    let wanted: Vec<&str> = OURS.into_iter().filter(|name| !JOBS.contains(name)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_broker_that_is_alone_can_begin_a_transaction() {
    let kafka = service("kafka");
    for (key, value) in [
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false"),
    ] {
        assert_eq!(word(at(&kafka, &format!("environment.{key}"))), value, "{key}");
    }
}
