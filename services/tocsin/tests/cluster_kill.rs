//! `kill -9` of every service of a cluster and of Kafka itself, at random and at named steps, while two
//! detectors share the work: no alert is lost and none comes twice, a subject's alerts keep their
//! order, no mail is lost, what is copied was in flight, and the tables are as the log says.
//!
//! Every run has a few deaths, one of them the broker's. `TOCSIN_CLUSTER_KILLS=300` makes it 300, over
//! 300,000 events, which takes a quarter of an hour; `TOCSIN_KILL_SEED` says in which order, and
//! `TOCSIN_KILL_BROKER=3` that of three deaths one is the broker's. With an even seed members are static,
//! so that who is back in time has its partitions back; with an odd one partitions move at each death. If
//! it fails, it leaves the logs of all processes behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use support::chaos::{
    Dice, HOURS, SUBJECTS, check_mails, configuration, ended_within, number, open_deliveries,
    recorded, unfinished,
};
use support::cluster::{Servers, put, run, service};
use support::{Running, within};
use tocsin::command::backtest::backtest;
use tocsin::settings::Settings;
use tocsin::{backend, facts};
use tocsin_domain::alert::Alert;
use tocsin_domain::{Id, Micros, topics};
use tocsin_testkit::servers::Private;
use tocsin_testkit::smtp::{Faults, SmtpServer};

/// Who can die, with the slot, and the steps at which.
const VICTIMS: [(&str, u32, &[&str]); 5] = [
    ("detect", 0, &["after-poll", "before-commit", "inside-commit", "after-commit"]),
    ("detect", 1, &["after-poll", "before-commit", "inside-commit", "after-commit"]),
    ("notify", 0, &["inside-commit", "before-send", "after-send", "before-outcome"]),
    ("project", 0, &["after-poll", "before-commit", "after-commit"]),
    ("ingest", 0, &["before-commit", "inside-commit"]),
];

/// The service that sends mails.
const SENDS: &str = "notify";
/// So many deaths there are if nobody says otherwise.
const FEW: u64 = 8;
/// A little longer than a session lasts in these tests.
const SESSION: Duration = Duration::from_secs(7);

/// The processes, who of them dies next, and who has died.
struct Crowd<'a> {
    at: &'a Path,
    processes: Vec<Running>,
    dice: Dice,
    deaths: BTreeMap<String, u64>,
    /// As often a sender may not know what became of what it had begun.
    cut_off: u64,
}

