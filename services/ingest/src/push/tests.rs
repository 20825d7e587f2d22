//! What somebody who pushes sees: real HTTP to a real listener, and the log behind it.

mod again;
mod counted;
mod hostile;
mod hostile_requests;
mod paused;
mod room;
mod uploads;

use super::settings::Pushed;
use super::*;
use crate::datasets::http::{self, Uploads};
use crate::datasets::{self, DatasetConfig};
use crate::settings::section as sources_section;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use tocsin_domain::TopicPartition;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::{Listing, OrderRow, Reading, Swipe};
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::wire::{self, Fact, SchemaIds};
use tocsin_service::Document;
use tocsin_stream::memory::{Fault, MemoryLog};

const SOURCES: &str = r#"
[[sources]]
name = "orders"
kind = "json-lines"
event = "order-row"
type = "com.acme.order"
subject = "{sku}"
price = "{price.value}"
currency = "{price.currency}"
units = "{units}"
time = "{at}"
title = "{ce.region}{region}"
[[sources.only]]
field = "{units}"
above = "0"
[[sources]]
name = "air"
kind = "json-lines"
event = "reading"
subject = "{station}"
measure = "pm25"
value = "{v}"
time = "{t}"
"#;

const READING: &str = r#"{"specversion":"1.0","id":"1","source":"/a","type":"tocsin.reading",
    "time":"2024-05-01T12:00:00Z","data":{"subject":"Köln","measure":"pm25","value":35.40}}"#;
const ORDER: &str =
    r#"{"sku":"lego","price":{"value":"19.99","currency":"EUR"},"units":2,"at":"2024-05-01"}"#;

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");
const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const TOKEN: (&str, &str) = ("authorization", "Bearer s3cret");

/// A running push, on a log in memory.
struct World {
    log: Arc<MemoryLog>,
    at: SocketAddr,
    stop: Stop,
    guards: Vec<Arc<Guard>>,
    metrics: Arc<Metrics>,
    room: Arc<Room>,
    _spool: tempfile::TempDir,
    writer: Option<JoinHandle<Result<(), String>>>,
    _runtime: tokio::runtime::Runtime,
}

/// What came back.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    body: serde_json::Value,
}

fn configured(text: &str) -> (PushSettings, Vec<SourceConfig>, Vec<DatasetConfig>) {
    let hash: String = token_hash(b"s3cret").iter().map(|b| format!("{b:02x}")).collect();
    let document = Document::parse(&text.replace("HASH", &hash), "t.toml").unwrap();
    let sets = datasets::section(&document).unwrap();
    (section(&document).unwrap(), sources_section(&document).unwrap(), sets)
}

fn new_log() -> Arc<MemoryLog> {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    log
}

impl World {
    fn new(push: &str) -> World {
        World::on(new_log(), push)
    }

    fn on(log: Arc<MemoryLog>, push: &str) -> World {
        World::patient(log, push, body::PATIENCE)
    }

    /// A body may take so long.
    fn patient(log: Arc<MemoryLog>, push: &str, patience: Duration) -> World {
        World::of(log, &format!("{push}\n{SOURCES}"), patience)
    }

    fn of(log: Arc<MemoryLog>, text: &str, patience: Duration) -> World {
        let (settings, sources, sets) = configured(text);
        let (shared, now) = (log.clone() as Arc<dyn Log>, Arc::new(|| Micros(1_000_000)));
        let (metrics, spool) = (Metrics::new(), tempfile::tempdir().unwrap());
        let made = Push::new(&shared, (&settings, &sources), 0, metrics.clone(), now.clone());
        let (push, writer) = made.map_err(|error| error.to_string()).unwrap();
        let (guards, push) = (push.guards(), Push { patience, ..push });
        let (room, path) = (push.room.clone(), spool.path().to_owned());
        let told: http::Told = Arc::new(|_| {});
        let uploads = http::router(Uploads::new(shared, &sets, path, (push.gate(), told), now));
        let router = push.router().merge(uploads);
        let stop = Stop::new();
        let token = stop.clone();
        let writer = writer.patience(Duration::from_millis(300));
        let writer = std::thread::spawn(move || writer.run(&token));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        runtime.spawn(tocsin_service::http::serve(listener, router, stop.clone()));
        let (writer, _spool, _runtime) = (Some(writer), spool, runtime);
        World { log, at, stop, guards, metrics, room, _spool, writer, _runtime }
    }

