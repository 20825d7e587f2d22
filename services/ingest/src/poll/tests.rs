//! Pollers against a real server on this machine that fails in every way: what was asked for
//! arrives once, and the ledger is right.

mod accounts;
mod again;
mod counted;
mod kinds;
mod repeats;

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

/// Three hundred rows, of which the first 250 have no price.
fn mostly_dead() -> Reply {
    let row = |i: usize| match i {
        0..250 => format!("{{\"id\":\"{i}\"}}"),
        _ => format!("{{\"id\":\"{i}\",\"price\":1}}"),
    };
    let rows: Vec<String> = (0..300).map(row).collect();
    Reply::json(format!("{{\"items\":[{}]}}", rows.join(",")))
}

/// Whether it was asked in this turn, what is there after it, and what was told of pauses so far.
type Stood = (bool, usize, usize, Vec<bool>);

/// Turns until it was asked, or is at rest for a while.
fn stand(world: &World, poller: &mut Poller, desk: &mut Desk) -> Stood {
    let before = world.server.asked().len();
    world.pass(LOOK_EVERY);
    for _ in 0..2 {
        poller.turn(desk, &|| true).unwrap();
    }
    let is_asked = world.server.asked().len() > before;
    (is_asked, world.listings().len(), world.letters().len(), world.told.lock().unwrap().clone())
}

#[test]
fn a_source_of_dead_rows_is_paused_and_not_asked_until_it_is_resumed() {
    let world = World::new("");
    world.server.script("/items", [mostly_dead()]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    assert_eq!(stand(&world, &mut poller, &mut desk), (true, 0, 100, vec![false, true]));
    let asked = world.asked();
    assert!(asked.error.contains("100 of the last 100 rows"), "{}", asked.error);
    let found = crate::pause::find(&*world.log, &Whom::source(&poller.config)).unwrap().unwrap();
    assert_eq!(found.file, format!("{}/items?q=lego", world.server.url()));

    world.pass(Duration::from_hours(1));
    assert_eq!(stand(&world, &mut poller, &mut desk), (false, 0, 100, vec![false, true]));
    // A restart alone changes nothing.
    let (mut poller, mut desk) = (world.poller(), poller.open().unwrap());
    assert_eq!(stand(&world, &mut poller, &mut desk), (false, 0, 100, vec![false, true, true]));

    let resume = |poller: &Poller| {
        let now = Micros(world.clock.load(Ordering::Relaxed));
        let whom = Whom::source(&poller.config);
        let resumed = crate::pause::resume(&*world.log, &whom, ("me", now)).unwrap();
        assert!(resumed.is_some());
        world.told.lock().unwrap().clear();
    };
    resume(&poller);
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!(stood, (true, 0, 200, vec![false, true]), "a hundred more");
    resume(&poller);
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!(stood, (true, 50, 250, vec![false]), "to the end");
    assert_eq!(world.asked().error, "");
    world.check_ledger();
}

/// The same source has a folder, and what came there was mostly dead.
#[test]
fn a_source_that_was_paused_by_whoever_else_reads_it_is_not_asked_either() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    assert!(stand(&world, &mut poller, &mut desk).0);
    let (whom, log) = (Whom::source(&poller.config), &*world.log);
    let pause = crate::pause::Pause::of(&whom, ("too many".to_owned(), "a.csv"), MORNING);
    let mut work = Transaction::default();
    let topic = work.register(cursor::TOPIC, log.partitions(cursor::TOPIC).unwrap());
    pause.write(&whom, &mut work, topic).unwrap();
    log.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
    world.pass(Duration::from_hours(1));
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!((stood.0, stood.3), (false, vec![false, true]), "it is told, and not asked");
    assert!(crate::pause::resume(log, &whom, ("me", MORNING)).unwrap().is_some());
    assert!(stand(&world, &mut poller, &mut desk).0, "and it goes on");
}

