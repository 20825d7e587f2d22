//! Pollers against a real server on this machine that fails in every way: what was asked for
//! arrives once, and the ledger is right.

mod accounts;
mod again;
mod counted;
mod kinds;
mod leads;
mod pauses;
mod repeats;
mod shared;
mod tokens;

use super::seen::Seen;
use super::*;
use crate::cursor;
use crate::pause::Whom;
use crate::sources::testing::config;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;
use std::time::Instant;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::Listing;
use tocsin_domain::topics::{DEAD_LETTERS, MARKET_LISTINGS, Topics, WATCHES};
use tocsin_domain::upstream::{Asked, Quota};
use tocsin_domain::watch::{Ask, Watch};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, TopicPartition};
use tocsin_stream::memory::{Fault, MemoryLog};
use tocsin_stream::{Transaction, WorkerSpec};
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

const MORNING: Micros = Micros(1_700_006_400_000_000);

/// A server, a log, a clock that is turned by hand, and a poller.
struct World {
    server: UpstreamServer,
    log: Arc<MemoryLog>,
    clock: Arc<AtomicI64>,
    more: String,
    /// What was told of pauses.
    told: Arc<Mutex<Vec<bool>>>,
}

impl World {
    fn new(more: &str) -> World {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        // A morning, so that no midnight comes by accident.
        let clock = Arc::new(AtomicI64::new(MORNING.0));
        let server = UpstreamServer::start().unwrap();
        World { server, log, clock, more: more.to_owned(), told: Arc::default() }
    }

    fn poller(&self) -> Poller {
        let address = format!("address = \"{}/items?q={{search}}\"\n", self.server.url());
        self.poller_of(&format!("{address}{}{}", self.more, SOURCE))
    }

    /// A poller of another source.
    fn poller_of(&self, text: &str) -> Poller {
        let (clock, told) = (self.clock.clone(), self.told.clone());
        let office = Office {
            log: self.log.clone(),
            // Time goes on by itself as well, a millisecond a look.
            now: Arc::new(move || Micros(clock.fetch_add(1_000, Ordering::Relaxed))),
            metrics: Metrics::new(),
            ours: Arc::new(AtomicBool::new(true)),
            tell: Arc::new(move |news| {
                if let News::Paused(_, reason) = news {
                    told.lock().unwrap().push(reason.is_some());
                }
            }),
            seed: 7,
        };
        let mut config = config(text);
        config.read_secrets(&|path| path.to_owned()).unwrap();
        Poller::new(&config, office).unwrap().unwrap()
    }