    fn open() -> World {
        World::new("[push]\nwithout_token = true")
    }

    fn post(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Got {
        self.ask("POST", "", headers, body.as_ref())
    }

    fn ask(&self, method: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        self.ask_at(&format!("{method} /v1/events{query}"), headers, body)
    }

    fn ask_at(&self, what: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let (length, mut head) = (body.len(), format!("{what} HTTP/1.1\r\n"));
        if headers.iter().all(|(name, _)| *name != "host") {
            head += "host: localhost\r\n";
        }
        head += &format!("connection: close\r\ncontent-length: {length}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat())
    }

    /// Sends bytes as they are. Who is refused early hears why, however much it still had to say.
    fn raw(&self, bytes: &[u8]) -> Got {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let pair = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
        Got {
            status: status.unwrap_or_else(|| panic!("no answer to {} bytes", bytes.len())),
            headers: lines.filter_map(pair).collect(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    /// Every value in a topic.
    fn values(&self, topic: &str) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for partition in 0..self.log.partitions(topic).unwrap() {
            let log: &dyn Log = &*self.log;
            let scanned = log.scan_all(&TopicPartition::new(topic, partition), |record| {
                found.extend(record.value.map(<[u8]>::to_vec));
                Ok::<(), LogError>(())
            });
            scanned.unwrap();
        }
        found
    }

    fn facts<F: for<'x> Fact<'x>>(&self, topic: &str) -> Vec<F> {
        let read = |bytes: &Vec<u8>| wire::read_owned(bytes, &SchemaIds::default()).unwrap();
        self.values(topic).iter().map(read).collect()
    }

    fn count(&self, topic: &str) -> usize {
        self.values(topic).len()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.stop();
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The events of the built-in kind and data.
fn event(id: &str, kind: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/a","type":"{kind}","time":"2024-05-01T12:00:00Z","data":{data}}}"#
    )
}

#[test]
fn a_structured_event_is_in_the_log_when_it_is_accepted() {
    let world = World::open();
    let got = world.post(&[STRUCTURED], READING);
    assert_eq!(got.status, 202, "{got:?}");
    assert_eq!(
        got.body,
        serde_json::json!({"received":1,"written":1,"left_out":0,"dead_letters":0})
    );
    let values = world.values(topics::AQI_READINGS);
    let reading: Reading<'_> = wire::read(&values[0], &SchemaIds::default()).unwrap();
    assert_eq!((reading.subject, reading.measure, reading.value), ("Köln", "pm25", 35.4));
    assert_eq!(reading.event_time.to_string(), "2024-05-01T12:00:00Z");
    assert_eq!((reading.source, reading.origin), ("anyone", "/a#1"));
    assert_eq!(reading.arrival_time, Micros(1_000_000));
}

#[test]
fn every_built_in_type_is_read() {
    let world = World::open();
    let events = [
        event(
            "1",
            "tocsin.reading",
            r#"{"subject":"s","measure":"aqi","value":"7","unit":"AQI-US","averaging":"PT1H","place":"p"}"#,
        ),
        event(
            "2",
            "tocsin.listing",
            r#"{"listing":"L","title":"t","price":{"amount":12.50,"currency":"GBP"},"units_sold":3,"units_available":null,"url":"u","seller":"x","searches":["a","b"]}"#,
        ),
        event(
            "3",
            "tocsin.order-row",
            r#"{"subject":"sku","order":"o","title":"é\"","price":{"amount":"0.000001","currency":"EUR"},"units":-2}"#,
        ),
        event(
            "4",
            "tocsin.dataset-row",
            r#"{"dataset":"d","file":"f.csv","line":7,"fields":{"z":"1","a":2.50,"n":null,"b":true}}"#,
        ),
        event(
            "5",
            "tocsin.swipe",
            r#"{"from":"zoe","to":"ada","liked":true,"event_time":"2024-05-02T00:00:00Z"}"#,
        ),
    ];
    let got = world.post(&[BATCH], format!("[{}]", events.join(",")));
    assert_eq!((got.status, &got.body["written"]), (202, &5.into()), "{got:?}");
    let ids = SchemaIds::default();
    let listings = world.values(topics::MARKET_LISTINGS);
    let listing: Listing<'_> = wire::read(&listings[0], &ids).unwrap();
    assert_eq!((listing.price.to_string(), listing.units_sold), ("12.5 GBP".into(), Some(3)));
    assert_eq!((listing.units_available, listing.searches), (None, vec!["a", "b"]));
    let rows = world.values(topics::ORDERS_ROWS);
    let row: OrderRow<'_> = wire::read(&rows[0], &ids).unwrap();
    assert_eq!((row.price.to_string(), row.units, row.title), ("0.000001 EUR".into(), -2, "é\""));
    let rows = world.values(topics::DATASETS_ROWS);
    let row: tocsin_domain::event::DatasetRow<'_> = wire::read(&rows[0], &ids).unwrap();
    assert_eq!(row.fields, [("z", "1"), ("a", "2.50"), ("n", ""), ("b", "true")], "in their order");
    let swipes = world.values(topics::SOCIAL_SWIPES);
    let swipe: Swipe<'_> = wire::read(&swipes[0], &ids).unwrap();
    assert_eq!((swipe.from, swipe.to, swipe.liked), ("zoe", "ada", true));
    assert_eq!(swipe.event_time.to_string(), "2024-05-02T00:00:00Z");
}

#[test]
fn both_sides_of_a_pair_meet_in_one_partition() {
    let world = World::open();
    for (id, from, to) in [("1", "zoe", "ada"), ("2", "ada", "zoe")] {
        let data = format!(r#"{{"from":"{from}","to":"{to}","liked":true}}"#);
        assert_eq!(world.post(&[STRUCTURED], event(id, "tocsin.swipe", &data)).status, 202);
    }
    let full = (0..world.log.partitions(topics::SOCIAL_SWIPES).unwrap()).filter(|partition| {
        let at = TopicPartition::new(topics::SOCIAL_SWIPES, *partition);
        world.log.span(&at).unwrap().end == 2
    });
    assert_eq!(full.count(), 1);
}

#[test]
fn the_same_event_has_the_same_id_whichever_way_it_comes_and_another_producer_has_another() {
    let world = World::open();
    let binary = [
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/a"),
        ("ce-type", "tocsin.reading"),
        ("ce-time", "2024-05-01T12:00:00Z"),
        ("ce-subject", "K%C3%B6ln"),
    ];
    assert_eq!(world.post(&[STRUCTURED], READING).status, 202);
    assert_eq!(world.post(&[BATCH], format!("[{READING}]")).status, 202);
    let got = world.post(&binary, r#"{"measure":"pm25","value":35.4}"#);
    assert_eq!(got.status, 202, "{got:?}");
    let values = world.values(topics::AQI_READINGS);
    assert_eq!(values.len(), 3);
    assert!(values.iter().all(|value| *value == values[0]), "the same to the last byte");

    let named =
        World::new("[[producers]]\nname = \"p\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\"]");
    assert_eq!(named.post(&[STRUCTURED, TOKEN], READING).status, 202);
    let read = |bytes: &[u8]| wire::read::<Reading<'_>>(bytes, &SchemaIds::default()).unwrap().id;
    assert_ne!(read(&named.values(topics::AQI_READINGS)[0]), read(&values[0]));
}

#[test]
fn other_types_and_plain_json_go_through_the_mapping_that_is_named() {
    let world = World::open();
    let mapped =
        event("9", "com.acme.order", ORDER).replace("\"data\"", "\"region\":\"north\",\"data\"");
    assert_eq!(world.post(&[STRUCTURED], &mapped).status, 202);
    assert_eq!(world.post(&[STRUCTURED], &mapped).status, 202);
    let none = event("10", "com.acme.order", &ORDER.replace(":2,", ":0,"));
    let got = world.post(&[STRUCTURED], none);
    assert_eq!((got.status, &got.body["left_out"]), (202, &1.into()), "{got:?}");
    let plain =
        |body: &str, content| world.ask("POST", "?source=orders", &[content], body.as_bytes());
    assert_eq!(plain(&format!("[{ORDER},{ORDER}]"), JSON).body["written"], 2);
    assert_eq!(plain(ORDER, JSON).body["written"], 1);
    assert_eq!(plain(&format!("{ORDER}\r\n\n{ORDER}"), LINES).body["written"], 2);

    let values = world.values(topics::ORDERS_ROWS);
    let rows: Vec<OrderRow<'_>> =
        values.iter().map(|v| wire::read(v, &SchemaIds::default()).unwrap()).collect();
    let ids: std::collections::BTreeSet<Id> = rows.iter().map(|row| row.id).collect();
    assert_eq!((rows.len(), ids.len()), (7, 6), "the CloudEvent came twice with one id");
    assert!(rows.iter().all(|row| row.price.to_string() == "19.99 EUR" && row.units == 2));
    assert_eq!(rows.iter().filter(|row| row.title == "north").count(), 2, "an attribute is mapped");
}

#[test]
fn lines_under_a_key_are_the_same_events_whatever_their_bytes() {
    let ids = |key: &str, text: &str| {
        let world = World::open();
        let headers = [LINES, ("idempotency-key", key)];
        assert_eq!(world.ask("POST", "?source=orders", &headers, text.as_bytes()).status, 202);
        let values = world.values(topics::ORDERS_ROWS);
        let id = |v: &Vec<u8>| wire::read::<OrderRow<'_>>(v, &SchemaIds::default()).unwrap().id;
        values.iter().map(id).collect::<Vec<_>>()
    };
    let spaced = ORDER.replace(':', ": ");
    assert_eq!(ids("k", ORDER), ids("k", &spaced));
    assert_ne!(ids("k", ORDER), ids("l", ORDER));
}

#[test]
fn a_key_gives_the_same_answer_again_and_writes_nothing_also_after_a_restart() {
    let world = World::open();
    let keyed = [STRUCTURED, ("idempotency-key", "k1")];
    let first = world.post(&keyed, READING);
    let again = world.post(&keyed, READING);
    assert_eq!((first.status, again.status, &first.body), (202, 202, &again.body));
    assert_eq!(world.count(topics::AQI_READINGS), 1);
    let other = world.post(&keyed, READING.replace("35.40", "36"));
    assert_eq!((other.status, &other.body["code"]), (422, &"key-reused".into()), "{other:?}");
    let meant = world.post(&[BATCH, ("idempotency-key", "k1")], READING);
    assert_eq!(meant.body["code"], "key-reused", "the content type is of the request, too");

    let log = world.log.clone();
    drop(world);
    let world = World::on(log, "[push]\nwithout_token = true");
    assert_eq!(world.post(&keyed, READING).body, first.body);
    assert_eq!(world.count(topics::AQI_READINGS), 1, "nothing is written after the restart");
    let wrong = world.post(&[STRUCTURED, ("idempotency-key", "k2")], "{}");
    assert_eq!(wrong.status, 422);
    let right = world.post(&[STRUCTURED, ("idempotency-key", "k2")], READING);
    assert_eq!(right.status, 202, "what was refused has not used up its key");
}

#[test]
fn a_key_that_is_under_way_is_refused_until_it_is_done() {
    let log = new_log();
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let (told, tell) = std::sync::mpsc::channel();
    log.fail_commits(move |_| {
        told.send(()).unwrap();
        open.recv().unwrap();
        None
    });
    let world = Arc::new(World::on(log, "[push]\nwithout_token = true"));
    let keyed = [STRUCTURED, ("idempotency-key", "k")];
    let first = {
        let world = world.clone();
        std::thread::spawn(move || world.post(&keyed, READING))
    };
    tell.recv().unwrap();
    let second = world.post(&keyed, READING);
    assert_eq!((second.status, &second.body["code"]), (409, &"key-under-way".into()));
    assert_eq!(second.headers["retry-after"], "1");
    gate.send(()).unwrap();
    assert_eq!(first.join().unwrap().status, 202);
    assert_eq!(world.post(&keyed, READING).status, 202);
    assert_eq!(world.count(topics::AQI_READINGS), 1);
}

#[test]
fn whatever_becomes_of_a_commit_what_is_accepted_is_there_once() {
    for fault in [Fault::Busy, Fault::Abort, Fault::LostAnswer, Fault::LostRequest] {
        let log = new_log();
        let mut times = 0;
        log.fail_commits(move |_| {
            times += 1;
            (times <= 2).then_some(fault)
        });
        let world = World::on(log, "[push]\nwithout_token = true");
        for id in ["1", "2", "3"] {
            let text = READING.replace("\"1\"", &format!("\"{id}\""));
            let got = world.post(&[STRUCTURED, ("idempotency-key", id)], text);
            assert_eq!(got.status, 202, "{fault:?} {got:?}");
        }
        assert_eq!(world.count(topics::AQI_READINGS), 3, "{fault:?}");
    }
}

#[test]
fn what_is_not_proven_is_never_accepted() {
    for fault in [Fault::Abort, Fault::LostRequest, Fault::Busy] {
        let log = new_log();
        let mut times = 0;
        log.fail_commits(move |_| Some(fault).inspect(|_| times += 1));
        let world = World::on(log.clone(), "[push]\nwithout_token = true");
        let keyed = [STRUCTURED, ("idempotency-key", "k")];
        let got = world.post(&keyed, READING);
        assert_eq!((got.status, &got.body["code"]), (503, &"log".into()), "{fault:?} {got:?}");
        assert!(got.headers.contains_key("retry-after"));
        assert_eq!(world.count(topics::AQI_READINGS), 0, "{fault:?}");
        log.fail_commits(|_| None);
        assert_eq!(world.post(&keyed, READING).status, 202, "{fault:?}");
        assert_eq!(world.count(topics::AQI_READINGS), 1, "{fault:?}");
    }
}

#[test]
fn a_writer_that_is_shut_out_ends_and_says_no() {
    let world = World::open();
    let log: Arc<dyn Log> = world.log.clone();
    let spec = tocsin_stream::WorkerSpec { id: "push-0".into(), ..Default::default() };
    let _other = log.worker(&spec).unwrap();
    let got = world.post(&[STRUCTURED], READING);
    assert_eq!(got.status, 503, "{got:?}");
    assert_eq!(world.post(&[STRUCTURED], READING).body["code"], "stopping");
    assert_eq!(world.count(topics::AQI_READINGS), 0);
}

#[test]
fn a_batch_is_all_or_nothing_unless_it_is_lenient() {
    let world = World::open();
    let bad = event("2", "tocsin.reading", r#"{"subject":"s","measure":"m","value":"x"}"#);
    let typo = event("3", "tocsin.reading", r#"{"subject":"s","mesure":"m","value":1}"#);
    let body = format!("[{READING},{bad},{typo}]");
    let got = world.post(&[BATCH], &body);
    assert_eq!(
        (got.status, &got.body["code"], &got.body["wrong"]),
        (422, &"events".into(), &2.into())
    );
    assert_eq!(got.headers["content-type"], "application/problem+json");
    let errors = &got.body["errors"];
    assert_eq!((&errors[0]["index"], &errors[0]["pointer"]), (&1.into(), &"/data/value".into()));
    assert_eq!((&errors[1]["index"], &errors[1]["pointer"]), (&2.into(), &"/data/mesure".into()));
    assert_eq!((world.count(topics::AQI_READINGS), world.count(topics::DEAD_LETTERS)), (0, 0));

    let got = world.post(&[BATCH, ("prefer", "handling=lenient")], &body);
    assert_eq!(
        (got.status, &got.body["written"], &got.body["dead_letters"]),
        (202, &1.into(), &2.into())
    );
    assert_eq!(got.headers["preference-applied"], "handling=lenient");
    assert_eq!(got.body["errors"][0]["index"], 1);
    let letters: Vec<DeadLetter> = world.facts(topics::DEAD_LETTERS);
    let letter = letters.iter().find(|letter| letter.origin == "push:anyone#1").unwrap();
    assert_eq!(letter.value, bad.as_bytes());
    assert_eq!((letter.class.as_str(), letter.topic.as_str()), ("value", topics::AQI_READINGS));
    assert!(letter.reason.starts_with("/data/value: \"x\" is not a number"), "{letter:?}");
}

/// Events, each with what is wrong in it.
fn wrong_events() -> Vec<(String, &'static str)> {
    let reading = |data: &str| event("1", "tocsin.reading", data);
    let order = |price: &str| {
        event("1", "tocsin.order-row", &format!(r#"{{"subject":"s","price":{price}}}"#))
    };
    let long = format!(r#"{{"subject":"{}","measure":"m","value":1}}"#, "x".repeat(201));
    let nested = format!(r#"{{"a":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let huge =
        format!(r#"{{"subject":"s","measure":"m","value":1,"unit":"{}"}}"#, "x".repeat(300_000));
    vec![
        (READING.replace("1.0", "0.3"), "/specversion"),
        (READING.replace("\"id\":\"1\",", ""), "/id"),
        (READING.replace("\"id\":\"1\"", "\"id\":\"\""), "/id"),
        (READING.replace("\"id\":\"1\"", "\"id\":1"), "/id"),
        (READING.replace("\"id\":\"1\"", "\"id\":\"1\",\"id\":\"2\""), "/id"),
        (READING.replace("\"/a\"", "null"), "/source"),
        (READING.replace("tocsin.reading", "tocsin.readings"), "/type"),
        (READING.replace("2024-05-01T", "2024-05-32T"), "/time"),
        (READING.replace("\"time\":\"2024-05-01T12:00:00Z\",", ""), "/data/event_time"),
        (READING.replace("\"data\":", "\"data_base64\":\"e30=\",\"daten\":"), "/data_base64"),
        (READING.replace("\"data\":", "\"daten\":"), "/data"),
        (
            READING.replace("\"data\":", "\"datacontenttype\":\"text/xml\",\"data\":"),
            "/datacontenttype",
        ),
        (reading("[]"), "/data"),
        (reading(r#"{"measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s\u0000","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s","measure":"m","value":1,"place":"\u0000"}"#), "/data/place"),
        (reading(r#"{"subject":"\ud800","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s","subject":"t","measure":"m","value":1}"#), "/data/subject"),
        (reading(r#"{"subject":"s","measure":"m","value":1e999}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":"nan"}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":null}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":true}"#), "/data/value"),
        (reading(r#"{"subject":"s","measure":"m","value":1,"a/b~":1}"#), "/data/a~1b~0"),
        (reading(&long), "/data/subject"),
        (reading(&nested), "/data/a"),
        (reading(&huge), ""),
        (order("1"), "/data/price"),
        (order(r#"{"amount":"1"}"#), "/data/price/currency"),
        (order(r#"{"amount":"1","currency":"eur"}"#), "/data/price/currency"),
        (order(r#"{"amount":"0.0000001","currency":"EUR"}"#), "/data/price/amount"),
        (order(r#"{"amount":1e30,"currency":"EUR"}"#), "/data/price/amount"),
        (
            order(r#"{"amount":"79228162514264337593543950335","currency":"EUR"}"#),
            "/data/price/amount",
        ),
        (event("1", "tocsin.swipe", r#"{"from":"a","to":"a","liked":true}"#), "/data/to"),
        (event("1", "tocsin.swipe", r#"{"from":"a","to":"b","liked":"yes"}"#), "/data/liked"),
        (
            event("1", "tocsin.dataset-row", r#"{"dataset":"d","fields":{"a":1,"a":2}}"#),
            "/data/fields",
        ),
        (event("1", "tocsin.dataset-row", r#"{"dataset":"d","kind":"none"}"#), "/data/kind"),
        (event("1", "tocsin.dataset-row", r#"{"dataset":"d","line":1.5}"#), "/data/line"),
        (event("1", "com.acme.order", r#"{"sku":"s","sku":"t"}"#), "/data"),
        (event("1", "com.acme.order", r#"{"sku":"s","units":1,"at":"2024-05-01"}"#), "/data"),
        (event("1", "com.acme.order", &nested), "/data"),
        ("[]".to_owned(), ""),
        ("3".to_owned(), ""),
    ]
}

#[test]
fn every_wrong_event_is_refused_with_its_field() {
    let world = World::open();
    for (body, pointer) in wrong_events() {
        let got = world.post(&[STRUCTURED], &body);
        let shown = super::json::start(&body);
        assert_eq!(got.status, 422, "{shown} {got:?}");
        assert_eq!(got.body["errors"][0]["pointer"], pointer, "{shown} {got:?}");
        assert!(!got.body["errors"][0]["detail"].as_str().unwrap().is_empty());
    }
    for topic in Pushed::ALL.map(Pushed::topic) {
        assert_eq!(world.count(topic), 0, "{topic}");
    }
}

#[test]
fn every_wrong_request_is_refused_with_what_is_allowed() {
    let world = World::new("[push]\nwithout_token = true\nmax_body_bytes = 100000\nmax_events = 3");
    let bomb = gzip(&vec![b' '; 10_000_000]);
    let packed = gzip(READING.as_bytes());
    let four = format!("[{READING},{READING},{READING},{READING}]");
    let big = vec![b' '; 100_001];
    for (headers, body, status, code) in [
        (&[][..], READING.as_bytes(), 415, "content-type"),
        (&[("content-type", "text/csv")], b"a", 415, "content-type"),
        (&[JSON], b"{}", 400, "source"),
        (&[STRUCTURED], b"", 400, "json"),
        (&[STRUCTURED], b"{", 400, "json"),
        (&[STRUCTURED], b"{}{}", 400, "json"),
        (&[STRUCTURED], b"\x00", 400, "json"),
        (&[STRUCTURED], b"{\"id\":\"\xff\"}", 400, "utf-8"),
        (&[BATCH], b"{}", 400, "json"),
        (&[BATCH], b"[{}", 400, "json"),
        (&[BATCH], four.as_bytes(), 413, "too-many"),
        (&[STRUCTURED], &big, 413, "too-large"),
        (&[STRUCTURED, ("content-encoding", "gzip")], &bomb, 413, "too-large"),
        (&[STRUCTURED, ("content-encoding", "gzip")], b"not packed", 400, "gzip"),
        (&[STRUCTURED, ("content-encoding", "gzip")], &packed[..packed.len() - 9], 400, "gzip"),
        (&[STRUCTURED, ("content-encoding", "br")], &packed, 415, "encoding"),
        (&[STRUCTURED, ("idempotency-key", "")], READING.as_bytes(), 400, "key"),
        (&[STRUCTURED, TOKEN], READING.as_bytes(), 401, "token"),
    ] {
        let got = world.post(headers, body);
        assert_eq!((got.status, &got.body["code"]), (status, &code.into()), "{headers:?} {got:?}");
        assert_eq!(got.headers["content-type"], "application/problem+json");
        assert_eq!(got.body["status"], status);
    }
    let got = world.post(&[STRUCTURED, ("content-encoding", "gzip")], &packed);
    assert_eq!(got.status, 202, "{got:?}");
    let got = world.ask("GET", "", &[], b"");
    assert_eq!((got.status, &*got.headers["allow"]), (405, "POST"));
    let got = world.ask("POST", "?source=nobody", &[JSON], b"{}");
    assert_eq!((got.status, &got.body["code"]), (404, &"source".into()));
    assert!(
        world.post(&[("content-type", "text/csv")], b"a").headers["accept-post"].contains("ndjson")
    );
    let chunk = format!("{:x}\r\n{}\r\n", big.len(), String::from_utf8(big).unwrap());
    let chunked = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{}: {}\r\n\r\n{chunk}0\r\n\r\n",
        STRUCTURED.0, STRUCTURED.1
    );
    assert_eq!(world.raw(chunked.as_bytes()).status, 413, "also if nobody says how long it is");
    let many: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    assert_eq!(world.raw(many.as_bytes()).status, 431);
}

#[test]
fn tokens_and_scope_hold() {
    let world = World::new(
        "[[producers]]\nname = \"p\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\"]\n\
         subjects = [\"Kö\"]",
    );
    let got = world.post(&[STRUCTURED], READING);
    assert_eq!((got.status, &*got.headers["www-authenticate"]), (401, "Bearer realm=\"tocsin\""));
    let got = world.post(&[STRUCTURED, ("authorization", "Bearer wrong")], READING);
    assert_eq!(got.status, 401);
    let other = READING.replace("Köln", "Bonn");
    let batch = format!("[{READING},{other}]");
    for lenient in ["handling=strict", "handling=lenient"] {
        let got = world.post(&[BATCH, TOKEN, ("prefer", lenient)], &batch);
        assert_eq!((got.status, &got.body["code"]), (403, &"scope".into()), "{got:?}");
        assert_eq!(got.body["errors"][0]["index"], 1);
    }
    let swipe = event("1", "tocsin.swipe", r#"{"from":"Köln","to":"b","liked":true}"#);
    assert_eq!(world.post(&[STRUCTURED, TOKEN], swipe).status, 403);
    assert_eq!((world.count(topics::AQI_READINGS), world.count(topics::DEAD_LETTERS)), (0, 0));

    assert_eq!(world.post(&[STRUCTURED, TOKEN], READING).status, 202);
}

#[test]
fn who_is_too_fast_waits_until_the_debt_is_paid() {
    let world = World::new(
        "[[producers]]\nname = \"p\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\"]\nper_second = 1",
    );
    let many = format!("[{}]", [READING; 500].join(","));
    assert_eq!(world.post(&[BATCH, TOKEN], &many).status, 202, "a batch of any size can pass");
    let got = world.post(&[STRUCTURED, TOKEN], READING);
    assert_eq!((got.status, &got.body["code"]), (429, &"rate".into()), "{got:?}");
    assert!((100..=500).contains(&got.headers["retry-after"].parse::<u64>().unwrap()), "{got:?}");
    assert_eq!(world.count(topics::AQI_READINGS), 500);
}

#[test]
fn a_full_queue_sends_away_and_takes_again_when_there_is_room() {
    let log = new_log();
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let (told, tell) = std::sync::mpsc::channel();
    log.fail_commits(move |_| {
        told.send(()).unwrap();
        open.recv().unwrap();
        None
    });
    let push = "[push]\nwithout_token = true\nmax_body_bytes = 1024\nqueue_bytes = 4096";
    let world = Arc::new(World::on(log, push));
    let first = {
        let world = world.clone();
        std::thread::spawn(move || world.post(&[STRUCTURED], READING))
    };
    tell.recv().unwrap();
    let got = world.post(&[STRUCTURED], READING);
    assert_eq!((got.status, &got.body["code"]), (503, &"busy".into()), "{got:?}");
    assert_eq!(got.headers["retry-after"], "1");
    gate.send(()).unwrap();
    assert_eq!(first.join().unwrap().status, 202);
    gate.send(()).unwrap();
    assert_eq!(world.post(&[STRUCTURED], READING).status, 202, "there is room again");
}

#[test]
fn bodies_that_never_end_are_given_up_and_others_are_served_meanwhile() {
    let open = "[push]\nwithout_token = true";
    let world = World::patient(new_log(), open, Duration::from_millis(700));
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
        content-type: application/cloudevents+json\r\ncontent-length: 1000\r\n\r\n";
    let slow = |_| {
        let mut stream = TcpStream::connect(world.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..20).map(slow).collect();
    for _ in 0..10 {
        // A byte now and then.
        slow.iter_mut().for_each(|stream| _ = stream.write_all(b" "));
        assert_eq!(world.post(&[STRUCTURED], READING).status, 202);
    }
    for mut stream in slow {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"slow\""), "{answer}");
    }
    assert_eq!(world.count(topics::AQI_READINGS), 10);
}
