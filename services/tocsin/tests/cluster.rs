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

use std::path::Path;
use std::time::Duration;
use support::cluster::{Process, Servers, run};
use support::walk::{Walk, check, configuration, count};
use support::{get, until};
use tocsin::settings::Settings;
use tocsin::{backend, facts};
use tocsin_testkit::smtp::{Faults, SmtpServer};

const FILES: usize = 5;
const HOURS: usize = 10;

/// `tocsin projections <what>`, and what it said.
fn projections(at: &Path, what: &str) -> String {
    run(at, &["projections", what]).unwrap()
}

#[test]
fn two_processes_of_each_service_survive_the_loss_of_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let servers = Servers::start(at);
    let smtp = SmtpServer::start(Faults::new()).unwrap();
    std::fs::write(at.join("tocsin.toml"), configuration(&servers.sections(""), smtp.port()))
        .unwrap();
    let mut walk = Walk::new(at);
    let settings = Settings::load(&at.join("tocsin.toml"), facts::now()).unwrap();

    run(at, &["topics", "apply", "--yes"]).unwrap();
    assert!(projections(at, "migrate").contains("made the tables"));
    assert!(projections(at, "migrate").contains("nothing was changed"));
    // Both detectors declare what is configured, at once.
    let mut detectors = vec![Process::service(at, "detect", 0), Process::service(at, "detect", 1)];
    let names = [("ingest", 0), ("notify", 0), ("notify", 1), ("project", 0), ("project", 1)];
    let mut others: Vec<Process> =
        names.map(|(name, slot)| Process::service(at, name, slot)).into();
    let api = Process::service(at, "api", 0);
    until("the partitions are divided", || {
        let ready = detectors.iter().chain(&others).all(Process::is_ready);
        ready && detectors.iter().all(|process| process.partitions("detect") == 4)
    });

    (0..2).for_each(|_| walk.go_on(HOURS));
    let log = backend::log(&settings, at).unwrap();
    until("the first alerts", || count(&*log) > 100);
    drop(detectors.pop()); // kill -9
    (2..FILES).for_each(|_| walk.go_on(HOURS));
    let (mails, alerts) = walk.expected(&settings);
    assert!(mails > 10 && alerts.len() > 1000, "{mails} mails, {} alerts", alerts.len());
    until("the other one has everything", || count(&*log) >= alerts.len());
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
    check(&*log, &alerts);
    assert_eq!(smtp.counts().len(), mails);
    assert!(smtp.counts().values().all(|copies| *copies == 1), "{:?}", smtp.counts());
}
