//! Watches that ask: two people watch one phrase at different intervals. It is asked once for both, as
//! often as the more impatient wants; both have their mail; and who ends a watch is asked for no longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::world::{Backend, World};
use support::{get, until};
use tocsin_testkit::smtp::{Faults, SmtpServer};
use tocsin_testkit::upstream::{Reply, UpstreamServer};

/// A shop whose only thing has a price, and when each phrase was asked for.
struct Shop {
    server: UpstreamServer,
    price: Arc<AtomicU64>,
    calls: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Shop {
    fn open() -> Shop {
        let server = UpstreamServer::start().unwrap();
        let (price, calls) = (Arc::new(AtomicU64::new(80)), Arc::default());
        let shop = Shop { server, price, calls };
        let (price, calls) = (shop.price.clone(), shop.calls.clone());
        shop.server.on("/items", move |asked| {
            let phrase = asked.query("q").unwrap_or_default().to_owned();
            calls.lock().unwrap().push((phrase, Instant::now()));
            let price = price.load(Ordering::Relaxed);
            Reply::json(format!("{{\"items\":[{{\"id\":\"box\",\"price\":{price}}}]}}"))
        });
        shop
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

fn world(shop: &Shop, mail: &SmtpServer) -> World {
    let text = format!(
        r#"
[channels.email]
transport = "smtp"
host = "127.0.0.1"
port = {}
tls = "none"
[[sources]]
name = "shop"
kind = "http"
event = "reading"
address = "{}/items?q={{search}}"
items = "items"
subject = "{{id}}"
measure = "price"
value = "{{price}}"
every = "2h"
[[detectors]]
name = "cheap"
kind = "threshold"
measure = "price"
raise_below = 50
clear_above = 60
"#,
        mail.port(),
        shop.server.url()
    );
    World::new(Backend::OneMachine, &text)
}

/// Adds a watch, and gives its id.
fn watch(world: &World, email: &str, every: &str) -> String {
    let add = ["watch", "add", "--email", email, "--detector", "cheap", "--source", "shop"];
    let added = world.run(&[&add[..], &["--search", "lego", "--every", every]].concat());
    let said = String::from_utf8(added.stdout).unwrap();
    let id = said.strip_prefix("watching: ").and_then(|said| said.split(' ').next());
    id.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&added.stderr))).to_owned()
}

/// How often each phrase is asked, in seconds.
fn intervals(url: &str) -> Vec<u64> {
    let sources = get(&format!("{url}/api/v1/sources"));
    let searches = sources["items"][0]["searches"].as_array().cloned().unwrap_or_default();
    searches.iter().filter_map(|search| search["every_seconds"].as_u64()).collect()
}

#[test]
fn a_phrase_of_two_watches_is_asked_once_for_both_and_no_longer_than_they_stand() {
    let (shop, mail) = (Shop::open(), SmtpServer::start(Faults::new()).unwrap());
    let world = world(&shop, &mail);
    let (up, url) = world.up();
    let patient = watch(&world, "bob@example.org", "1h");
    until("it is asked for the patient one", || shop.calls() == 1);
    until("it is asked every hour", || intervals(&url) == [3_600]);

    let impatient = watch(&world, "ada@example.org", "1s");
    until("it is asked for the impatient one", || shop.calls() >= 4);
    assert_eq!(intervals(&url), [1], "one search for both");
    assert_eq!(mail.accepted().len(), 0, "nothing is cheap yet");
    shop.price.store(40, Ordering::Relaxed);
    assert!(mail.wait_for(2, Duration::from_secs(60)), "{:?}", mail.accepted());

    assert!(world.run(&["watch", "remove", &impatient]).status.success());
    until("it is asked every hour again", || intervals(&url) == [3_600]);
    assert!(world.run(&["watch", "remove", &patient]).status.success());
    until("nobody asks any more", || intervals(&url).is_empty());
    let asked = shop.calls();
    // More than two intervals of the one who was impatient.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(shop.calls(), asked, "it is asked although nobody watches");
    let ledger = get(&format!("{url}/api/v1/sources"));
    assert_eq!(ledger["items"][0]["calls"], asked, "{ledger}");
    drop(up);

    let calls = shop.calls.lock().unwrap();
    assert!(calls.iter().all(|(phrase, _)| phrase == "lego"), "{calls:?}");
    let second = Duration::from_secs(1);
    let together = calls.windows(2).filter(|two| two[1].1 - two[0].1 < second).count();
    assert_eq!(together, 0, "once an interval for both: {calls:?}");
    let told: BTreeSet<String> = mail.accepted().into_iter().map(|mail| mail.to).collect();
    let both = ["ada@example.org", "bob@example.org"].map(str::to_owned);
    assert_eq!((told, mail.accepted().len()), (both.into(), 2), "one mail each");
}
