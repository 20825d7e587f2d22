//! The commands as a user types them: import beside a running `up`, the mail, its why, a second
//! `up`, wrong configuration, a rebuild that mails nobody. On one machine, and the same on a cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::process::{Command, Output};
use support::world::{Backend, World};
use support::{Running, get, page, serve, tocsin, until};
use tocsin::facts;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::topics;
use tocsin_project::tables::READINGS_LATEST;
use tocsin_store::{Row, Value, Write};
use tocsin_testkit::smtp::{Faults, SmtpServer};

const ROWS: &str = "station,time,pm25\n\
    Market,2024-03-01T07:00:00Z,20\n\
    Market,2024-03-01T08:00:00Z,61.5\n\
    Market,yesterday,70\n\
    Market,2024-03-01T09:00:00Z,30\n";

/// A world with a mail server and a file to import.
fn world(backend: Backend) -> (World, SmtpServer) {
    let server = SmtpServer::start(Faults::new()).unwrap();
    let text = format!(
        r#"
[channels.email]
transport = "smtp"
host = "127.0.0.1"
port = {}
tls = "none"
[[sources]]
name = "stations"
kind = "csv"
event = "reading"
subject = "{{station}}"
time = "{{time}}"
measure = "pm25"
value = "{{pm25}}"
unit = "ug/m3"
[[detectors]]
name = "dusty"
kind = "threshold"
measure = "pm25"
raise_above = 55
clear_below = 45
"#,
        server.port()
    );
    let world = World::new(backend, &text);
    std::fs::write(world.path("rows.csv"), ROWS).unwrap();
    (world, server)
}

