//! The step on a log: order, duplicates, faults, restarts and changed conditions change no alert.

use super::*;
use crate::topology::topology;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use tocsin_domain::alert::AlertState;
use tocsin_domain::condition::Condition;
use tocsin_domain::{Currency, Money, TopicPartition, topics};
use tocsin_stream::memory::{Fault, MemoryLog};
use tocsin_stream::processor::{Options, Processor};
use tocsin_stream::{Log, Transaction, WorkerSpec};

const DAWN: i64 = 1_714_521_600_000_000;
const MINUTE: i64 = 60_000_000;
const NOW: Micros = Micros(DAWN);

/// One event: its topic, its key, its bytes.
type Input3 = (&'static str, String, Vec<u8>);

fn reading(subject: &'static str, minute: i64, value: f64, unit: &'static str) -> Input3 {
    let at = Micros(DAWN + minute * MINUTE);
    let fact = Reading {
        id: Id::of("reading", &[subject.as_bytes(), &at.0.to_le_bytes()]),
        tenant: "default",
        subject,
        measure: "pm25",
        value,
        unit,
        averaging: "PT24H",
        place: "",
        event_time: at,
        arrival_time: at,
        source: "test",
        origin: "",
    };
    (topics::AQI_READINGS, format!("default/{subject}/pm25"), bytes(&fact))
}

fn row(subject: &'static str, minute: i64, units: i64) -> Input3 {
    let at = Micros(DAWN + minute * MINUTE);
    let price = Money { amount: 10.into(), currency: Currency::parse("GBP").unwrap() };
    let fact = OrderRow {
        id: Id::of("row", &[subject.as_bytes(), &at.0.to_le_bytes()]),
        tenant: "default",
        subject,
        order: "",
        title: "",
        price,
        units,
        event_time: at,
        arrival_time: at,
        source: "test",
        origin: "",
    };
    (topics::ORDERS_ROWS, format!("default/{subject}"), bytes(&fact))
}

fn bytes<'a>(fact: &impl Fact<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    wire::write(fact, &mut out);
    out
}

fn condition(name: &str, kind: &str, params: serde_json::Value) -> Condition {
    Condition::new("default", name, kind, "*", &params)
}

fn high() -> Condition {
    condition("high", "threshold", json!({"measure": "pm25", "raise_above": 100}))
}

fn all_conditions() -> Vec<Condition> {
    vec![
        high(),
        condition(
            "hourly",
            "threshold",
            json!({"measure": "pm25", "raise_above": 80, "mean_over": "1h"}),
        ),
        condition(
            "odd",
            "anomaly",
            json!({"measure": "pm25", "window": 8, "minimum": 4, "deviations": "1.5"}),
        ),
        condition(
            "sold",
            "high-volume-sales",
            json!({"by": "window", "limit": 100, "currency": "GBP", "window": "1h"}),
        ),
    ]
}

/// A log, and the service on it.
struct Rig {
    log: Arc<MemoryLog>,
    lateness: Duration,
}

impl Rig {
    fn new(lateness_minutes: u64) -> Rig {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        Rig { log, lateness: Duration::from_secs(60 * lateness_minutes) }
    }

    fn put(&self, facts: impl IntoIterator<Item = Input3>) {
        let mut worker =
            self.log.worker(&WorkerSpec { id: "test".into(), ..WorkerSpec::default() }).unwrap();
        let mut transaction = Transaction::default();
        for (topic, key, value) in facts {
            let number = transaction.register(topic, self.log.partitions(topic).unwrap());
            transaction.to(number, key.as_bytes()).push(key.as_bytes(), Some(&value));
        }
        worker.commit(&mut transaction).unwrap();
    }

    fn ask(&self, conditions: &[Condition]) {
        self.put(conditions.iter().map(|c| (topics::CONDITIONS, c.key(), bytes(c))));
    }

    fn processor(&self) -> Processor<DetectStep> {
        let lateness = Input::ALL.map(|input| (input.topic().to_owned(), self.lateness));
        let options = Options { max_records: 5, ..Options::default() };
        let step = DetectStep::new(lateness);
        Processor::new(topology(), self.log.clone(), step, Box::new(()), options).unwrap()
    }

    /// Works off `count` inputs.
    fn work(&self, processor: &mut Processor<DetectStep>, count: usize) {
        let mut done = 0;
        for _ in 0..1000 {
            done += processor.turn(Duration::ZERO, NOW).unwrap().records as usize;
            if done >= count {
                return;
            }
        }
        panic!("{done} of {count} inputs were worked off");
    }