#[test]
fn a_paused_source_goes_on_as_it_is_configured_otherwise() {
    let world = World::new("");
    world.server.script("/items", [mostly_dead()]);
    let mut poller = world.poller();
    let mut desk = poller.open().unwrap();
    assert_eq!(stand(&world, &mut poller, &mut desk).2, 100);
    let world = World { more: "pause_above = \"100%\"\n".into(), ..world };
    let (mut poller, mut desk) = (world.poller(), world.poller().open().unwrap());
    let stood = stand(&world, &mut poller, &mut desk);
    assert_eq!(stood, (true, 50, 250, vec![false, true, false]));
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

#[test]
fn a_secret_goes_to_the_upstream_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let archive = format!("archive = {:?}\n", directory.path().display().to_string());
    let world = World::new(&format!("{archive}token = \"secret77\"\nauth = \"query key\"\n"));
    let mut turn = 0;
    world.server.on("/items", move |asked| {
        turn += 1;
        match turn {
            1 => Reply::status(500, &format!("cannot answer {}", asked.target)),
            2 => Reply::to(&format!("/items?key={}&q=lego", asked.query("key").unwrap_or("?"))),
            _ => Reply::json(ONE),
        }
    });
    world.settle();
    assert_eq!(world.listings(), BOTH);
    let asked = world.server.asked();
    assert!(asked.iter().all(|one| one.target.matches("key=secret77").count() == 1), "{asked:?}");
    for topic in [MARKET_LISTINGS, cursor::TOPIC, DEAD_LETTERS] {
        for (_, value) in world.values(topic) {
            assert!(!String::from_utf8_lossy(&value).contains("secret77"), "{topic}");
        }
    }
    let lines = std::fs::read_to_string(directory.path().join("2023-11-15.jsonl")).unwrap();
    assert_eq!((lines.lines().count(), lines.contains("secret77")), (3, false), "{lines}");
    assert!(lines.contains("/items?q=lego\",\"status\":200"), "{lines}");
}

/// A row of a name, another one that nobody can read, and where the next page is.
fn page_with(name: &str, next: &str) -> Reply {
    let items = format!("[{{\"id\":\"{name}\",\"price\":1}},{{\"id\":\"not-{name}\"}}]");
    Reply::json(format!("{{\"items\":{items},\"next\":\"{next}\"}}"))
}

#[test]
fn a_next_page_that_repeats_the_secret_does_not_bring_it_into_the_log() {
    for (auth, repeated) in [("query key", "key"), ("header x-key", "access_token")] {
        let directory = tempfile::tempdir().unwrap();
        let archive = format!("archive = {:?}\n", directory.path().display().to_string());
        let token = "token = \"secret/7 7\"\n";
        let world = World::new(&format!("{archive}{token}auth = \"{auth}\"\n"));
        let mut turn = 0;
        world.server.on("/items", move |_| {
            turn += 1;
            match turn {
                1 => page_with("a", &format!("/items?{repeated}=secret%2f7+7&q=lego&p=2")),
                2 => page_with("b", &format!("?q=lego&p=3&{repeated}=secret%2F7%207")),
                _ => Reply::status(500, &format!("no ?{repeated}=secret%2F7+7&q=lego")),
            }
        });
        let mut poller = world.poller();
        let mut desk = poller.open().unwrap();
        poller.turn(&mut desk, &|| true).unwrap();
        assert_eq!((world.listings().len(), world.letters().len()), (2, 2), "{auth}");
        let targets: Vec<String> = world.server.asked().into_iter().map(|one| one.target).collect();
        let sent = |target: &String| target.matches(&format!("{repeated}=")).count();
        assert_eq!(
            targets.iter().map(sent).collect::<Vec<_>>(),
            if auth == "query key" { [1; 3] } else { [0, 1, 1] }
        );
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("secret");
        for topic in [MARKET_LISTINGS, cursor::TOPIC, DEAD_LETTERS] {
            assert!(!world.values(topic).iter().any(|(_, value)| shown(value)), "{auth} {topic}");
        }
        let lines = std::fs::read(directory.path().join("2023-11-15.jsonl")).unwrap();
        assert!(!shown(&lines), "{auth}: {}", String::from_utf8_lossy(&lines));
        let error = world.asked().error;
        assert!(error.contains(&format!("no ?{repeated}=***&q=lego")), "{error}");
    }
}

