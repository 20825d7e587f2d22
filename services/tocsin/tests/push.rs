//! Pushing from end to end: a token from the command line, an event over HTTP beside the pages, and
//! the alert and the mail that come of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use support::{get, page, serve, tocsin, until};

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

fn event(id: u32, value: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/me","type":"tocsin.reading","time":"2024-05-01T1{id}:00:00Z","data":{{"subject":"Harbour","measure":"pm25","value":{value},"unit":"ug/m3"}}}}"#
    )
}

#[test]
fn an_event_that_is_pushed_becomes_a_mail_that_can_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let made = tocsin().args(["config", "token", "--producer", "me"]).output().unwrap();
    let entry = String::from_utf8(made.stdout).unwrap();
    let token = entry.lines().nth(1).unwrap().trim_start_matches("# ").to_owned();
    assert_eq!(token.len(), 64, "{entry}");
    let config = directory.path().join("tocsin.toml");
    std::fs::write(&config, format!("{entry}{RULE}")).unwrap();
    let mut up = tocsin();
    up.arg("up").arg("--config").arg(&config).arg("--data").arg(directory.path().join("data"));
    let (_running, url) = serve(&mut up);

    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let push = |token: &str, body: String| {
        let request = agent.post(format!("{url}/v1/events"));
        let request = request.header("content-type", "application/cloudevents+json");
        let answer = request.header("authorization", format!("Bearer {token}")).send(body);
        answer.unwrap().status().as_u16()
    };
    assert_eq!(push("wrong", event(0, 71)), 401);
    assert_eq!(push(&token, event(0, 10)), 202);
    assert_eq!(push(&token, event(1, 71)), 202);
    assert_eq!(push(&token, event(1, 71)), 202, "a repeat is taken, and counts once");
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
}

#[test]
fn what_is_open_to_others_is_not_open_without_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("tocsin.toml");
    std::fs::write(&config, "[push]\nwithout_token = true\n").unwrap();
    let mut up = tocsin();
    up.arg("up").arg("--config").arg(&config).arg("--data").arg(directory.path().join("data"));
    let ended = up.args(["--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(3));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("`without_token` is for this machine only"), "{said}");
}