    /// Puts the events, works them off, ends the input.
    fn run(&self, events: Vec<Input3>) {
        let count = events.len();
        self.put(events);
        let mut processor = self.processor();
        self.work(&mut processor, count);
        processor.finish(NOW).unwrap();
    }

    fn values(&self, topic: &str) -> Vec<Vec<u8>> {
        let partitions = 0..self.log.partitions(topic).unwrap();
        let read = |partition| {
            let at = TopicPartition::new(topic, partition);
            let batch = self.log.read(&at, 0, usize::MAX).unwrap();
            batch.records().map(|r| r.value.unwrap().to_vec()).collect::<Vec<_>>()
        };
        partitions.flat_map(read).collect()
    }

    fn alerts(&self) -> Vec<Alert> {
        let read = |bytes: &Vec<u8>| wire::read(bytes, &SchemaIds::default()).unwrap();
        self.values(topics::ALERTS).iter().map(read).collect()
    }

    /// What must be the same however the events came.
    fn told(&self) -> Vec<(Id, Id, String, String)> {
        let all = self.alerts();
        let ids: BTreeSet<Id> = all.iter().map(|alert| alert.id).collect();
        assert_eq!(ids.len(), all.len(), "an alert was published twice");
        let told = |a: Alert| {
            let text =
                format!("{} {} {} {}", a.condition_name, a.subject, a.state.as_str(), a.event_time);
            (a.id, a.episode, text, a.value + &a.evidence.before + &a.evidence.after)
        };
        let mut told: Vec<_> = all.into_iter().map(told).collect();
        told.sort();
        told
    }

    /// `raised 120 · cleared 3`, in the order of the log.
    fn line(&self) -> String {
        let text = |a: &Alert| format!("{} {}", a.state.as_str(), a.value);
        self.alerts().iter().map(text).collect::<Vec<_>>().join(" · ")
    }
}

/// Readings and rows of two subjects each, one a minute or two, in order.
fn events(values: &[(u8, u8)]) -> Vec<Input3> {
    let pair = |(i, (value, what)): (usize, &(u8, u8))| {
        let (minute, value) = (i as i64 * 7, i64::from(*value));
        match what % 4 {
            0 => reading("Lahore", minute, value as f64, "ug/m3"),
            1 => reading("Delhi", minute, value as f64, "ug/m3"),
            2 => row("85123A", minute, value / 20),
            _ => row("22423", minute, value / 20),
        }
    };
    values.iter().enumerate().map(pair).collect()
}

fn in_order(events: &[Input3]) -> Vec<(Id, Id, String, String)> {
    let rig = Rig::new(0);
    rig.ask(&all_conditions());
    rig.run(events.to_vec());
    rig.told()
}

fn some_values() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((any::<u8>(), any::<u8>()), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_order_within_the_lateness_and_any_repeat_tell_the_same(
        values in some_values(),
        delays in prop::collection::vec(0i64..90, 80),
        repeats in prop::collection::vec(any::<bool>(), 80),
    ) {
        let events = events(&values);
        let mut shuffled: Vec<(i64, Input3)> = Vec::new();
        for (i, event) in events.iter().enumerate() {
            shuffled.push((i as i64 * 7 + delays[i], event.clone()));
            if repeats[i] {
                shuffled.push((i as i64 * 7 + delays[delays.len() - 1 - i], event.clone()));
            }
        }
        shuffled.sort_by_key(|(arrival, _)| *arrival);
        let rig = Rig::new(90);
        rig.ask(&all_conditions());
        rig.run(shuffled.into_iter().map(|(_, event)| event).collect());
        prop_assert_eq!(rig.told(), in_order(&events));
    }

    #[test]
    fn faults_and_restarts_tell_the_same(
        values in some_values(),
        faults in prop::collection::vec(0u8..8, 40),
        lateness in prop::sample::select(vec![0u64, 30]),
        cut in 0usize..80,
    ) {
        let events = events(&values);
        let rig = Rig::new(lateness);
        rig.ask(&all_conditions());
        rig.put(events.clone());
        let mut faults = faults.into_iter();
        rig.log.fail_commits(move |_| match faults.next()? {
            0 => Some(Fault::Abort),
            1 => Some(Fault::Busy),
            2 => Some(Fault::LostRequest),
            _ => None,
        });
        let cut = cut.min(events.len() / 2);
        let mut first = rig.processor();
        let mut done = 0;
        while done < cut {
            done += first.turn(Duration::ZERO, NOW).unwrap().records as usize;
        }
        drop(first);
        let mut second = rig.processor();
        rig.work(&mut second, events.len() - done);
        rig.log.fail_commits(|_| None);
        second.finish(NOW).unwrap();
        prop_assert_eq!(rig.told(), in_order(&events));
    }
}

