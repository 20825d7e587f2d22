//! Topics that somebody else writes, on a real Kafka with a real schema registry: every format becomes
//! events, a schema that comes up meanwhile is waited for, what can never be read is put aside whole,
//! and however often the reader is killed, each event is there once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::cluster::{Process, run};
use support::{tocsin, until};
use tocsin::settings::Settings;
use tocsin::{backend, facts};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Position, TopicPartition};
use tocsin_stream::{Log, Transaction, WorkerSpec};
use tocsin_testkit::servers::{Kind, Private};

/// Orders in Avro: the second version has one more field.
const ORDER: [&str; 2] = [
    r#"{"type": "record", "name": "Order", "namespace": "acme", "fields": [
        {"name": "no", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "item", "type": {"type": "record", "name": "Item", "fields": [
            {"name": "sku", "type": "string"},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
            {"name": "count", "type": "int"}]}}]}"#,
    r#"{"type": "record", "name": "Order", "namespace": "acme", "fields": [
        {"name": "no", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "item", "type": {"type": "record", "name": "Item", "fields": [
            {"name": "sku", "type": "string"},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
            {"name": "count", "type": "int"}]}},
        {"name": "note", "type": ["null", "string"], "default": null}]}"#,
];

const METER: &str = r#"{"type": "record", "name": "acme.Meter", "fields": [
    {"name": "meter", "type": "string"}, {"name": "watts", "type": "float"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}"#;

const SOURCES: &str = r#"
[[sources]]
name = "orders"
kind = "topic"
topic = "acme.orders"
format = "avro"
event = "order-row"
subject = "{item.sku}"
order = "{no}"
price = "{item.price}"
currency = "GBP"
units = "{item.count}"
time = "{at}"

[[sources]]
name = "meters"
kind = "topic"
topic = "acme.meters"
format = "avro"
schemas = ["meter.avsc"]
event = "reading"
subject = "{meter}"
measure = "power"
value = "{watts}"
unit = "W"
time = "{at}"

[[sources]]
name = "sensors"
kind = "topic"
topic = "acme.sensors"
format = "json"
event = "reading"
subject = "{station.name}"
measure = "pm25"
value = "{pm25}"
unit = "ug/m3"
time = "{at}"
id = "{station.name}/{n}"

[[sources]]
name = "lines"
kind = "topic"
topic = "acme.lines"
format = "csv"
columns = ["product", "count", "price", "at"]
event = "order-row"
subject = "{product}"
units = "{count}"
price = "{price}"
currency = "EUR"
time = "{at}"
"#;

/// What somebody else has made: other numbers of partitions than ours.
const TOPICS: [(&str, u32); 4] =
    [("acme.orders", 3), ("acme.meters", 1), ("acme.sensors", 5), ("acme.lines", 2)];

struct World {
    at: std::path::PathBuf,
    _kafka: Private,
    registry: Private,
    log: Arc<dyn Log>,
    // The last to go: servers that do not find their directory any more are not ended.
    _directory: tempfile::TempDir,
}

impl World {
    fn start() -> World {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().to_owned();
        let kafka = Private::start(Kind::Kafka, &at.join("kafka"));
        let registry = Private::start(Kind::Registry, &at.join("registry"));
        std::fs::write(at.join("meter.avsc"), METER).unwrap();
        let text = format!(
            "[log]\nkind = \"kafka\"\nbootstrap = \"{}\"\nreplication_factor = 1\n\
             transaction_timeout = \"4s\"\nsession_timeout = \"6s\"\n\
             [schema]\nregistry = \"{}\"\n{SOURCES}",
            kafka.address(),
            registry.address()
        );
        let file = at.join("tocsin.toml");
        std::fs::write(&file, text).unwrap();
        run(&at, &["topics", "apply", "--yes"]).unwrap();
        let settings = Settings::load(&file, facts::now()).unwrap();
        let log = backend::log(&settings, &at).unwrap();
        World { _directory: directory, at, _kafka: kafka, registry, log }
    }

