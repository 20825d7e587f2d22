//! Requests of those who push: any head and any body, up to what stands in the log then. What is accepted
//! can be read there, and counts what its answer says; what is refused has written nothing.

use crate::request::{self, Interface};
use crate::target::Target;
use axum::http::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use std::thread::JoinHandle;
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_ingest::push::{self, Push};
use tocsin_service::config::Document;
use tocsin_service::{Metrics, Stop};
use tocsin_stream::Log;
use tocsin_stream::memory::MemoryLog;

/// After so many requests a new log takes over: one in memory keeps everything.
const REQUESTS: usize = 500;

/// Where facts go.
const FACTS: [&str; 6] = [
    topics::AQI_READINGS,
    topics::MARKET_LISTINGS,
    topics::ORDERS_ROWS,
    topics::DATASETS_ROWS,
    topics::SOCIAL_SWIPES,
    topics::DEAD_LETTERS,
];

const CONFIGURATION: &str = r#"
[push]
without_token = true
max_body_bytes = 65536
max_events = 500
idempotency_keys = 50
pause_above = "100%"

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
type = "air"
subject = "{station}"
measure = "pm25"
value = "{v}"
time = "{t}"

[[sources]]
name = "shop"
kind = "json-lines"
event = "listing"
type = "shop"
listing = "{id}"
price = "{p}"
currency = "{c}"

[[sources]]
name = "rows"
kind = "json-lines"
event = "dataset-row"
type = "rows"
"#;

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "push", open }]
}

fn open(_: &str) -> crate::Suffer {
    let mut world = World::new();
    let mut left = REQUESTS;
    Box::new(move |bytes| {
        if left == 0 {
            (world, left) = (World::new(), REQUESTS);
        }
        left -= 1;
        world.suffer(bytes);
    })
}

/// A push that runs, and the log behind it.
struct World {
    interface: Interface,
    log: Arc<MemoryLog>,
    places: Vec<TopicPartition>,
    ends: Vec<u64>,
    /// Behind the interface: it ends when nobody can push any more.
    _writer: Writer,
}

/// Whoever writes.
struct Writer(Option<JoinHandle<Result<(), String>>>);

impl Drop for Writer {
    fn drop(&mut self) {
        let ended = self.0.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(Ok(())))), "the writer has failed: {ended:?}");
    }
}

impl World {
    #[allow(clippy::expect_used, reason = "its configuration is a text of its own")]
    fn new() -> World {
        let document = Document::parse(CONFIGURATION, "tocsin.toml").expect("TOML");
        let settings = push::section(&document).expect("[push]");
        let sources = tocsin_ingest::section(&document).expect("[[sources]]");
        let log = MemoryLog::new();
        let topics: Vec<_> = Topics::builtin().iter().collect();
        log.create_topics(&topics).expect("topics");
        let shared = log.clone() as Arc<dyn Log>;
        let now = Arc::new(|| Micros(1_714_608_000_000_000));
        let made = Push::new(&shared, (&settings, &sources), 0, Metrics::new(), now);
        let (push, writer) = made.expect("a push");
        let writer = std::thread::spawn(move || writer.run(&Stop::new()));
        let interface = Interface::new(|| push.router());
        let places: Vec<_> = FACTS
            .iter()
            .flat_map(|topic| {
                let partitions = log.partitions(topic).unwrap_or_default();
                (0..partitions).map(move |partition| TopicPartition::new(topic, partition))
            })
            .collect();
        let ends = vec![0; places.len()];
        World { interface, log, places, ends, _writer: Writer(Some(writer)) }
    }

    fn suffer(&mut self, bytes: &[u8]) {
        let Some(request) = request::read(bytes) else { return };
        let answer = self.interface.ask(request);
        let (facts, letters) = self.written();
        if answer.status != StatusCode::ACCEPTED {
            assert!(answer.status.is_client_error(), "{}", answer.status);
            assert_eq!((facts, letters), (0, 0), "{} has written: {}", answer.status, answer.body);
            return;
        }
        let count = |name: &str| answer.body.get(name).and_then(Value::as_u64).unwrap_or_default();
        // An answer that was remembered has written nothing again.
        let said = (count("written"), count("dead_letters"));
        assert!([said, (0, 0)].contains(&(facts, letters)), "{facts}, {letters}: {}", answer.body);
        assert!(said.1 <= count("received"), "{}", answer.body);
    }

    /// How many facts and dead letters were written since it was asked last; each can be read.
    #[allow(clippy::expect_used, reason = "a log in memory answers")]
    fn written(&mut self) -> (u64, u64) {
        let ends = self.log.ends(&self.places).expect("ends");
        let (mut facts, mut letters) = (0, 0);
        for ((at, before), end) in self.places.iter().zip(&self.ends).zip(&ends) {
            if before == end {
                continue;
            }
            let batch = self.log.read(at, *before, usize::MAX).expect("records");
            for record in batch.records() {
                let ids = SchemaIds::default();
                let shown = wire::to_json(record.value.unwrap_or_default(), &ids);
                assert!(shown.is_ok(), "what was accepted cannot be read: {shown:?}");
                assert!(!record.key.is_empty() && std::str::from_utf8(record.key).is_ok());
            }
            let count = batch.records().count() as u64;
            assert_eq!(batch.next, *end, "the log has not given all of it");
            match &*at.topic == topics::DEAD_LETTERS {
                true => letters += count,
                false => facts += count,
            }
        }
        self.ends = ends;
        (facts, letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks what a seed says.
    fn ask(world: &World, seed: &[u8]) -> (u16, Value) {
        let answer = world.interface.ask(request::read(seed).unwrap());
        (answer.status.as_u16(), answer.body)
    }

    #[test]
    fn the_seeds_get_as_far_as_the_log() {
        let mut world = World::new();
        for (seed, wanted) in [
            (include_bytes!("../../corpus/push/structured-reading").as_slice(), (202, 1, 0)),
            (include_bytes!("../../corpus/push/structured-listing"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/structured-order"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/structured-dataset"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/structured-swipe"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/structured-mapped"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/batch-lenient"), (202, 6, 1)),
            (include_bytes!("../../corpus/push/batch-key"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/binary"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/binary-mapped"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/lines"), (202, 1, 2)),
            (include_bytes!("../../corpus/push/json-array"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/gzip"), (202, 1, 0)),
            (include_bytes!("../../corpus/push/get"), (405, 0, 0)),
        ] {
            let (status, body) = ask(&world, seed);
            let (facts, letters) = world.written();
            assert_eq!((status, facts, letters), wanted, "{body}");
        }
        let again = ask(&world, include_bytes!("../../corpus/push/batch-key"));
        assert_eq!((again.0, world.written()), (202, (0, 0)), "it was remembered: {}", again.1);
    }
}