#[test]
fn pages_that_no_credentials_may_go_to_are_told_to_be_missing() {
    let world = World::new("token = \"secret\"\n");
    world.server.script("/items", [page_with("a", "http://127.0.0.2/items?p=2"), Reply::json(ONE)]);
    world.settle();
    let asked = world.asked();
    let wanted = "as its `next` leads to 127.0.0.2, and credentials go to no other host";
    assert!(asked.warning.contains(wanted), "{}", asked.warning);
    assert_eq!((world.listings().len(), asked.error.as_str()), (1, ""));
    world.pass(Duration::from_mins(10));
    world.settle();
    assert_eq!((world.asked().warning.as_str(), world.server.asked().len()), ("", 2));
    world.check_ledger();
}

#[test]
fn an_answer_leads_to_no_address_inside() {
    for (inside, wanted) in [
        ("localhost", "localhost is at "),
        ("LOCALHOST", "localhost is at "),
        ("127.0.0.2", "127.0.0.2 is at 127.0.0.2"),
        ("[::ffff:7f00:1]", "[::ffff:7f00:1] is at ::ffff:127.0.0.1"),
        ("0.0.0.0", "0.0.0.0 is at 0.0.0.0"),
        ("169.254.169.254", "169.254.169.254 is at 169.254.169.254"),
    ] {
        let world = World::new("");
        let port = world.server.url().rsplit_once(':').unwrap().1.to_owned();
        let there = format!("http://{inside}:{port}/items?p=2");
        world.server.script("/items", [page_with("a", &there), Reply::to(&there)]);
        for calls in [1, 2] {
            let mut poller = world.poller();
            let mut desk = poller.open().unwrap();
            poller.turn(&mut desk, &|| true).unwrap();
            let error = world.asked().error;
            assert!(error.contains(wanted) && error.contains("no public address"), "{error}");
            assert_eq!((world.listings().len(), world.server.asked().len()), (1, calls), "{there}");
            world.pass(Duration::from_hours(1));
        }
    }
}

#[test]
fn an_upstream_that_is_configured_inside_may_lead_to_another_port_of_its_host() {
    let (world, other) = (World::new(""), UpstreamServer::start().unwrap());
    let there = |path: &str| format!("{}{path}", other.url());
    world.server.script("/items", [page_with("a", &there("/items"))]);
    other.script("/items", [Reply::to(&there("/moved"))]);
    other.script("/moved", [Reply::json("{\"items\":[{\"id\":\"b\",\"price\":2}]}")]);
    world.settle();
    assert_eq!((world.listings().len(), other.asked().len()), (2, 2));
    assert_eq!(world.asked().error, "");
}

/// An upstream that hands out tokens that are good for so long.
struct Guarded(String, Duration);

impl Upstream for Guarded {
    fn first(&self, search: &str) -> Result<crate::upstream::Call, String> {
        let url = format!("{}/items?q={search}", self.0);
        let auth = crate::upstream::Auth::Bearer;
        Ok(crate::upstream::Call { url, auth, ..crate::upstream::Call::default() })
    }

    fn judge(
        &self,
        _: &crate::upstream::Call,
        answer: &crate::upstream::Answer<'_>,
    ) -> crate::upstream::Verdict {
        crate::upstream::by_status(answer).unwrap_or(crate::upstream::Verdict::Read { next: None })
    }

    fn warning(&self, answer: &crate::upstream::Answer<'_>) -> String {
        let found: serde_json::Value = serde_json::from_slice(answer.body).unwrap();
        found["warning"].as_str().unwrap_or_default().to_owned()
    }

    fn login(&self) -> Option<crate::upstream::Call> {
        let auth = crate::upstream::Auth::Basic;
        let form = Some(vec![("grant_type", "client_credentials".to_owned())]);
        let url = format!("{}/token", self.0);
        Some(crate::upstream::Call { url, auth, form, ..crate::upstream::Call::default() })
    }

    fn token(&self, answer: &crate::upstream::Answer<'_>) -> Result<(String, Duration), String> {
        let token = String::from_utf8_lossy(answer.body).into_owned();
        if answer.status == 200 { Ok((token, self.1)) } else { Err(token) }
    }
}

