//! `kill -9`, hundreds of times, at random and at named steps: no alert is lost and none comes
//! twice, no mail is lost, and what is copied was in flight at a kill and has the same Message-ID
//! and the same bytes.
//!
//! `TOCSIN_KILLS` and `TOCSIN_KILL_SEED` change how often and in which order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Running, serve, tocsin, until};
use tocsin::command::backtest::backtest;
use tocsin::facts;
use tocsin::settings::Settings;
use tocsin_domain::alert::Alert;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::{Id, topics};
use tocsin_stream::Log;
use tocsin_stream::embedded::Sync;
use tocsin_testkit::smtp::{Faults, SmtpServer};

const SUBJECTS: usize = 300;
const HOURS: usize = 1_000;
/// As many messages as the sender has under way at a time.
const IN_FLIGHT: usize = 16;

/// Steps of the program at which it is ended; each the n-th time that it comes there.
const STEPS: [&str; 7] = [
    "after-poll",
    "before-commit",
    "inside-commit",
    "after-commit",
    "before-send",
    "after-send",
    "before-outcome",
];

/// A small generator: the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Hourly readings of every subject, walking around 100, in the order of time, in so many files.
fn recorded(directory: &Path, parts: usize) -> Vec<PathBuf> {
    let mut dice = Dice(7);
    let mut values = [100.0f64; SUBJECTS];
    let mut texts = vec![String::from("time,station,value\n"); parts];
    for hour in 0..HOURS {
        let time = jiff::Timestamp::from_second(1_700_000_000 + 3600 * hour as i64).unwrap();
        for (subject, value) in values.iter_mut().enumerate() {
            *value += dice.roll(4001) as f64 / 100.0 - 20.0 - (*value - 100.0) * 0.05;
            writeln!(texts[hour * parts / HOURS], "{time},s{subject},{value:.2}").unwrap();
        }
    }
    let write = |(part, text): (usize, String)| {
        let path = directory.join(format!("walk-{part:03}.csv"));
        std::fs::write(&path, text).unwrap();
        path
    };
    texts.into_iter().enumerate().map(write).collect()
}

fn configuration(port: u16) -> String {
    format!(
        r#"
[channels.email]
transport = "smtp"
from = "Tocsin <tocsin@example.org>"
host = "127.0.0.1"
port = {port}
tls = "none"
connections = 4
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

[[detectors]]
name = "high"
kind = "threshold"
measure = "pm25"
raise_above = 175
clear_below = 140

[[watches]]
email = "ada@example.org"
detector = "high"
on = ["raised"]

[[watches]]
email = "bob@example.org"
detector = "high"
subject = "s7"
on = ["raised", "cleared"]
"#
    )
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whenever_the_process_dies() {
    let (kills, seed) = (number("TOCSIN_KILLS", 60), number("TOCSIN_KILL_SEED", 1));
    let directory = tempfile::tempdir().unwrap();
    let [data, config] = ["data", "tocsin.toml"].map(|name| directory.path().join(name));
    // A part for each kill, so that there is work under way at every one of them.
    let files = recorded(directory.path(), kills.clamp(1, HOURS as u64) as usize);
    let server = SmtpServer::start(Faults::new()).unwrap();
    std::fs::write(&config, configuration(server.port())).unwrap();
    let settings = Settings::load(&config, facts::now()).unwrap();
    let wanted = backtest(&settings, None, &files, facts::now()).unwrap();
    let wanted: BTreeSet<Id> = wanted.alerts.iter().map(|alert| alert.id).collect();
    assert!(wanted.len() > 500, "the walk is too calm: {} alerts", wanted.len());

    let up = || {
        let mut command = tocsin();
        command.arg("up").arg("--config").arg(&config).arg("--data").arg(&data);
        command.env("TOCSIN_LOG", "error");
        command
    };
    let import = |files: &[PathBuf]| {
        let mut command = tocsin();
        command.args(["import", "--source", "walk", "--config"]).arg(&config);
        command.arg("--data").arg(&data).args(files);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut dice = Dice(seed);
    let mut at_steps = BTreeMap::<&str, u64>::new();
    for part in 0..files.len() {
        let step = (dice.roll(2) == 0).then(|| STEPS[dice.roll(STEPS.len() as u64) as usize]);
        let mut command = up();
        if let Some(step) = step {
            command.env("TOCSIN_CRASH_AT", format!("{step}:{}", 1 + dice.roll(4)));
        }
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut service = Running(command.spawn().unwrap());
        // What an earlier import did not finish comes first, so that time never runs backwards.
        let importing = Running(import(&files[..=part]).spawn().unwrap());
        let patience =
            Duration::from_millis(if step.is_some() { 1500 } else { 30 + dice.roll(250) });
        if let (Some(step), true) = (step, ended_within(&mut service, patience)) {
            *at_steps.entry(step).or_default() += 1;
        }
        drop((importing, service));
    }

    assert!(import(&files).status().unwrap().success());
    let (service, _) = serve(&mut up());
    let log = tocsin::backend::open_log(&data, Sync::Normal).unwrap();
    let alerts = || facts::all::<Alert>(&*log, topics::ALERTS).unwrap();
    until("every alert", || alerts().len() >= wanted.len());
    until("every delivery is final", || open_deliveries(&*log) == 0);
    drop(service);

    let found: Vec<Id> = alerts().iter().map(|alert| alert.id).collect();
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), wanted, "the same alerts");
    assert_eq!(found.len(), wanted.len(), "each alert once");
    check_mails(&*log, &server, kills, seed, &at_steps);
}