#[test]
fn conditions_on_one_key_do_not_know_each_other() {
    let events = || {
        [120.0, 20.0, 130.0]
            .iter()
            .enumerate()
            .map(|(i, v)| reading("Lahore", i as i64, *v, "ug/m3"))
            .collect()
    };
    let run = |conditions: &[Condition]| {
        let rig = Rig::new(0);
        rig.ask(conditions);
        rig.run(events());
        rig.told()
    };
    let low = condition("low", "threshold", json!({"measure": "pm25", "raise_below": 50}));
    let mut apart = [run(&[high()]), run(std::slice::from_ref(&low))].concat();
    apart.sort();
    assert_eq!(apart.len(), 5);
    assert_eq!(run(&[high(), low]), apart);
}

#[test]
fn another_version_begins_anew_and_a_removed_condition_is_silent() {
    let rig = Rig::new(0);
    let mut processor = rig.processor();
    let mut minute = 0;
    let mut next = |conditions: &[Condition], value: f64| {
        rig.ask(conditions);
        minute += 1;
        rig.put([reading("Lahore", minute, value, "ug/m3")]);
        rig.work(&mut processor, 1);
        rig.alerts().len()
    };
    assert_eq!(next(&[high()], 120.0), 1);
    assert_eq!(next(&[high()], 121.0), 1);
    let stricter = condition("high", "threshold", json!({"measure": "pm25", "raise_above": 110}));
    assert_eq!((stricter.id, next(std::slice::from_ref(&stricter), 122.0)), (high().id, 2));
    let gone = Condition { active: false, ..stricter.clone() };
    assert_eq!(next(&[gone], 1.0), 2);
    assert_eq!(next(&[stricter], 123.0), 3);
    let alerts = rig.alerts();
    assert!(alerts.iter().all(|alert| alert.state == AlertState::Raised));
    assert_ne!(alerts[0].condition_version, alerts[1].condition_version);
}

#[test]
fn late_events_and_repeats_are_set_aside() {
    let rig = Rig::new(0);
    rig.ask(&[high()]);
    let at = |minute, value| reading("Lahore", minute, value, "ug/m3");
    rig.run(vec![at(5, 120.0), at(5, 120.0), at(4, 1.0), at(6, 2.0)]);
    assert_eq!(rig.line(), "raised 120 · cleared 2");
    assert_eq!(
        (rig.values(topics::LATE_EVENTS).len(), rig.values(topics::DEAD_LETTERS).len()),
        (1, 0)
    );
}

#[test]
fn a_window_that_an_idle_input_closed_stays_closed() {
    let rig = Rig::new(600);
    rig.ask(&all_conditions());
    rig.put([row("22423", 10, 11)]);
    let mut processor = rig.processor();
    rig.work(&mut processor, 1);
    assert_eq!(rig.line(), "");
    processor.finish(NOW).unwrap();
    rig.put([row("22423", 20, 11), row("22423", 70, 12)]);
    rig.work(&mut processor, 2);
    processor.finish(NOW).unwrap();
    assert_eq!(rig.line(), "raised 110 · cleared 110 · raised 120 · cleared 120");
    assert_eq!(rig.values(topics::LATE_EVENTS).len(), 1);
}

#[test]
fn an_input_that_cannot_be_used_is_one_dead_letter_and_the_others_go_on() {
    let index = condition(
        "index",
        "threshold",
        json!({"measure": "pm25", "index": "us-epa", "raise_above": 100}),
    );
    let index_too =
        Condition { name: "too".into(), id: Id::of("condition", &[b"too"]), ..index.clone() };
    let rig = Rig::new(0);
    rig.ask(&[index, index_too, high()]);
    let (topic, _, value) = reading("Lahore", 0, 120.0, "ug/m3");
    rig.run(vec![
        reading("Lahore", 1, 120.0, "litres"),
        (topic, "default/Delhi/pm25".to_owned(), value),
        (topic, "default/Lahore/pm25".to_owned(), b"{}".to_vec()),
    ]);
    assert_eq!(rig.line(), "raised 120");
    let read = |bytes: &Vec<u8>| -> tocsin_domain::dead_letter::DeadLetter {
        wire::read(bytes, &SchemaIds::default()).unwrap()
    };
    let mut letters: Vec<_> = rig.values(topics::DEAD_LETTERS).iter().map(read).collect();
    letters.sort_by(|a, b| a.class.cmp(&b.class));
    let classes: Vec<&str> = letters.iter().map(|letter| letter.class.as_str()).collect();
    assert_eq!(classes, ["framing", "key", "value"]);
    assert!(
        letters[1].reason.contains("it must be \"default/Lahore/pm25\""),
        "{}",
        letters[1].reason
    );
    assert!(letters[2].reason.contains("litres"), "{}", letters[2].reason);
}