/// How often the items were asked for and how often a token, when the server answers so.
fn guarded(tokens: Vec<Reply>, minutes: u64, good: &'static str) -> (World, usize, usize) {
    let world = World::new("client_id = \"me\"\nsecret = \"pass\"\n");
    world.server.script("/token", tokens);
    world.server.on("/items", move |asked| {
        let welcome = asked.header("authorization") == format!("Bearer {good}");
        if welcome { Reply::json(ONE) } else { Reply::status(401, "no") }
    });
    let mut poller = world.poller();
    poller.upstream = Arc::new(Guarded(world.server.url(), Duration::from_mins(25)));
    let mut desk = poller.open().unwrap();
    let end = MORNING.plus(Duration::from_mins(minutes));
    while Micros(world.clock.load(Ordering::Relaxed)) < end {
        let wait = poller.turn(&mut desk, &|| true).unwrap();
        world.pass(wait);
    }
    let (items, tokens) = (world.server.count("/items"), world.server.count("/token"));
    world.check_ledger();
    (world, items, tokens)
}

#[test]
fn a_token_is_kept_until_just_before_its_end_and_got_again_once_if_it_is_refused() {
    let token = |text: &str| Reply::status(200, text);
    let (world, items, tokens) = guarded(vec![token("t1")], 55, "t1");
    assert_eq!((items, tokens, world.listings().len()), (6, 2, 2), "24 minutes, then another");
    let login = &world.server.asked()[0];
    assert_eq!(
        (login.method.as_str(), login.body.as_slice()),
        ("POST", b"grant_type=client_credentials".as_slice())
    );
    assert_eq!(login.header("authorization"), "Basic bWU6cGFzcw==");

    let (world, items, tokens) = guarded(vec![token("old"), token("new")], 5, "new");
    assert_eq!((items, tokens, world.listings().len()), (2, 2, 2), "a new one is welcome");

    let (world, items, tokens) = guarded(vec![token("old")], 5, "other");
    assert_eq!((items, tokens, world.listings().len()), (2, 2, 0), "not even a new one");
    assert!(world.asked().error.contains("401"), "{}", world.asked().error);

    let (world, items, tokens) = guarded(vec![Reply::status(401, "invalid_client")], 5, "x");
    assert_eq!((items, tokens), (0, 1));
    assert!(world.asked().error.contains("invalid_client"), "{}", world.asked().error);
}

#[test]
fn what_an_answer_warns_of_is_counted_and_stands_until_one_comes_without() {
    let world = World::new("client_id = \"me\"\nsecret = \"pass\"\n");
    world.server.script("/token", [Reply::status(200, "token77")]);
    let warned =
        |text: &str| Reply::json(ONE.replace("]}", &format!("],\"warning\":\"{text}\"}}")));
    let replies = [warned("of token77"), warned("of a filter"), Reply::json(ONE)];
    world.server.script("/items", replies);
    let mut poller = world.poller();
    poller.upstream = Arc::new(Guarded(world.server.url(), Duration::from_mins(25)));
    let mut desk = poller.open().unwrap();
    for wanted in ["of ***", "of a filter", ""] {
        world.turn(&mut poller, &mut desk);
        let asked = world.asked();
        assert_eq!((asked.warning.as_str(), asked.error.as_str()), (wanted, ""));
        world.pass(Duration::from_mins(10));
    }
    assert_eq!(world.listings(), BOTH, "what it has found is read all the same");
    let counted = poller.office.metrics.encode();
    let line = "tocsin_upstream_searches_total{source=\"shop\",outcome=\"warned\"} 2";
    assert!(counted.contains(line), "{counted}");
    world.check_ledger();
}

#[test]
fn a_search_that_is_asked_no_longer_is_forgotten() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    world.settle();
    let mut poller = world.poller();
    poller.polling.searches = vec![("duplo".to_owned(), Duration::from_mins(10))];
    let mut desk = poller.open().unwrap();
    poller.turn(&mut desk, &|| true).unwrap();
    for key in [Asked::key("default", "shop", "lego"), Seen::key("default", "shop", "lego", 0)] {
        let all = world.values(cursor::TOPIC);
        let last = all.iter().rev().find(|(found, _)| found == key.as_bytes()).unwrap();
        assert!(last.1.is_empty(), "{key}");
    }
    assert_eq!((world.server.asked().len(), world.quota().calls), (2, 2));
}