    fn create(&self, name: &str, partitions: u32) {
        let text = format!(
            "topics:\n  - name: {name}\n    purpose: p\n    key: k\n    why: w\n    partitions: {partitions}\n    \
             retention: 1d\n    schema: state\n    data_class: internal\n    writers: [acme]\n    readers: [ingest]\n"
        );
        let topics = Topics::parse(&text).unwrap();
        self.log.create_topics(&topics.iter().collect::<Vec<_>>()).unwrap();
    }

    /// Registers a version of a subject; its id.
    fn register(&self, subject: &str, schema: &str) -> u32 {
        let url = format!("{}/subjects/{subject}/versions", self.registry.address());
        let mut answer = ureq::post(&url).send_json(json!({ "schema": schema })).unwrap();
        answer.body_mut().read_json::<Value>().unwrap()["id"].as_u64().unwrap() as u32
    }

    /// Writes as somebody else does: to a partition, with any key.
    fn produce(&self, topic: &str, records: &[(u32, &str, Vec<u8>)]) {
        let records =
            records.iter().map(|(partition, key, value)| (*partition, *key, Some(&**value)));
        self.produce_any(topic, records);
    }

    /// The same, tombstones too.
    fn produce_any<'v>(
        &self,
        topic: &str,
        records: impl Iterator<Item = (u32, &'v str, Option<&'v [u8]>)>,
    ) {
        let spec = WorkerSpec { id: "somebody-else".to_owned(), ..WorkerSpec::default() };
        let mut worker = self.log.worker(&spec).unwrap();
        let mut transaction = Transaction::default();
        transaction.time = facts::now();
        let number = transaction.register(topic, self.log.partitions(topic).unwrap());
        for (partition, key, value) in records {
            transaction.to_partition(number, partition).push(key.as_bytes(), value);
        }
        worker.commit(&mut transaction).unwrap();
    }

    /// Every committed value of a topic of ours, as JSON.
    fn events(&self, topic: &str) -> Vec<Value> {
        self.values(topic, |value| {
            wire::to_json(value, &SchemaIds::default()).unwrap()["fact"].clone()
        })
    }

    fn dead(&self) -> Vec<DeadLetter> {
        let ids = SchemaIds::default();
        self.values(topics::DEAD_LETTERS, |value| wire::read_owned(value, &ids).unwrap())
    }

    fn values<T>(&self, topic: &str, read: impl Fn(&[u8]) -> T) -> Vec<T> {
        let mut found = Vec::new();
        for partition in 0..self.log.partitions(topic).unwrap() {
            let at = TopicPartition::new(topic, partition);
            let (mut next, end) = (0, self.log.span(&at).unwrap().end);
            while next < end {
                let batch = self.log.read(&at, next, 1 << 20).unwrap();
                found.extend(batch.records().map(|record| read(record.value.unwrap())));
                // Marks of transactions are no records.
                if batch.next == next {
                    break;
                }
                next = batch.next;
            }
        }
        found
    }

    fn ingest(&self) -> Process {
        Process::service(&self.at, "ingest", 0)
    }
}

fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

/// An order of the first version, or of the second if there is a note.
fn order(id: u32, no: &str, pence: i16, note: Option<&str>) -> Vec<u8> {
    let amount = [long(2), pence.to_be_bytes().to_vec()].concat();
    let body = [text(no), long(1_709_280_000_123), text("LAMP"), amount, long(3)].concat();
    let note = note.map(|note| [long(1), text(note)].concat()).unwrap_or_default();
    [vec![0], id.to_be_bytes().to_vec(), body, note].concat()
}

fn meter(name: &str, watts: f32) -> Vec<u8> {
    let body = [text(name), watts.to_le_bytes().to_vec(), long(1_709_280_000_000_000)].concat();
    [vec![0xc3, 1], wire::fingerprint(METER).unwrap().to_vec(), body].concat()
}

fn sensor(n: u32) -> Vec<u8> {
    let at = format!("2024-03-01T{:02}:{:02}:{:02}Z", n / 3600 % 24, n / 60 % 60, n % 60);
    let station = json!({ "name": format!("s{}", n % 50) });
    json!({ "station": station, "pm25": n, "at": at, "n": n }).to_string().into_bytes()
}

