//! One seed, one run: detection, matching and delivery over a log whose commits fail at random, with
//! services that die at random and outcomes of attempts that come at random. However it goes, the
//! alerts are those of a calm run, each delivery is requested once and comes to its end.
//!
//! `TOCSIN_SEEDS` says how many runs; a failure names its seed, and `TOCSIN_SEED` repeats it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tocsin::facts;
use tocsin::pipeline::Pipeline;
use tocsin::settings::Settings;
use tocsin_domain::alert::Alert;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::event::{Reading, reading_key};
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::{Id, Micros, wire};
use tocsin_stream::Log;
use tocsin_stream::log::{Transaction, WorkerSpec};
use tocsin_stream::memory::{Fault, MemoryLog};
use tocsin_stream::processor::Options;

const BEGIN: i64 = 1_700_000_000_000_000;
const HOUR: i64 = 3_600_000_000;
const CONFIG: &str = r#"
[topics."aqi.readings"]
allowed_lateness = "6h"
[[detectors]]
name = "high"
kind = "threshold"
measure = "pm25"
raise_above = 60
clear_below = 50
[[detectors]]
name = "daily"
kind = "threshold"
measure = "pm25"
mean_over = "1d"
min_values = 3
raise_above = 55
[[watches]]
email = "ada@example.org"
detector = "high"
[[watches]]
email = "bob@example.org"
detector = "daily"
subject = "s1"
"#;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Hourly readings of three subjects, in an order that is wrong by up to five hours, some twice.
fn readings(dice: &mut Dice) -> Vec<(String, i64, f64)> {
    let mut all = Vec::new();
    for hour in 0..60 {
        for subject in 0..3 {
            let value = 30.0 + dice.roll(500) as f64 / 10.0;
            let reading = (format!("s{subject}"), BEGIN + hour * HOUR, value);
            if dice.roll(10) == 0 {
                all.push((hour + dice.roll(5) as i64, reading.clone()));
            }
            all.push((hour + dice.roll(5) as i64, reading));
        }
    }
    all.sort_by_key(|(arrival, _)| *arrival);
    all.into_iter().map(|(_, reading)| reading).collect()
}

fn new_log(settings: &Settings) -> Arc<MemoryLog> {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    facts::declare(&*log, &settings.conditions, &settings.watches).unwrap();
    log
}

fn append(log: &dyn Log, readings: &[(String, i64, f64)]) {
    let spec = WorkerSpec { id: "producer".into(), ..WorkerSpec::default() };
    let mut worker = log.worker(&spec).unwrap();
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::AQI_READINGS, 8);
    let mut key = Vec::new();
    for (subject, at, value) in readings {
        reading_key(&mut key, "default", subject, "pm25");
        let reading = Reading {
            id: Id::of("event", &[subject.as_bytes(), &at.to_be_bytes()]),
            tenant: "default",
            subject,
            measure: "pm25",
            value: *value,
            unit: "ug/m3",
            averaging: "",
            place: "",
            event_time: Micros(*at),
            arrival_time: Micros(*at),
            source: "simulation",
            origin: "",
        };
        transaction.to(topic, &key).push_with(&key, |out| wire::write(&reading, out));
    }
    while worker.commit(&mut transaction).is_err() {}
}

/// What the sender would say of each attempt that has no outcome yet.
fn answer(log: &dyn Log, dice: &mut Dice, now: Micros) {
    let facts: Vec<Delivery> = facts::all(log, topics::DELIVERIES).unwrap();
    let mut open = BTreeMap::new();
    for fact in facts {
        let place = (fact.id, fact.attempt);
        match fact.state {
            DeliveryState::Attempt => open.insert(place, fact),
            _ => open.remove(&place),
        };
    }
    let spec = WorkerSpec { id: "sender".into(), ..WorkerSpec::default() };
    let mut worker = log.worker(&spec).unwrap();
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::DELIVERIES, 8);
    for attempt in open.into_values() {
        let (state, again) = match dice.roll(5) {
            0 => (DeliveryState::Deferred, Some(now.plus(Duration::from_secs(10)))),
            1 => (DeliveryState::Unknown, Some(now.plus(Duration::from_secs(1)))),
            2 => continue,
            _ => (DeliveryState::Sent, None),
        };
        let outcome =
            Delivery { state, at: now, next_attempt_at: again, notices: Vec::new(), ..attempt };
        let key = outcome.key();
        let out = transaction.to(topic, key.as_bytes());
        out.push_with(key.as_bytes(), |bytes| wire::write(&outcome, bytes));
    }
    while worker.commit(&mut transaction).is_err() {}
}