/// Whether the process ended by itself; if not, the time is up.
fn ended_within(process: &mut Running, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        if process.0.try_wait().unwrap().is_some() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn open_deliveries(log: &dyn Log) -> usize {
    let mut open = BTreeSet::new();
    let mut closed = BTreeSet::new();
    for delivery in facts::all::<Delivery>(log, topics::DELIVERIES).unwrap() {
        if delivery.state.is_final() {
            closed.insert(delivery.id)
        } else {
            open.insert(delivery.id)
        };
    }
    let notices = facts::all::<tocsin_domain::notice::Notice>(log, topics::NOTICES).unwrap();
    let asked: usize =
        facts::all::<Alert>(log, topics::ALERTS).unwrap().iter().map(mails_for).sum();
    // Alerts that were not matched yet, notices without a delivery, deliveries without an end.
    (asked - notices.len())
        + (notices.len() - open.union(&closed).count())
        + open.difference(&closed).count()
}

/// How many mails the two watches want of an alert.
fn mails_for(alert: &Alert) -> usize {
    let raised = usize::from(alert.state == tocsin_domain::alert::AlertState::Raised);
    raised + usize::from(alert.subject == "s7")
}

fn check_mails(
    log: &dyn Log,
    server: &SmtpServer,
    kills: u64,
    seed: u64,
    at_steps: &BTreeMap<&str, u64>,
) {
    let deliveries = facts::all::<Delivery>(log, topics::DELIVERIES).unwrap();
    let mut requested = BTreeMap::<String, usize>::new();
    for delivery in deliveries.iter().filter(|d| d.state == DeliveryState::Requested) {
        *requested.entry(delivery.message_id.clone()).or_default() += 1;
    }
    assert!(requested.values().all(|times| *times == 1), "each delivery is requested once");
    let unknown = deliveries.iter().filter(|d| d.state == DeliveryState::Unknown).count();
    let counts = server.counts();
    let lost: Vec<_> = requested.keys().filter(|id| !counts.contains_key(*id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let uninvited: Vec<_> = counts.keys().filter(|id| !requested.contains_key(*id)).collect();
    assert!(uninvited.is_empty(), "nobody asked for: {uninvited:?}");
    let copies: usize = counts.values().map(|times| times - 1).sum();
    assert!(copies <= unknown, "{copies} copies, but only {unknown} attempts were in flight");
    assert!(copies <= kills as usize * IN_FLIGHT);
    let mut bytes = BTreeMap::<String, Vec<u8>>::new();
    for mail in server.accepted() {
        let first = bytes.entry(mail.message_id.clone()).or_insert_with(|| mail.bytes.clone());
        assert!(*first == mail.bytes, "a copy of {} differs", mail.message_id);
    }
    eprintln!(
        "{kills} kills (seed {seed}), at steps {at_steps:?}; {} events, {} mails, 0 lost, {copies} copies of {unknown} in flight",
        SUBJECTS * HOURS,
        requested.len()
    );
}