impl<'a> Crowd<'a> {
    fn new(at: &'a Path, seed: u64) -> Crowd<'a> {
        let (dice, deaths) = (Dice(seed), BTreeMap::new());
        let mut all = Crowd { at, processes: Vec::new(), dice, deaths, cut_off: 0 };
        all.processes = (0..VICTIMS.len()).map(|i| all.start(i, None)).collect();
        all
    }

    fn start(&self, i: usize, crash: Option<String>) -> Running {
        let (name, slot, _) = VICTIMS[i];
        let mut command = service(self.at, name, slot);
        // One file for all lives of a process, one after another.
        let log = self.at.join(format!("{name}-{slot}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.env("TOCSIN_LOG", "info").stderr(log);
        if let Some(crash) = crash {
            command.env("TOCSIN_CRASH_AT", crash);
        }
        Running(command.spawn().unwrap())
    }

    fn note(&mut self, who: String, sends: bool) {
        *self.deaths.entry(who).or_default() += 1;
        self.cut_off += u64::from(sends);
    }

    /// The broker, or one of the processes, dies and comes back.
    fn die(&mut self, kafka: &Private, broker: bool) {
        if broker {
            kafka.kill();
            kafka.restart();
            return self.note("kafka".to_owned(), true);
        }
        let i = self.dice.roll(VICTIMS.len() as u64) as usize;
        let (name, _, steps) = VICTIMS[i];
        self.processes[i].0.kill().unwrap();
        self.processes[i].0.wait().unwrap();
        self.note(name.to_owned(), name == SENDS);
        if self.dice.roll(6) == 0 {
            // Its session ends first, so that its partitions go to others, if there are any.
            std::thread::sleep(SESSION);
        }
        if self.dice.roll(2) == 0 {
            let step = steps[self.dice.roll(steps.len() as u64) as usize];
            let crash = format!("{step}:{}", 1 + self.dice.roll(3));
            let mut process = self.start(i, Some(crash));
            if ended_within(&mut process, Duration::from_secs(3)) {
                *self.deaths.entry(format!("{name} {step}")).or_default() += 1;
            }
            drop(process);
            self.cut_off += u64::from(name == SENDS);
        }
        self.processes[i] = self.start(i, None);
    }

    /// Starts whoever has ended by itself, as what cannot know how its transaction ended may.
    fn revive(&mut self) {
        for (i, (name, ..)) in VICTIMS.iter().enumerate() {
            if self.processes[i].0.try_wait().unwrap().is_some() {
                self.cut_off += u64::from(*name == SENDS);
                self.processes[i] = self.start(i, None);
            }
        }
    }
}

/// With the patience that a broker's restart needs.
fn until(what: &str, done: impl FnMut() -> bool) {
    within(what, Duration::from_secs(180), done);
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whoever_of_a_cluster_dies() {
    let kills = number("TOCSIN_CLUSTER_KILLS", FEW);
    let hours = if kills > FEW { HOURS } else { HOURS / 10 };
    let seed = number("TOCSIN_KILL_SEED", 1);
    let membership = if seed.is_multiple_of(2) { "static" } else { "dynamic" };
    // Of so many deaths one is the broker's.
    let broker = number("TOCSIN_KILL_BROKER", 12);
    let mut directory = tempfile::tempdir().unwrap();
    // Kept if the test fails: the logs of the processes say why.
    directory.disable_cleanup(true);
    eprintln!("in {}", directory.path().display());
    let at = directory.path();
    let incoming = at.join("incoming");
    std::fs::create_dir(&incoming).unwrap();
    let servers = Servers::start(at);
    let server = SmtpServer::start(Faults::new()).unwrap();
    let text =
        configuration(server.port(), &servers.sections(&format!("membership = {membership:?}")));
    std::fs::write(at.join("tocsin.toml"), text).unwrap();
    let settings = Settings::load(&at.join("tocsin.toml"), facts::now()).unwrap();
    let files = recorded(at, kills.clamp(1, hours as u64) as usize, hours);
    let wanted = backtest(&settings, Some("walk"), &files, facts::now()).unwrap();
    let wanted: BTreeSet<Id> = wanted.alerts.iter().map(|alert| alert.id).collect();
    assert!(wanted.len() > hours / 2, "the walk is too calm: {} alerts", wanted.len());
    run(at, &["topics", "apply", "--yes"]).unwrap();
    run(at, &["projections", "migrate"]).unwrap();

    let mut all = Crowd::new(at, seed);
    for (number, file) in files.iter().enumerate() {
        put(file, &incoming);
        std::thread::sleep(Duration::from_millis(all.dice.roll(600)));
        all.revive();
        let broker = all.dice.roll(broker) == 0 || number == files.len() / 2;
        all.die(&servers.kafka, broker);
    }

    let log = backend::log(&settings, at).unwrap();
    let alerts = || facts::all::<Alert>(&*log, topics::ALERTS).unwrap();
    until("every alert", || {
        all.revive();
        alerts().len() >= wanted.len()
    });
    // What was cut off again and again is tried again after minutes.
    let end = Instant::now() + Duration::from_secs(400);
    while open_deliveries(&*log) > 0 {
        all.revive();
        assert!(Instant::now() < end, "without an end: {:#?}", unfinished(&*log));
        std::thread::sleep(Duration::from_secs(1));
    }
    check_alerts(&alerts(), &wanted);
    let events = SUBJECTS * hours;
    let died = format!("{kills} kills (seed {seed}, {membership} members): {:?}", all.deaths);
    check_mails(&*log, &server, all.cut_off, &format!("{died}; {events} events"));
    until("the tables are as the log says", || run(at, &["projections", "verify"]).is_ok());
    drop((all, servers));
    directory.disable_cleanup(false);
}

fn check_alerts(found: &[Alert], wanted: &BTreeSet<Id>) {
    let ids: BTreeSet<Id> = found.iter().map(|alert| alert.id).collect();
    assert_eq!(found.len(), ids.len(), "an alert came twice");
    let lost: Vec<_> = wanted.difference(&ids).collect();
    assert!(lost.is_empty(), "{} of {} alerts are lost", lost.len(), wanted.len());
    assert_eq!(ids.len(), wanted.len(), "alerts that nobody should have raised");
    let mut last = BTreeMap::<&str, Micros>::new();
    for alert in found {
        let before = last.insert(&alert.subject, alert.event_time);
        assert!(before <= Some(alert.event_time), "{} went back in time", alert.subject);
    }
}