fn csv(lines: &str) -> Vec<u8> {
    lines.as_bytes().to_vec()
}

/// Each of these fields of the events, as one line, sorted.
fn lines(events: &[Value], fields: &[&str]) -> Vec<String> {
    let field = |event: &Value, name: &str| match event.pointer(name) {
        Some(Value::String(text)) => text.clone(),
        other => other.map(Value::to_string).unwrap_or_default(),
    };
    let line = |event| fields.iter().map(|name| field(event, name)).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = events.iter().map(line).collect();
    lines.sort();
    lines
}

fn ready(process: &Process) {
    until("ingest is ready", || process.is_ready());
}

#[test]
fn every_format_becomes_events_and_a_schema_that_is_not_known_yet_is_waited_for() {
    let world = World::start();
    for (topic, partitions) in &TOPICS[..3] {
        world.create(topic, *partitions);
    }
    let first = world.register("acme.orders-value", ORDER[0]);
    let process = world.ingest();
    until("it says what it waits for", || {
        let waiting = &process.ready()["waiting"]["topic-lines"];
        waiting.as_str().is_some_and(|text| text.contains("no topic \"acme.lines\""))
    });
    until("it is ready for all else", || process.is_ready());
    assert_eq!(process.metric("tocsin_partitions_waiting", "topic-lines"), 1.0);
    world.create("acme.lines", 2);

    every_format(&world, first);
    ready(&process);

    // The registry stands still: only who needs it waits.
    let second = world.register("acme.orders-value", ORDER[1]);
    world.registry.pause();
    world.produce(
        "acme.orders",
        &[
            (0, "", order(second, "o3", 100, Some("soon"))),
            (0, "", order(first, "o4", 100, None)),
            (2, "", order(first, "o5", 100, None)),
        ],
    );
    let orders = || lines(&world.events(topics::ORDERS_ROWS), &["/order"]).join(" ");
    until("the other partition goes on", || orders().contains("o5"));
    until("it says what it waits for", || {
        let waiting = &process.ready()["waiting"]["topic-orders"];
        waiting.as_str().is_some_and(|text| text.contains(&format!("schema {second}")))
    });
    assert!(process.is_ready(), "the others go on, and so does what is pushed");
    assert_eq!(process.metric("tocsin_partitions_waiting", "topic-orders"), 1.0);
    assert!(process.said().contains("the partition waits"), "{}", process.last_words());
    assert!(!orders().contains("o3") && !orders().contains("o4"), "{}", orders());
    assert!(world.dead().is_empty());
    world.registry.resume();
    until("what has waited comes", || orders().contains("o3 o4 o5"));
    let of_one_subject: Vec<_> = world.events(topics::ORDERS_ROWS);
    let place = |no| of_one_subject.iter().position(|order| order["order"] == no);
    assert!(place("o3") < place("o4"), "each in its order");
    ready(&process);
    assert!(world.dead().is_empty());
    assert_eq!(process.metric("tocsin_partitions_waiting", "topic-orders"), 0.0);
    poison(&world, first);
    a_flood_is_paused(&world, &process);
    assert_eq!(process.terminate(), Some(0));

    // What was asked for once is kept: the next process needs no registry.
    world.registry.kill();
    let process = world.ingest();
    world.produce("acme.orders", &[(0, "", order(second, "o6", 100, Some("later")))]);
    until("it is read without the registry", || orders().contains("o6"));
    assert_eq!(process.terminate(), Some(0));
}