/// The alerts without where their records stand and when they were found.
fn alerts(log: &dyn Log) -> Vec<Alert> {
    let mut alerts: Vec<Alert> = facts::all(log, topics::ALERTS).unwrap();
    for alert in &mut alerts {
        alert.evidence.positions.clear();
        alert.detected_at = Micros(0);
    }
    alerts.sort_by_key(|alert| alert.id);
    alerts
}

fn pipeline(log: &Arc<dyn Log>, settings: &Settings, dice: &mut Dice) -> Pipeline {
    let options = Options { max_records: 1 + dice.roll(40) as usize, ..Options::default() };
    Pipeline::new(log, settings, "example.org", &options).unwrap()
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let readings = readings(&mut dice);
    let settings = Settings::parse(CONFIG, "simulation", Micros(BEGIN)).unwrap();
    let calm: Arc<dyn Log> = new_log(&settings);
    append(&*calm, &readings);
    let mut reference =
        Pipeline::new(&calm, &settings, "example.org", &Options::default()).unwrap();
    reference.detect_all(Micros(BEGIN)).unwrap();
    reference.finish(Micros(BEGIN)).unwrap();

    let stormy = new_log(&settings);
    let mut weather = Dice(seed ^ 0x5eed);
    stormy.fail_commits(move |_| match weather.roll(12) {
        0 => Some(Fault::Busy),
        1 => Some(Fault::LostAnswer),
        2 => Some(Fault::LostRequest),
        _ => None,
    });
    let log: Arc<dyn Log> = stormy;
    let mut now = Micros(BEGIN);
    for part in readings.chunks(1 + dice.roll(60) as usize) {
        append(&*log, part);
        // A new pipeline is what a process that died comes back as.
        let mut services = pipeline(&log, &settings, &mut dice);
        for _ in 0..dice.roll(20) {
            now = now.plus(Duration::from_millis(dice.roll(20_000)));
            services.detect.turn(Duration::ZERO, now).unwrap();
            services.matching.turn(Duration::ZERO, now).unwrap();
            services.deliver.turn(Duration::ZERO, now).unwrap();
        }
        answer(&*log, &mut dice, now);
    }
    let mut services = pipeline(&log, &settings, &mut dice);
    services.detect_all(now).unwrap();
    services.finish(now).unwrap();
    let open = |log: &dyn Log| {
        let facts: Vec<Delivery> = facts::all(log, topics::DELIVERIES).unwrap();
        let last: BTreeMap<Id, bool> = facts.iter().map(|d| (d.id, d.state.is_final())).collect();
        last.values().filter(|done| !**done).count()
    };
    for _ in 0..200 {
        if open(&*log) == 0 {
            break;
        }
        now = now.plus(Duration::from_secs(4000));
        answer(&*log, &mut dice, now);
        services.finish(now).unwrap();
    }
    check(seed, &*calm, &*log, open(&*log));
}

fn check(seed: u64, calm: &dyn Log, stormy: &dyn Log, open: usize) {
    assert_eq!(alerts(calm), alerts(stormy), "seed {seed}: other alerts than in a calm run");
    let requested = |log: &dyn Log| {
        let mut facts: Vec<Delivery> = facts::all(log, topics::DELIVERIES).unwrap();
        facts.retain(|fact| fact.state == DeliveryState::Requested);
        let mut ids: Vec<Id> = facts.iter().map(|fact| fact.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(requested(calm), requested(stormy), "seed {seed}: other deliveries");
    assert!(!requested(calm).is_empty(), "seed {seed}: nothing happened");
    assert_eq!(open, 0, "seed {seed}: deliveries that never end");
}

#[test]
fn every_seed_ends_like_a_calm_run() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TOCSIN_SEED") {
        Some(seed) => run(seed),
        None => (0..number("TOCSIN_SEEDS").unwrap_or(60)).for_each(run),
    }
}