#[test]
fn an_alert_says_where_it_comes_from() {
    let rig = Rig::new(0);
    rig.ask(&[high()]);
    rig.run(vec![reading("Lahore", 1, 20.0, "ug/m3"), reading("Lahore", 2, 120.0, "ug/m3")]);
    let [alert] = &rig.alerts()[..] else { panic!("one alert") };
    let [position] = &alert.evidence.positions[..] else { panic!("one position") };
    let partition = tocsin_domain::partition::partition_of(b"default/Lahore/pm25", 8);
    assert_eq!(
        (position.topic.as_str(), position.partition, position.offset),
        (topics::AQI_READINGS, partition, 1)
    );
    assert_eq!((alert.subject.as_str(), alert.event_time), ("Lahore", Micros(DAWN + 2 * MINUTE)));
    assert!(alert.detected_at >= NOW, "the time of the turn, and what its poll waited");
    assert_eq!(alert.key(), format!("default/{}/Lahore", high().id));
}

/// The mean of an hour over a limit.
fn hourly(name: &str, limit: i32) -> Condition {
    condition(
        name,
        "threshold",
        json!({"measure": "pm25", "raise_above": limit, "mean_over": "1h"}),
    )
}

/// Turns the loop once, so many minutes after dawn; how many facts it published.
fn turn_at(processor: &mut Processor<DetectStep>, minute: i64) -> u64 {
    processor.turn(Duration::ZERO, Micros(DAWN + minute * MINUTE)).unwrap().published
}

#[test]
fn after_a_restart_each_window_is_closed_by_its_own_rule() {
    let rig = Rig::new(60);
    rig.ask(&[hourly("low", 10), hourly("high", 80)]);
    rig.put([reading("Lahore", 5, 50.0, "ug/m3")]);
    let mut first = rig.processor();
    rig.work(&mut first, 1);
    turn_at(&mut first, 71);
    drop(first);
    rig.put([reading("Lahore", 130, 50.0, "ug/m3")]);
    let mut second = rig.processor();
    rig.work(&mut second, 1);
    let told = || rig.alerts().into_iter().map(|a| (a.condition_name, a.value)).collect::<Vec<_>>();
    assert_eq!(told(), [("low".to_owned(), "50".to_owned())]);
}

#[test]
fn an_event_from_the_future_does_not_silence_its_subject() {
    let rig = Rig::new(0);
    rig.ask(&[high()]);
    let ahead = |minutes: i64, value| {
        let (topic, key, _) = reading("Lahore", 0, value, "ug/m3");
        let (_, _, value) = reading("Lahore", minutes, value, "ug/m3");
        let (ids, arrival_time) = (SchemaIds::default(), Micros(DAWN));
        let fact = Reading { arrival_time, ..wire::read(&value, &ids).unwrap() };
        (topic, key, bytes(&fact))
    };
    let day = 24 * 60;
    rig.run(vec![ahead(366 * day, 120.0), ahead(day, 130.0), ahead(day + 1, 1.0)]);
    assert_eq!(rig.line(), "raised 130");
    assert_eq!(rig.values(topics::LATE_EVENTS).len(), 0);
    let letters = rig.values(topics::DEAD_LETTERS);
    assert_eq!(letters.len(), 2);
    let letter: tocsin_domain::dead_letter::DeadLetter =
        wire::read(&letters[0], &SchemaIds::default()).unwrap();
    assert_eq!(letter.class, "time");
    assert!(letter.reason.contains("2025-05-02"), "{}", letter.reason);
}

#[test]
fn a_slash_in_the_tenant_does_not_reach_another_tenants_conditions() {
    let rig = Rig::new(0);
    let params = json!({"measure": "pm25", "raise_above": 100});
    rig.ask(&[Condition::new("a", "high", "threshold", "*", &params)]);
    let from = |tenant, subject| {
        let (topic, _, value) = reading(subject, 1, 120.0, "ug/m3");
        let fact =
            Reading { tenant, ..wire::read::<Reading<'_>>(&value, &SchemaIds::default()).unwrap() };
        (topic, format!("{tenant}/{subject}/pm25"), bytes(&fact))
    };
    rig.run(vec![from("a/b", "Lahore"), from("a", "b/Delhi")]);
    let subjects: Vec<String> = rig.alerts().into_iter().map(|alert| alert.subject).collect();
    assert_eq!((subjects, rig.values(topics::DEAD_LETTERS).len()), (vec!["b/Delhi".to_owned()], 1));
}