fn import(world: &World, file: &str) -> Output {
    let mut command = world.command(&["import", "--source", "stations"]);
    command.arg(world.path(file)).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// SIGTERM, and how it ended.
fn stop(mut running: Running) -> Option<i32> {
    Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    running.0.wait().unwrap().code()
}

fn tables(world: &World) -> Vec<(&'static str, Vec<Row>)> {
    let store = world.store();
    let all = tocsin_project::projections::all_tables();
    all.into_iter().map(|table| (table.name, store.dump(table).unwrap())).collect()
}

#[test]
fn from_a_file_to_a_mail_to_its_why_and_back_from_the_log() {
    whole_way(Backend::OneMachine);
}

#[test]
fn from_a_file_to_a_mail_to_its_why_and_back_from_the_log_of_a_cluster() {
    whole_way(Backend::Cluster);
}

fn whole_way(backend: Backend) {
    let (world, server) = world(backend);
    world.prepare();
    let add = ["watch", "add", "--email", "ada@example.org", "--detector", "dusty"];
    assert_eq!(world.run(&add).status.code(), Some(0));
    let (up, url) = world.up();

    let imported = import(&world, "rows.csv");
    assert_eq!(imported.status.code(), Some(5), "a row cannot be read, and that is said");
    assert!(text(&imported.stdout).contains("rows.csv:4: "), "{}", text(&imported.stdout));
    assert!(server.wait_for(2, std::time::Duration::from_secs(30)), "two mails");
    until("both deliveries are sent", || {
        let items = get(&format!("{url}/api/v1/deliveries"))["items"].clone();
        items.as_array().unwrap().iter().filter(|item| item["state"] == "sent").count() == 2
    });
    let again = import(&world, "rows.csv");
    assert!(text(&again.stdout).contains("already imported"), "{}", text(&again.stdout));

    // Both mails were under way at once, so either may have come first.
    let mails = server.accepted();
    let raised = mails.iter().find(|mail| text(&mail.bytes).contains("Market: 61.5")).unwrap();
    let id = raised.message_id.clone();
    let why = get(&format!("{url}/api/v1/why/{id}")).to_string();
    for part in ["dusty", "rows.csv:3", "aqi.readings", "61.5", "ada@example.org"] {
        assert!(why.contains(part), "{part} is not in {why}");
    }
    for path in ["inbox", "alerts", "subjects", &format!("why/{id}"), &format!("mails/{id}")] {
        assert!(page(&format!("{url}/{path}")).contains("Market"), "{path}");
    }
    assert!(page(&format!("{url}/subjects/Market")).contains("<svg"));
    assert_eq!(stop(up), Some(0));

    let told = world.bare(&["why", &format!("<{id}>")]).output();
    assert!(text(&told.unwrap().stdout).contains("rows.csv:3"));

    let log = world.log();
    let letters: Vec<DeadLetter> = facts::all(&*log, topics::DEAD_LETTERS).unwrap();
    assert_eq!(text(&letters[0].value).trim_end(), "Market,yesterday,70");
    drop(log);

    let before = tables(&world);
    assert!(before.iter().any(|(_, rows)| rows.len() >= 2));
    let rebuilt = world.bare(&["projections", "rebuild"]).output().unwrap();
    assert!(rebuilt.status.success(), "{}", text(&rebuilt.stderr));
    let (up, _) = world.up();
    until("a replay gives the same rows", || tables(&world) == before);
    assert_eq!(stop(up), Some(0));
    assert_eq!(tables(&world), before);
    verified(&world);
    assert_eq!(server.accepted().len(), 2, "a replay mails nobody");
}

/// `projections verify` finds nothing, until a row is not as the log says.
fn verified(world: &World) {
    let verify = || world.bare(&["projections", "verify"]).output().unwrap();
    let found = verify();
    assert_eq!(found.status.code(), Some(0), "{}", text(&found.stdout));
    assert!(text(&found.stdout).contains("readings_latest: 1 rows, 0 differ"));
    let store = world.store();
    let mut row = store.dump(&READINGS_LATEST).unwrap().remove(0);
    row[READINGS_LATEST.column("value").unwrap()] = Value::Text("31".to_owned());
    store.apply(&[Write { table: &READINGS_LATEST, row, version: i64::MAX.into() }]).unwrap();
    let found = verify();
    assert_eq!(found.status.code(), Some(5));
    let said = text(&found.stdout);
    assert!(said.contains("value is \"31\" and should be \"30\""), "{said}");
    let made = world.bare(&["projections", "migrate"]).output();
    assert!(text(&made.unwrap().stdout).contains("nothing was changed"));
}

#[test]
fn what_is_wrong_is_said_with_its_own_exit_code() {
    refusals(Backend::OneMachine);
}

#[test]
fn what_is_wrong_is_said_with_its_own_exit_code_on_a_cluster() {
    refusals(Backend::Cluster);
}

fn refusals(backend: Backend) {
    let (world, _server) = world(backend);
    world.prepare();
    let (_up, _) = world.up();
    let second = world.command(&["up", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    assert!(text(&second.stderr).contains("data"), "{}", text(&second.stderr));

    let wrong = ["watch", "add", "--email", "ada@example.org", "--detector", "dutsy"];
    let wrong = world.run(&wrong);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(text(&wrong.stderr).contains("did you mean \"dusty\"?"), "{}", text(&wrong.stderr));

    let why = world.bare(&["why", "nobody@nowhere"]).output();
    assert_eq!(why.unwrap().status.code(), Some(5));

    std::fs::write(world.config(), "[[detector]]\n").unwrap();
    let unknown = world.run(&["watch", "list"]);
    assert_eq!(unknown.status.code(), Some(3));
    let said = text(&unknown.stderr);
    assert!(said.contains("tocsin.toml:1") && said.contains("did you mean `detectors`?"), "{said}");

    assert_eq!(tocsin().arg("backtset").output().unwrap().status.code(), Some(2));
}

#[test]
fn a_watch_that_was_ended_stays_ended_though_the_configuration_declares_it() {
    ended_watch(Backend::OneMachine);
}

#[test]
fn a_watch_that_was_ended_stays_ended_on_a_cluster_too() {
    ended_watch(Backend::Cluster);
}

fn ended_watch(backend: Backend) {
    let (world, _server) = world(backend);
    let config = world.config();
    let declared = std::fs::read_to_string(&config).unwrap()
        + "[[watches]]\nemail = \"ada@example.org\"\ndetector = \"dusty\"\n";
    std::fs::write(&config, declared).unwrap();
    let list = || -> Vec<serde_json::Value> {
        serde_json::from_slice(&world.run(&["watch", "list", "--json"]).stdout).unwrap()
    };
    assert_eq!(world.run(&["watch", "list"]).status.code(), Some(4), "there is no data yet");
    world.prepare();
    let (up, url) = world.up();
    let watches = list();
    assert_eq!(watches.len(), 1);
    let leave = format!("{url}/unsubscribe/{}", watches[0]["id"].as_str().unwrap());
    assert!(page(&leave).contains("Stop"), "asking changes nothing");
    assert_eq!(list().len(), 1);
    ureq::post(&leave).send_empty().unwrap();
    until("the watch is ended", || list().is_empty());
    assert_eq!(stop(up), Some(0));

    let (up, _) = world.up();
    assert!(list().is_empty(), "a restart brings nobody back");
    let again = ["watch", "add", "--email", "ada@example.org", "--detector", "dusty"];
    assert_eq!(world.run(&again).status.code(), Some(0));
    assert_eq!(list().len(), 1);
    assert_eq!(stop(up), Some(0));
}

#[test]
fn the_demo_needs_nothing_and_its_first_mail_can_say_why() {
    let (_demo, url) = serve(tocsin().arg("demo"));
    until("the first mail", || {
        let items = get(&format!("{url}/api/v1/deliveries"))["items"].clone();
        items.as_array().unwrap().iter().any(|item| item["state"] == "sent")
    });
    let inbox = page(&format!("{url}/inbox"));
    let at = inbox.find("/why/").expect("a why link");
    let path: String = inbox[at..].chars().take_while(|c| *c != '"').collect();
    let why = page(&format!("{url}{path}"));
    assert!(why.contains("csv.gz:"), "the raw event names its file and line");
}
