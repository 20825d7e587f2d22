//! Pushing from end to end: a token from the command line, an event over HTTP beside the pages, the
//! alert and the mail that come of it, and a key whose answer outlives the process. On one machine, and
//! the same on a cluster. And a producer that is paused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use serde_json::Value;
use support::said::run;
use support::world::{Backend, World};
use support::{Running, get, page, tocsin, until};

const RULE: &str = r#"
[[detectors]]
name = "dusty"
kind = "threshold"
measure = "pm25"
raise_above = 55
clear_below = 45
[[watches]]
email = "ada@example.org"
detector = "dusty"
"#;

const AIR: &str = r#"
[[sources]]
name = "air"
kind = "json-lines"
event = "reading"
subject = "{station}"
measure = "pm25"
value = "{v}"
time = "{t}"
"#;

fn event(id: u32, value: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/me","type":"tocsin.reading","time":"2024-05-01T1{id}:00:00Z","data":{{"subject":"Harbour","measure":"pm25","value":{value},"unit":"ug/m3"}}}}"#
    )
}

/// A producer called `me` with its token, and its entry.
fn producer() -> (String, String) {
    let made = tocsin().args(["config", "token", "--producer", "me"]).output().unwrap();
    let entry = String::from_utf8(made.stdout).unwrap();
    let token = entry.lines().nth(1).unwrap().trim_start_matches("# ").to_owned();
    assert_eq!(token.len(), 64, "{entry}");
    (token, entry)
}

/// Status and body of what is answered to a push.
fn push(url: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
}

#[test]
fn an_event_that_is_pushed_becomes_a_mail_that_can_say_why() {
    whole_way(Backend::OneMachine);
}

#[test]
fn an_event_that_is_pushed_becomes_a_mail_that_can_say_why_on_a_cluster() {
    whole_way(Backend::Cluster);
}

fn whole_way(backend: Backend) {
    let (token, entry) = producer();
    let world = World::of_restarts(backend, &format!("{entry}{RULE}"));
    world.prepare();
    let (running, url) = world.up();
    let bearer = format!("Bearer {token}");
    let own = [("content-type", "application/cloudevents+json"), ("authorization", &*bearer)];
    let send = |url: &str, body: &str| push(&format!("{url}/v1/events"), &own, body).0;
    let wrong = [own[0], ("authorization", "Bearer wrong")];
    assert_eq!(push(&format!("{url}/v1/events"), &wrong, &event(0, 71)).0, 401);
    assert_eq!(send(&url, &event(0, 10)), 202);
    assert_eq!(send(&url, &event(1, 71)), 202);
    assert_eq!(send(&url, &event(1, 71)), 202, "a repeat is taken, and counts once");
    let alerts = || get(&format!("{url}/api/v1/alerts?subject=Harbour"))["items"].clone();
    until("an alert", || alerts().as_array().is_some_and(|alerts| alerts.len() == 1));
    let mails = || get(&format!("{url}/api/v1/deliveries"))["items"].clone();
    until("a mail", || mails().as_array().is_some_and(|mails| mails.len() == 1));
    let id = mails()[0]["message_id"].as_str().unwrap().to_owned();
    until("its why", || page(&format!("{url}/why/{id}")).contains("/me#1"));
    let metrics = page(&format!("{url}/metrics"));
    for line in ["tocsin_push_events_total 3", "tocsin_push_refused_total{reason=\"token\"} 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    a_key_outlives_the_process(&world, (running, url), &own);
}

fn a_key_outlives_the_process(
    world: &World,
    (mut running, mut url): (Running, String),
    own: &[(&str, &str)],
) {
    let keyed = [own, &[("idempotency-key", "k")]].concat();
    let send = |url: &str, body: &str| push(&format!("{url}/v1/events"), &keyed, body);
    let first = send(&url, &event(2, 40));
    assert_eq!((first.0, &first.1["written"]), (202, &1.into()));
    for signal in ["-TERM", "-KILL"] {
        let id = running.0.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
        running.0.wait().unwrap();
        (running, url) = world.up();
        assert_eq!(send(&url, &event(2, 40)), first, "the same answer after {signal}");
        let other = send(&url, &event(2, 41));
        assert_eq!((other.0, &other.1["code"]), (422, &"key-reused".into()), "{other:?}");
        let metrics = page(&format!("{url}/metrics"));
        assert!(metrics.contains("tocsin_push_events_total 0"), "nothing is written:\n{metrics}");
    }
}

#[test]
fn a_producer_of_dead_letters_is_paused_and_goes_on_when_somebody_says_so() {
    let (token, entry) = producer();
    let world = World::new(Backend::OneMachine, &format!("{entry}{AIR}"));
    let up = world.up_with_probes();
    let bearer = format!("Bearer {token}");
    let own = [
        ("content-type", "application/x-ndjson"),
        ("authorization", &*bearer),
        ("prefer", "handling=lenient"),
    ];
    let send = |body: &str| push(&format!("{}/v1/events?source=air", up.url), &own, body);
    let paused = "tocsin_source_paused{source=\"push:me\"}";
    until("somebody looks after it", || up.ask("/metrics").1.contains(&format!("{paused} 0")));
    let good = "{\"station\":\"s\",\"v\":1,\"t\":\"2024-05-01\"}\n";
    let (status, answer) = send(&"{\"station\":\"s\"}\n".repeat(5_000));
    assert_eq!((status, &answer["code"]), (503, &"paused".into()), "{answer}");
    assert_eq!(send(good).0, 503);
    until("it is told", || up.ask("/metrics").1.contains(&format!("{paused} 1")));
    let ready = up.ready();
    assert_eq!(ready["ready"], true, "the others go on");
    assert!(ready["paused"]["push:me"].as_str().unwrap().contains("100 of the last"), "{ready}");
    let dlq = |words: &[&str]| run(&mut world.command(&[&["dlq"], words].concat()));
    dlq(&["list", "--source", "push:me"]).ended(0, &["100 letters in 1 groups"]);
    dlq(&["resume", "push:you"]).ended(3, &["there is no source \"push:you\""]);
    dlq(&["resume", "push:me"]).ended(0, &["resumed: push:me, which was paused since"]);
    until("it goes on", || send(good).0 == 202);
    until("that is told", || up.ask("/metrics").1.contains(&format!("{paused} 0")));
    dlq(&["resume", "push:me"]).ended(5, &["push:me is not paused"]);
}

#[test]
fn what_is_open_to_others_is_not_open_without_a_token() {
    let world = World::new(Backend::OneMachine, "[push]\nwithout_token = true\n");
    let mut up = world.command(&["up", "--listen", "0.0.0.0:0"]);
    run(&mut up).ended(3, &["`without_token` is for this machine only"]);
}