/// Each format says the same of its kind.
fn every_format(world: &World, first: u32) {
    world.produce(
        "acme.orders",
        &[(0, "", order(first, "o1", 1250, None)), (1, "k", order(first, "o2", -5, None))],
    );
    world.produce("acme.meters", &[(0, "m", meter("m1", 0.1))]);
    world.produce("acme.sensors", &[(4, "s", sensor(7))]);
    let several = "desk,1,\"10.00\",2024-03-01T00:00:00Z\nchair,2,5.5,2024-03-01T00:00:01Z\n";
    world.produce(
        "acme.lines",
        &[(1, "l", csv(several)), (0, "", csv("sofa,1,99,2024-03-01T00:00:02Z"))],
    );
    until("all formats have come", || world.events(topics::ORDERS_ROWS).len() == 5);
    until("readings have come", || world.events(topics::AQI_READINGS).len() == 2);
    assert_eq!(
        lines(
            &world.events(topics::ORDERS_ROWS),
            &["/subject", "/order", "/price/amount", "/units", "/event_time", "/origin"]
        ),
        [
            "LAMP o1 12.5 3 2024-03-01T08:00:00.123Z acme.orders/0/0",
            "LAMP o2 -0.05 3 2024-03-01T08:00:00.123Z acme.orders/1/0",
            "chair  5.5 2 2024-03-01T00:00:01Z acme.lines/1/0:2",
            "desk  10 1 2024-03-01T00:00:00Z acme.lines/1/0:1",
            "sofa  99 1 2024-03-01T00:00:02Z acme.lines/0/0:1",
        ]
    );
    assert_eq!(
        lines(&world.events(topics::AQI_READINGS), &["/subject", "/measure", "/value", "/origin"]),
        ["m1 power 0.1 acme.meters/0/0", "s7 pm25 7.0 acme.sensors/4/0"]
    );
}

/// What can never be read is put aside as it came.
fn poison(world: &World, known: u32) {
    let whole = order(known, "o9", 100, None);
    let letters: Vec<(&str, u32, Vec<u8>, &str, &str)> = vec![
        ("acme.orders", 2, order(99_999, "x", 1, None), "schema", "has no schema 99999"),
        ("acme.orders", 2, whole[..whole.len() - 1].to_vec(), "decode", "does not end"),
        ("acme.orders", 2, b"{\"no\": 1}".to_vec(), "framing", "must begin with"),
        ("acme.sensors", 1, b"{\"pm25\": ".to_vec(), "json", "not JSON"),
        ("acme.sensors", 1, b"{\"pm25\": 3}".to_vec(), "value", "subject is empty"),
        ("acme.sensors", 1, b"[1]".to_vec(), "json", "must be an object"),
    ];
    for (topic, partition, value, _, _) in &letters {
        world.produce(topic, &[(*partition, "its key", value.clone())]);
    }
    world.produce(
        "acme.lines",
        &[(0, "its key", csv("a,1,1,2024-03-01T00:00:03Z\nb,x,1,2024-03-01T00:00:03Z\n"))],
    );
    until("all of it is put aside", || world.dead().len() == letters.len() + 1);
    let dead = world.dead();
    for (topic, partition, value, class, reason) in &letters {
        let found = dead.iter().find(|letter| letter.value == *value).unwrap();
        let Position { topic: in_topic, partition: in_partition, .. } =
            found.position.clone().unwrap();
        assert_eq!(
            (in_topic.as_str(), in_partition, found.class.as_str()),
            (*topic, *partition, *class)
        );
        assert!(found.reason.contains(reason), "{}", found.reason);
        assert_eq!(found.key, b"its key");
    }
    // The mark of the transaction before has taken an offset.
    let row = dead.iter().find(|letter| letter.topic == "acme.lines").unwrap();
    assert_eq!(
        (row.value.as_slice(), row.origin.as_str()),
        (&b"b,x,1,2024-03-01T00:00:03Z\n"[..], "acme.lines/0/2:2")
    );
    assert!(
        lines(&world.events(topics::ORDERS_ROWS), &["/origin"])
            .contains(&"acme.lines/0/2:1".to_owned())
    );
}

