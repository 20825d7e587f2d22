//! What the tests that kill have in common: a walk of events from a seed, what must come of it, and
//! the count of what came.

#![allow(dead_code, reason = "each test binary uses its part")]

use super::{Running, WALK};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tocsin::facts;
use tocsin_domain::alert::{Alert, AlertState};
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::notice::Notice;
use tocsin_domain::topics;
use tocsin_stream::Log;
use tocsin_testkit::smtp::SmtpServer;

pub const SUBJECTS: usize = 300;
pub const HOURS: usize = 1_000;
/// As many messages as a sender has under way at a time.
const IN_FLIGHT: usize = 16;

/// A small generator: the same seed, the same run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// So many hourly readings of every subject, walking around 100, in the order of time, in so many files.
pub fn recorded(directory: &Path, parts: usize, hours: usize) -> Vec<PathBuf> {
    let mut dice = Dice(7);
    let mut values = [100.0f64; SUBJECTS];
    let mut texts = vec![String::from("time,station,value\n"); parts];
    for hour in 0..hours {
        let time = jiff::Timestamp::from_second(1_700_000_000 + 3600 * hour as i64).unwrap();
        for (subject, value) in values.iter_mut().enumerate() {
            *value += dice.roll(4001) as f64 / 100.0 - 20.0 - (*value - 100.0) * 0.05;
            writeln!(texts[hour * parts / hours], "{time},s{subject},{value:.2}").unwrap();
        }
    }
    let write = |(part, text): (usize, String)| {
        let path = directory.join(format!("walk-{part:03}.csv"));
        std::fs::write(&path, text).unwrap();
        path
    };
    texts.into_iter().enumerate().map(write).collect()
}

/// Where the walk comes from, what is detected in it, and who wants to know; `more` is put before.
pub fn configuration(port: u16, more: &str) -> String {
    format!(
        r#"{more}
[channels.email]
transport = "smtp"
from = "Tocsin <tocsin@example.org>"
host = "127.0.0.1"
port = {port}
tls = "none"
connections = 4
base_url = "http://tocsin.example.org"

{WALK}
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

/// Whether the process ended by itself; if not, the time is up.
pub fn ended_within(process: &mut Running, patience: Duration) -> bool {
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

pub fn open_deliveries(log: &dyn Log) -> usize {
    let mut open = BTreeSet::new();
    let mut closed = BTreeSet::new();
    for delivery in facts::all::<Delivery>(log, topics::DELIVERIES).unwrap() {
        if delivery.state.is_final() {
            closed.insert(delivery.id)
        } else {
            open.insert(delivery.id)
        };
    }
    let notices = facts::all::<Notice>(log, topics::NOTICES).unwrap();
    let asked: usize =
        facts::all::<Alert>(log, topics::ALERTS).unwrap().iter().map(mails_for).sum();
    // Alerts that were not matched yet, notices without a delivery, deliveries without an end.
    (asked - notices.len())
        + (notices.len() - open.union(&closed).count())
        + open.difference(&closed).count()
}

/// How each delivery stands that has no end.
pub fn unfinished(log: &dyn Log) -> Vec<String> {
    let mut last = BTreeMap::new();
    for delivery in facts::all::<Delivery>(log, topics::DELIVERIES).unwrap() {
        let (state, attempt, next) = (delivery.state, delivery.attempt, delivery.next_attempt_at);
        let stands = format!("{state:?} {attempt} at {}, next {next:?}", delivery.at);
        let (finished, all) = last.entry(delivery.id).or_insert((false, Vec::new()));
        *finished |= state.is_final();
        all.push(stands);
    }
    let open = last.into_iter().filter(|(_, (finished, _))| !finished);
    open.map(|(id, (_, all))| format!("{id}: {}", all.join("; "))).collect()
}

/// How many mails the two watches want of an alert.
pub fn mails_for(alert: &Alert) -> usize {
    let raised = usize::from(alert.state == AlertState::Raised);
    raised + usize::from(alert.subject == "s7")
}

/// Everybody had their mail; copies came only of attempts that were under way when one of so many
/// `deaths` cut a sender off, and of nothing else is it said that nobody knows.
pub fn check_mails(log: &dyn Log, server: &SmtpServer, deaths: u64, run: &str) {
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
    // Nothing is called unknown that was not begun: a sender has so many slots in all its partitions.
    let slots = deaths as usize * IN_FLIGHT;
    assert!(unknown <= slots, "{unknown} attempts unknown after {deaths} deaths, {slots} slots");
    let mut bytes = BTreeMap::<String, Vec<u8>>::new();
    for mail in server.accepted() {
        let first = bytes.entry(mail.message_id.clone()).or_insert_with(|| mail.bytes.clone());
        assert!(*first == mail.bytes, "a copy of {} differs", mail.message_id);
    }
    let mails = requested.len();
    eprintln!("{run}; {mails} mails, 0 lost, {copies} copies of {unknown} in flight");
}
