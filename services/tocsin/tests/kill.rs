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
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use support::chaos::{
    Dice, HOURS, SUBJECTS, check_mails, configuration, ended_within, number, open_deliveries,
    recorded,
};
use support::{Running, serve, tocsin, until};
use tocsin::command::backtest::backtest;
use tocsin::facts;
use tocsin::settings::Settings;
use tocsin_domain::alert::Alert;
use tocsin_domain::{Id, topics};
use tocsin_stream::embedded::Sync;
use tocsin_testkit::smtp::{Faults, SmtpServer};

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

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whenever_the_process_dies() {
    let (kills, seed) = (number("TOCSIN_KILLS", 60), number("TOCSIN_KILL_SEED", 1));
    let directory = tempfile::tempdir().unwrap();
    let [data, config] = ["data", "tocsin.toml"].map(|name| directory.path().join(name));
    // A part for each kill, so that there is work under way at every one of them.
    let files = recorded(directory.path(), kills.clamp(1, HOURS as u64) as usize, HOURS);
    let server = SmtpServer::start(Faults::new()).unwrap();
    std::fs::write(&config, configuration(server.port(), "")).unwrap();
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
    let mut at_steps = BTreeMap::<String, u64>::new();
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
            *at_steps.entry(step.to_owned()).or_default() += 1;
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
    let events = SUBJECTS * HOURS;
    let run = format!("{kills} kills (seed {seed}), at steps {at_steps:?}; {events} events");
    check_mails(&*log, &server, kills, &run);
}