/// A topic mostly of poison waits before it floods, until somebody lets it go on.
fn a_flood_is_paused(world: &World, process: &Process) {
    let before = world.dead().len();
    let mut flood: Vec<_> = (0..150).map(|n| (0, "k", csv(&format!("bad,{n}x,1,now")))).collect();
    flood.push((0, "k", csv("lamp,1,7,2024-03-01T00:00:04Z")));
    world.produce("acme.lines", &flood);
    let paused = || process.metric("tocsin_source_paused", "\"lines\"");
    until("the source is paused", || paused() == 1.0);
    let dead = world.dead().len() - before;
    assert!((90..=100).contains(&dead), "{dead} letters: those before count as well");
    let ready = process.ready();
    assert_eq!(ready["ready"], true, "the others go on: {ready}");
    assert!(ready["paused"]["lines"].as_str().unwrap().contains("of the last 100 rows"), "{ready}");
    assert_eq!(process.metric("tocsin_partitions_waiting", "topic-lines"), 0.0);
    world.produce("acme.sensors", &[(0, "s", sensor(8))]);
    until("the others go on", || world.events(topics::AQI_READINGS).len() == 3);
    assert_eq!(world.dead().len() - before, dead, "nothing more of it is committed");

    let said = run(&world.at, &["dlq", "resume", "lines"]).unwrap();
    assert!(said.contains("resumed: lines"), "{said}");
    let lamp = || lines(&world.events(topics::ORDERS_ROWS), &["/subject"]).contains(&"lamp".into());
    until("it goes on where it was", lamp);
    assert_eq!(world.dead().len() - before, 150, "each once");
    until("that is told", || paused() == 0.0);
}

const SENSORS: u32 = 40_000;

#[test]
fn however_often_it_is_killed_each_event_is_there_once() {
    let world = World::start();
    for (topic, partitions) in TOPICS {
        world.create(topic, partitions);
    }
    let mut process = world.ingest();
    ready(&process);
    let mut kills = 0;
    for part in 0..8 {
        let numbers = part * SENSORS / 8..(part + 1) * SENSORS / 8;
        let records: Vec<_> = numbers.map(|n| (n % 5, "k", sensor(n))).collect();
        world.produce("acme.sensors", &records);
        let before = world.events(topics::AQI_READINGS).len();
        // Somewhere between the first commit and the last.
        until("some of it has come", || world.events(topics::AQI_READINGS).len() > before);
        process.signal("-KILL");
        kills += 1;
        drop(process);
        process = world.ingest();
    }
    until("all of it has come", || world.events(topics::AQI_READINGS).len() >= SENSORS as usize);
    let mut seen = BTreeMap::<String, u32>::new();
    for id in lines(&world.events(topics::AQI_READINGS), &["/id"]) {
        *seen.entry(id).or_default() += 1;
    }
    let twice = seen.values().filter(|times| **times > 1).count();
    assert_eq!((seen.len(), twice, kills), (SENSORS as usize, 0, 8));
    assert!(world.dead().is_empty());
    assert_eq!(process.terminate(), Some(0));
}

/// A sensor that writes its day as nobody else does.
fn odd_sensor(n: u32) -> Vec<u8> {
    String::from_utf8(sensor(n)).unwrap().replace("2024-03-01T", "01.03.2024 ").into_bytes()
}

/// Five records, each as one thing, of the service and of the source.
fn counted_as_whatever_comes_in(process: &Process) {
    let outcome = |outcome: &str| {
        let label = format!("service=\"topic-sensors\",outcome=\"{outcome}\"");
        process.metric("tocsin_outcomes_total", &label)
    };
    let outcomes = ["processed", "filtered", "dead", "duplicate", "late"].map(outcome);
    assert_eq!(outcomes, [1.0, 2.0, 2.0, 0.0, 0.0]);
    let of_source = ["processed", "filtered", "dead"].map(|outcome| {
        let label = format!("source=\"sensors\",outcome=\"{outcome}\"");
        process.metric("tocsin_source_rows_total", &label)
    });
    assert_eq!(of_source, [1.0, 2.0, 2.0]);
}

