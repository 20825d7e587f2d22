//! What somebody who pushes sees: real HTTP to a real listener, and the log behind it.

mod again;
mod commits;
mod counted;
mod hostile;
mod hostile_requests;
mod paused;
mod refused;
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
title = "{ce.region|region}"
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

/// Midnight after the day of these events: none of them is from the future.
const NOW: Micros = Micros(1_714_608_000_000_000);

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
        let (shared, now) = (log.clone() as Arc<dyn Log>, Arc::new(|| NOW));
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
    assert_eq!(reading.arrival_time, NOW);
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
    let late = ORDER.replace("05-01", "05-32");
    let wrong = &plain(&format!("[{ORDER},{late}]"), JSON).body["errors"][0];
    assert_eq!((&wrong["index"], &wrong["pointer"]), (&1.into(), &"/at".into()), "{wrong}");

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
