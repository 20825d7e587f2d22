//! Events for a test on a cluster, in files of some hours each, and what must come of them: each
//! subject is up for an hour and down for two, and begins at an hour of its own.

#![allow(dead_code, reason = "each test binary uses its part")]

use super::WALK;
use super::cluster::put;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tocsin::command::backtest::backtest;
use tocsin::facts;
use tocsin::settings::Settings;
use tocsin_domain::alert::Alert;
use tocsin_domain::{Id, topics};
use tocsin_stream::Log;

pub const SUBJECTS: usize = 60;

/// Where the walk comes from, what is detected in it, and who wants to know; `sections` come before.
pub fn configuration(sections: &str, smtp: u16) -> String {
    format!(
        r#"{sections}
[channels.email]
transport = "smtp"
host = "127.0.0.1"
port = {smtp}
tls = "none"
base_url = "http://tocsin.example.org"
{WALK}[[detectors]]
name = "high"
kind = "threshold"
measure = "pm25"
raise_above = 50
clear_below = 40
[[watches]]
email = "ada@example.org"
detector = "high"
subject = "s7"
on = ["raised"]
"#
    )
}

/// The walk as it goes on: a file of the next hours at a time.
pub struct Walk {
    at: PathBuf,
    hour: usize,
    files: Vec<PathBuf>,
}

impl Walk {
    /// Files go into `incoming` below that directory, where the configuration is too.
    pub fn new(at: &Path) -> Walk {
        std::fs::create_dir(at.join("incoming")).unwrap();
        Walk { at: at.to_owned(), hour: 0, files: Vec::new() }
    }

    /// The readings of the next hours come.
    pub fn go_on(&mut self, hours: usize) {
        let next = self.hour + hours;
        let file = self.at.join(format!("hours-{:05}.csv", self.hour));
        std::fs::write(&file, recorded(self.hour..next)).unwrap();
        self.files.push(put(&file, &self.at.join("incoming")));
        self.hour = next;
    }

    /// What must come of everything so far: how many mails, and which alerts.
    pub fn expected(&self, settings: &Settings) -> (usize, BTreeSet<Id>) {
        let report = backtest(settings, Some("walk"), &self.files, facts::now()).unwrap();
        let mails = report.watches.iter().map(|watch| watch.mails.len()).sum();
        (mails, report.alerts.iter().map(|alert| alert.id).collect())
    }
}

fn recorded(hours: Range<usize>) -> String {
    let mut text = String::from("time,station,value\n");
    for hour in hours {
        let time = jiff::Timestamp::from_second(1_700_000_000 + 3600 * hour as i64).unwrap();
        for subject in 0..SUBJECTS {
            let value = if (hour + subject) % 3 == 0 { 90 } else { 10 };
            writeln!(text, "{time},s{subject},{value}").unwrap();
        }
    }
    text
}

/// How many alerts there are; none while the log does not answer.
pub fn count(log: &dyn Log) -> usize {
    facts::all::<Alert>(log, topics::ALERTS).map_or(0, |alerts| alerts.len())
}

/// The log holds these alerts, each once.
pub fn check(log: &dyn Log, wanted: &BTreeSet<Id>) {
    let alerts: Vec<Alert> = facts::all(log, topics::ALERTS).unwrap();
    let found: BTreeSet<Id> = alerts.iter().map(|alert| alert.id).collect();
    assert_eq!(alerts.len(), found.len(), "an alert came twice");
    let lost = wanted.difference(&found).count();
    assert_eq!((lost, found.len()), (0, wanted.len()), "alerts that are lost, and all that came");
}