#[test]
fn what_was_put_aside_comes_back_and_every_record_is_counted_as_one_thing() {
    let world = World::start();
    for (topic, partitions) in TOPICS {
        world.create(topic, partitions);
    }
    let first = world.register("acme.orders-value", ORDER[0]);
    let (process, later) = (world.ingest(), first + 1);
    ready(&process);
    world.produce("acme.orders", &[(0, "k", order(later, "o1", 250, Some("soon")))]);
    world.produce(
        "acme.lines",
        &[(1, "l", csv("desk,1,2.50,2024-03-01T00:00:00Z\nsofa,2,1,01.03.2024 00:00:01Z\n"))],
    );
    let odd = odd_sensor(2);
    let records = [Some(sensor(1)), Some(odd.clone()), None, Some(b"nonsense".to_vec()), None];
    world.produce_any("acme.sensors", records.iter().map(|value| (3, "s", value.as_deref())));
    until("all of it is put aside", || world.dead().len() == 4);
    until("all of it is counted", || {
        process.metric("tocsin_records_total", "topic-sensors") == 5.0
    });
    counted_as_whatever_comes_in(&process);
    assert_eq!(process.terminate(), Some(0));

    let ends = || {
        let topic = |topic: &str| {
            let partitions = 0..world.log.partitions(topic).unwrap();
            let end =
                |partition| world.log.span(&TopicPartition::new(topic, partition)).unwrap().end;
            partitions.map(end).collect::<Vec<u64>>()
        };
        TOPICS.map(|(name, _)| topic(name))
    };
    let (before, file) = (ends(), world.at.join("tocsin.toml"));
    // The schema is there by now, and the configuration knows how days may be written.
    assert_eq!(world.register("acme.orders-value", ORDER[1]), later);
    let text = std::fs::read_to_string(&file).unwrap();
    let known =
        "unit = \"ug/m3\"\ntime_format = [\"%d.%m.%Y %H:%M:%SZ\", \"%Y-%m-%dT%H:%M:%SZ\"]\n";
    let known_lines = known.replace("unit = \"ug/m3\"", "currency = \"EUR\"");
    let text =
        text.replace("unit = \"ug/m3\"\n", known).replace("currency = \"EUR\"\n", &known_lines);
    std::fs::write(&file, text).unwrap();
    let data = world.at.join("dlq").to_str().unwrap().to_owned();
    let dlq = |words: &[&str]| run(&world.at, &[&["dlq"], words, &["--data", &data]].concat());
    let letters: Vec<String> = world.dead().iter().map(|letter| letter.id.to_string()).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let plan = dlq(&[&["redrive"], letters.as_slice()].concat()).unwrap_err();
    assert!(plan.contains("4 letters: 3 events would be written, 0 there already"), "{plan}");
    let done = dlq(&[&["redrive", "--yes"], letters.as_slice()].concat()).unwrap_err();
    assert!(done.contains("3 events written") && done.contains("1 still dead"), "{done}");
    assert_eq!(
        lines(&world.events(topics::ORDERS_ROWS), &["/subject", "/event_time", "/origin"]),
        [
            "LAMP 2024-03-01T08:00:00.123Z acme.orders/0/0",
            "desk 2024-03-01T00:00:00Z acme.lines/1/0:1",
            "sofa 2024-03-01T00:00:01Z acme.lines/1/0:2",
        ]
    );
    let readings =
        || lines(&world.events(topics::AQI_READINGS), &["/subject", "/event_time", "/origin"]);
    assert_eq!(
        readings(),
        ["s1 2024-03-01T00:00:01Z acme.sensors/3/0", "s2 2024-03-01T00:00:02Z acme.sensors/3/1",]
    );
    assert_eq!(ends(), before, "nothing goes to the topics of others");
    // What is sent again adds nothing by its id, and a redrive that ended has nothing left to do.
    let list = dlq(&["list"]).unwrap();
    assert!(list.contains("1 letters in 1 groups"), "{list}");
}

#[test]
fn what_is_wrong_with_a_topic_is_said_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("meter.avsc"), METER).unwrap();
    let says = |text: &str, part: &str| {
        std::fs::write(at.join("tocsin.toml"), text).unwrap();
        let mut command = tocsin();
        command.arg("up").arg("--config").arg(at.join("tocsin.toml"));
        command.arg("--data").arg(at.join("data")).args(["--listen", "127.0.0.1:0"]);
        let said = support::said::run(&mut command).ended(3, &[part]);
        assert!(said.out.is_empty(), "{}", said.out);
    };
    says(SOURCES, "nobody but this process writes to the embedded log");
    says(&SOURCES.replace("acme.lines", "orders.rows"), "a topic of Tocsin itself");
    says(&SOURCES.replace("meter.avsc", "no.avsc"), "cannot read");
    says(&SOURCES.replace("\"count\", ", ""), "names a column `count`");
}