    /// Lets a poller begin anew after whatever the log does not take, until it comes to rest.
    fn settle_anyhow(&self) {
        let mut poller = self.poller();
        for _ in 0..20 {
            let Ok(mut desk) = poller.open() else {
                continue;
            };
            loop {
                match poller.turn(&mut desk, &|| true) {
                    Ok(wait) if wait > Duration::from_mins(1) => return,
                    Ok(wait) => self.pass(wait),
                    Err(_) => break,
                }
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets a poller begin anew and turn until nothing is due for a minute.
    fn settle(&self) {
        let mut poller = self.poller();
        let mut desk = poller.open().unwrap();
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
        let mut shown: Vec<String> = all
            .iter()
            .map(|(_, value)| {
                let event: Listing<'_> = wire::read(value, &ids).unwrap();
                assert_eq!(event.searches, ["lego"]);
                assert!(!event.origin.contains("secret"), "{}", event.origin);
                format!("{} {}", event.listing, event.price)
            })
            .collect();
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
    assert_eq!(world.listings(), BOTH);
    for _ in 0..2 {
        world.pass(Duration::from_mins(10));
        world.settle();
        assert_eq!(world.listings(), BOTH, "the same answer adds nothing");
    }
    world.pass(Duration::from_mins(10));
    world.settle();
    assert_eq!(
        world.listings(),
        ["a 1 EUR", "b 2 EUR", "b 3 EUR"],
        "only what has changed is written"
    );
    assert_eq!(world.server.asked().len(), 4);
    assert_eq!(world.server.asked()[0].query("q"), Some("lego"));
    assert!(world.server.asked()[0].header("user-agent").starts_with("tocsin/"));
    world.check_ledger();
}

const BOTH: [&str; 2] = ["a 1 EUR", "b 2 EUR"];

/// What goes wrong, the key of the source that it needs, the calls until all is there, and the
/// dead letters on the way.
fn faults() -> Vec<(&'static str, &'static str, Vec<Reply>, usize, usize)> {
    let down = || Reply::status(500, "down");
    let page = |body: &str| Reply::ok("text/html", body);
    let endless = || vec![Reply::to("/items?q=lego"); 6];
    vec![
        ("down", "", vec![down(), down()], 3, 0),
        ("busy, for a while", "", vec![Reply::status(503, "").with("Retry-After", "40")], 2, 0),
        ("quota, for a while", "", vec![Reply::status(429, "").with("Retry-After", "40")], 2, 0),
        ("quota", "", vec![Reply::status(429, "slow down")], 2, 0),
        ("not allowed", "", vec![Reply::status(403, "no")], 2, 0),
        ("nobody logged in", "", vec![Reply::status(401, "who?")], 2, 0),
        ("nothing there", "", vec![Reply::status(404, "what?")], 2, 0),
        ("never an answer", "", vec![Reply::json(ONE).hang()], 2, 0),
        ("half an answer", "", vec![Reply::json(ONE).cut_after(20)], 2, 0),
        ("half a packed one", "", vec![Reply::json(ONE).packed().cut_after(20)], 2, 0),
        ("nothing packed", "", vec![Reply::json(ONE).with("Content-Encoding", "gzip")], 2, 1),
        ("a page", "", vec![page("<html>please pay</html>")], 2, 1),
        ("half of JSON", "", vec![Reply::json("{\"items\":[{")], 2, 1),
        ("other JSON", "", vec![Reply::json("{\"other\":[]}")], 2, 1),
        ("a bad row", "", vec![Reply::json("{\"items\":[{\"id\":\"a\"}]}")], 2, 1),
        ("a bomb", "", vec![Reply::bomb(65)], 2, 1),
        ("too many values", "", vec![many_values()], 2, 1),
        (
            "an error that is 200",
            "error = \"error\"",
            vec![Reply::json("{\"error\":\"quota\"}")],
            2,
            0,
        ),
        ("a way round", "", vec![Reply::to("?q=lego")], 2, 0),
        ("no way", "", endless(), 7, 0),
        (
            "elsewhere with a token",
            "token = \"secret\"",
            vec![Reply::to("http://127.0.0.2/")],
            2,
            0,
        ),
    ]
}

/// Some megabytes that would be a gigabyte once they are parsed.
fn many_values() -> Reply {
    Reply::json(format!("{{\"items\":[{}0]}}", "[0],".repeat(4 << 20)))
}

#[test]
fn whatever_goes_wrong_it_arrives_once_and_every_call_is_in_the_ledger() {
    for (fault, more, replies, calls, letters) in faults() {
        let world = World::new(&format!("{more}\n"));
        world.server.script("/items", replies.into_iter().chain([Reply::json(ONE)]));
        for _ in 0..7 {
            world.settle();
            world.check_ledger();
            if !world.listings().is_empty() {
                break;
            }
            assert!(!world.asked().error.is_empty() || letters > 0, "{fault}: it says nothing");
            world.pass(Duration::from_mins(10));
        }
        assert_eq!(world.listings(), BOTH, "{fault}");
        assert_eq!(world.server.asked().len(), calls, "{fault}");
        assert_eq!(world.letters().len(), letters, "{fault}: {:?}", world.letters());
        assert_eq!((world.quota().failures, world.asked().error.as_str()), (0, ""), "{fault}");
    }
}

#[test]
fn a_dead_letter_has_the_bytes_and_the_address_and_comes_once() {
    let world = World::new("token = \"secret\"\nauth = \"query key\"\n");
    world.server.script("/items", [Reply::json("<html>")]);
    for _ in 0..3 {
        world.settle();
        world.pass(Duration::from_mins(10));
    }
    let letters = world.letters();
    assert_eq!((letters.len(), letters[0].value.as_slice()), (1, b"<html>".as_slice()));
    assert_eq!(letters[0].origin, format!("{}/items?q=lego", world.server.url()));
    assert!(letters[0].reason.contains("page for people"), "{}", letters[0].reason);
    assert_eq!(world.server.asked().len(), 3);
}

#[test]
fn pages_are_read_to_the_end_and_again_from_the_first_if_one_fails() {
    let world = World::new("");
    let mut second = 0;
    world.server.on("/items", move |asked| match asked.query("p") {
        None => Reply::json("{\"items\":[{\"id\":\"a\",\"price\":1}],\"next\":\"?q=lego&p=2\"}"),
        Some(_) => {
            second += 1;
            let body = "{\"items\":[{\"id\":\"b\",\"price\":2}],\"next\":\"?q=lego\"}";
            if second == 1 { Reply::status(500, "") } else { Reply::json(body) }
        }
    });
    world.settle();
    assert_eq!(world.listings(), BOTH);
    // The page that leads back to the first ends it.
    assert_eq!((world.server.asked().len(), world.asked().calls), (4, 2));
    world.check_ledger();
}

#[test]
fn what_has_not_changed_is_neither_sent_nor_read_again() {
    let world = World::new("");
    world.server.on("/items", |asked| Reply::json(ONE).unless_known("\"v1\"", asked));
    for _ in 0..3 {
        world.settle();
        world.pass(Duration::from_mins(10));
    }
    let known: Vec<_> =
        world.server.asked().iter().map(|a| a.header("if-none-match").to_owned()).collect();
    assert_eq!(known, ["", "\"v1\"", "\"v1\""]);
    assert_eq!((world.listings().len(), world.asked().etag.as_str()), (2, "\"v1\""));
    let other = World { more: "decimal = \".\"\n".into(), ..world };
    other.settle();
    let last = other.server.asked().pop().unwrap();
    assert_eq!(last.header("if-none-match"), "", "another mapping reads it again");
    assert_eq!(other.listings().len(), 2);
    other.check_ledger();
}

#[test]
fn what_another_mapping_has_read_is_not_taken_as_read_after_a_failure() {
    let world = World::new("");
    let mut turn = 0;
    world.server.on("/items", move |asked| {
        turn += 1;
        let known = || Reply::json(ONE).unless_known("\"v1\"", asked);
        if turn == 2 { Reply::status(500, "") } else { known() }
    });
    world.settle();
    let other = World { more: "only = [{ field = \"{id}\", equals = \"c\" }]\n".into(), ..world };
    other.settle();
    let asked = other.server.asked();
    let known: Vec<_> = asked.iter().map(|a| a.header("if-none-match")).collect();
    assert_eq!(known, ["", "", ""]);
}

#[test]
fn a_budget_is_never_overspent_and_lasts_for_the_day() {
    let world = World::new("budget = 20\nper_minute = 60\n");
    world.server.script("/items", [Reply::json(ONE)]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    let noon = MORNING.plus(Duration::from_hours(12));
    while Micros(world.clock.load(Ordering::Relaxed)) < noon {
        let wait = poller.turn(&mut desk, &|| true).unwrap();
        world.pass(wait);
    }
    assert!((9..=11).contains(&world.server.asked().len()), "{}", world.server.asked().len());
    // A new process goes on with what is left.
    let mut desk = poller.open().unwrap();
    while Micros(world.clock.load(Ordering::Relaxed)) < noon.plus(Duration::from_hours(12)) {
        let wait = poller.turn(&mut desk, &|| true).unwrap();
        world.pass(wait);
    }
    assert!((19..=20).contains(&world.server.asked().len()), "{}", world.server.asked().len());
    world.check_ledger();
}

#[test]
fn who_never_answers_is_left_alone_more_and_more() {
    let world = World::new("");
    world.server.script("/items", [Reply::status(500, "")]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    let end = MORNING.plus(Duration::from_hours(20));
    while Micros(world.clock.load(Ordering::Relaxed)) < end {
        let wait = poller.turn(&mut desk, &|| true).unwrap();
        world.pass(wait);
    }
    let calls = world.server.asked().len();
    // By its interval alone it would be 120.
    assert!((20..100).contains(&calls), "{calls}");
    world.check_ledger();
}

#[test]
fn whatever_commit_fails_it_arrives_once_and_the_ledger_never_counts_less() {
    for fault in [Fault::Busy, Fault::Abort, Fault::LostAnswer, Fault::LostRequest] {
        for failing in 1..=6 {
            let world = World::new("");
            world.server.on("/items", |asked| match asked.query("p") {
                None => {
                    Reply::json("{\"items\":[{\"id\":\"a\",\"price\":1}],\"next\":\"?q=lego&p=2\"}")
                }
                Some(_) => Reply::json("{\"items\":[{\"id\":\"b\",\"price\":2}]}"),
            });
            let mut commits = 0;
            world.log.fail_commits(move |_| {
                commits += 1;
                (commits == failing).then_some(fault)
            });
            world.settle_anyhow();
            assert_eq!(world.listings(), BOTH, "{fault:?} {failing}");
            let (ledger, spent) = (world.quota().calls, world.server.asked().len() as u64);
            assert!((spent..=spent + 1).contains(&ledger), "{fault:?} {failing}: {ledger} {spent}");
        }
    }
}

#[test]
fn who_comes_later_shuts_out_who_was_there() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    let mut poller = world.poller();
    let mut old = poller.open().unwrap();
    let mut new = poller.open().unwrap();
    assert!(poller.turn(&mut old, &|| true).is_err(), "it may not even ask");
    assert_eq!(world.server.asked().len(), 0);
    world.turn(&mut poller, &mut new);
    assert_eq!(world.listings(), BOTH);
    world.check_ledger();
}
