//! Pollers against a real server on this machine that fails in every way: what was asked for
//! arrives once, and the ledger is right.

use super::*;
use crate::cursor;
use crate::sources::testing::config;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;
use std::time::Instant;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::Listing;
use tocsin_domain::topics::{DEAD_LETTERS, MARKET_LISTINGS, Topics};
use tocsin_domain::upstream::{Asked, Quota};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::TopicPartition;
use tocsin_stream::memory::{Fault, MemoryLog};
use tocsin_testkit::upstream::{Reply, UpstreamServer};

const SOURCE: &str = r#"
    name = "shop"
    kind = "http"
    event = "listing"
    items = "items"
    next = "next"
    listing = "{id}"
    price = "{price}"
    currency = "EUR"
    every = "10m"
    searches = ["lego"]
    timeout = "1s"
"#;

/// A server, a log, a clock that is turned by hand, and a poller.
struct World {
    server: UpstreamServer,
    log: Arc<MemoryLog>,
    clock: Arc<AtomicI64>,
    more: String,
}

impl World {
    fn new(more: &str) -> World {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        // A morning, so that no midnight comes by accident.
        let clock = Arc::new(AtomicI64::new(1_700_006_400_000_000 / 86_400_000_000 * 86_400_000_000));
        World { server: UpstreamServer::start().unwrap(), log, clock, more: more.to_owned() }
    }

    fn poller(&self) -> Poller {
        let clock = self.clock.clone();
        let office = Office {
            log: self.log.clone(),
            // Time goes on by itself as well, a millisecond a look.
            now: Arc::new(move || Micros(clock.fetch_add(1_000, Ordering::Relaxed))),
            metrics: Metrics::new(),
            ours: Arc::new(AtomicBool::new(true)),
            seed: 7,
        };
        let address = format!("address = \"{}/items?q={{search}}\"\n", self.server.url());
        let text = format!("{address}{}{}", self.more, SOURCE);
        Poller::new(&config(&text), office).unwrap().unwrap()
    }

    /// Lets a poller begin anew and turn until nothing is due for a minute.
    fn settle(&self) {
        let mut poller = self.poller();
        let mut desk = Desk::open(&poller.office, &poller.config, &poller.polling).unwrap();
        self.turn(&mut poller, &mut desk);
    }

    fn turn(&self, poller: &mut Poller, desk: &mut Desk) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            let wait = poller.turn(desk, &|| true).unwrap();
            if wait > Duration::from_mins(1) {
                return;
            }
            self.pass(wait);
        }
        panic!("it never comes to rest");
    }

    fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
    }

    fn values(&self, topic: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        for partition in 0..self.log.partitions(topic).unwrap() {
            let at = TopicPartition::new(topic, partition);
            let log: &dyn Log = &*self.log;
            log.scan_all(&at, |record| {
                found.push((record.key.to_vec(), record.value.unwrap_or_default().to_vec()));
                Ok::<(), tocsin_stream::LogError>(())
            })
            .unwrap();
        }
        found
    }

    /// Every listing with its price, in order of their names.
    fn listings(&self) -> Vec<String> {
        let ids = SchemaIds::default();
        let all = self.values(MARKET_LISTINGS);
        let mut shown: Vec<String> = all.iter().map(|(_, value)| {
            let event: Listing<'_> = wire::read(value, &ids).unwrap();
            assert_eq!(event.searches, ["lego"]);
            assert!(!event.origin.contains("secret"), "{}", event.origin);
            format!("{}={}", event.listing, event.price.amount)
        }).collect();
        shown.sort_unstable();
        shown
    }

    fn letters(&self) -> Vec<DeadLetter> {
        let ids = SchemaIds::default();
        let all = self.values(DEAD_LETTERS);
        all.iter().map(|(_, value)| wire::read_owned(value, &ids).unwrap()).collect()
    }

    fn quota(&self) -> Quota {
        let key = Quota::key("default", "shop").into_bytes();
        let all = self.values(cursor::TOPIC);
        let last = all.iter().rev().find(|(found, _)| *found == key).unwrap();
        serde_json::from_slice(&last.1).unwrap()
    }

    fn asked(&self) -> Asked {
        let key = Asked::key("default", "shop", "lego").into_bytes();
        let all = self.values(cursor::TOPIC);
        let last = all.iter().rev().find(|(found, _)| *found == key).unwrap();
        serde_json::from_slice(&last.1).unwrap()
    }

    /// The ledger counts as many calls as the server.
    fn check_ledger(&self) {
        assert_eq!(self.quota().calls, self.server.asked().len() as u64);
    }
}

const ONE: &str = "{\"items\":[{\"id\":\"a\",\"price\":1},{\"id\":\"b\",\"price\":2}]}";

#[test]
fn what_is_asked_for_arrives_once_however_often_it_is_answered() {
    let world = World::new("");
    let changed = ONE.replace("2}", "3}");
    let replies = [Reply::json(ONE), Reply::json(ONE), Reply::json(ONE).packed()];
    world.server.script("/items", replies.into_iter().chain([Reply::json(changed)]));
    world.settle();
    assert_eq!(world.listings(), ["a=1", "b=2"]);
    for _ in 0..2 {
        world.pass(Duration::from_mins(10));
        world.settle();
        assert_eq!(world.listings(), ["a=1", "b=2"], "the same answer adds nothing");
    }
    world.pass(Duration::from_mins(10));
    world.settle();
    assert_eq!(world.listings(), ["a=1", "b=2", "b=3"], "only what has changed is written");
    assert_eq!(world.server.asked().len(), 4);
    assert_eq!(world.server.asked()[0].query("q"), Some("lego"));
    assert!(world.server.asked()[0].header("user-agent").starts_with("tocsin/"));
    world.check_ledger();
}