/// The word of somebody's watch: it asks the shop for duplo, or it is ended.
fn duplo(who: u64, every: Option<u64>, active: bool) -> Watch {
    let ask = Ask { source: "shop".into(), search: "duplo".into(), every };
    let (subscriber, condition) = (Id::of("s", &[&who.to_be_bytes()]), Id::of("c", &[]));
    Watch {
        id: Watch::id_of("default", subscriber, condition, "*", "email", Some(&ask)),
        tenant: "default".into(),
        subscriber,
        condition,
        subject: "*".into(),
        channel: "email".into(),
        schedule: "at-once".into(),
        on: Vec::new(),
        active,
        created_at: MORNING,
        asks: Some(ask),
    }
}

impl World {
    fn publish(&self, watches: impl IntoIterator<Item = Watch>) {
        let mut transaction = Transaction::default();
        let topic = transaction.register(WATCHES, self.log.partitions(WATCHES).unwrap());
        for watch in watches {
            let key = watch.key();
            let builder = transaction.to(topic, key.as_bytes());
            builder.push_with(key.as_bytes(), |out| wire::write(&watch, out));
        }
        let spec = WorkerSpec { id: "w".into(), ..WorkerSpec::default() };
        self.log.worker(&spec).unwrap().commit(&mut transaction).unwrap();
    }

    /// How often the server is asked for duplo in the next `minutes`.
    fn calls(&self, poller: &mut Poller, desk: &mut Desk, minutes: u64) -> usize {
        let duplo =
            || self.server.asked().iter().filter(|asked| asked.query("q") == Some("duplo")).count();
        let (before, now) = (duplo(), Micros(self.clock.load(Ordering::Relaxed)));
        let end = now.plus(Duration::from_mins(minutes));
        loop {
            let wait = poller.turn(desk, &|| true).unwrap();
            let left = end.since(Micros(self.clock.load(Ordering::Relaxed)));
            if left.is_zero() {
                return duplo() - before;
            }
            self.pass(wait.min(left).max(Duration::from_millis(1)));
        }
    }

    /// What the log says of the search for duplo.
    fn duplo(&self) -> Option<Asked> {
        let key = Asked::key("default", "shop", "duplo").into_bytes();
        let all = self.values(cursor::TOPIC);
        let (_, last) = all.iter().rev().find(|(found, _)| *found == key)?;
        serde_json::from_slice(last).ok()
    }
}

#[test]
fn a_search_of_a_thousand_watches_is_asked_once_an_interval_as_long_as_one_stands() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    let mut poller = world.poller();
    let rate = Rate::of(poller.config.pause_above.as_deref()).unwrap();
    let mut desk = Desk::open(&poller.office, &poller.config, &poller.polling, rate).unwrap();
    let mut hour = |desk: &mut Desk| world.calls(&mut poller, desk, 59);
    assert_eq!(hour(&mut desk), 0, "nobody asks yet");

    world.publish((0..1_000).map(|who| duplo(who, (who > 0).then_some(1_800), true)));
    assert_eq!(hour(&mut desk), 6, "every ten minutes, as the source says");
    world.publish([duplo(7, Some(300), true)]);
    assert_eq!(hour(&mut desk), 12, "every five, as the most impatient wants");
    world.publish([duplo(0, None, false), duplo(7, Some(300), false)]);
    assert!((2..=3).contains(&hour(&mut desk)), "every thirty, as those who are left want");

    world.publish((0..1_000).map(|who| duplo(who, Some(1_800), who == 999)));
    assert!((1..=2).contains(&hour(&mut desk)), "one is enough");
    assert!(world.duplo().is_some());
    world.publish([duplo(999, Some(1_800), false)]);
    assert_eq!(hour(&mut desk), 0, "nobody asks any more");
    assert!(world.duplo().is_none(), "and it is forgotten");
    world.check_ledger();
}

#[test]
fn watches_are_known_after_a_restart_and_those_that_ended_meanwhile_are_forgotten() {
    let world = World::new("");
    world.server.script("/items", [Reply::json(ONE)]);
    world.publish([duplo(1, None, true)]);
    world.settle();
    world.settle();
    assert_eq!((world.server.asked().len(), world.duplo().unwrap().every), (2, 600));
    world.publish([duplo(1, None, false)]);
    world.settle();
    assert!(world.duplo().is_none());
    assert_eq!(world.server.asked().len(), 2);
}
