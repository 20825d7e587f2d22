//! `kill -9` of a process that asks an upstream, at random and at named steps: what was asked for
//! arrives once, and the ledger never counts less than the upstream. On one machine, and the same on a
//! cluster.
//!
//! `TOCSIN_KILLS` and `TOCSIN_KILL_SEED` change how often and in which order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::chaos::{Dice, ended_within, number};
use support::world::{Backend, World};
use support::{Running, scan, until};
use tocsin_domain::event::Listing;
use tocsin_domain::topics;
use tocsin_domain::upstream::Quota;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_stream::Log;
use tocsin_testkit::upstream::{Reply, UpstreamServer};

/// Steps of a poller at which the process is ended.
const STEPS: [&str; 3] = ["after-charge", "after-call", "inside-commit"];
const SEARCHES: [&str; 4] = ["a", "b", "c", "d"];

/// Each answer has everything of the one before and one listing more, on two pages.
fn serve(server: &UpstreamServer, grows: &Arc<AtomicBool>) -> Arc<Mutex<BTreeMap<String, usize>>> {
    let (grows, ids) = (grows.clone(), Arc::new(Mutex::new(BTreeMap::new())));
    let known = ids.clone();
    server.on("/items", move |asked| {
        let search = asked.query("q").unwrap_or_default().to_owned();
        let mut known = known.lock().unwrap();
        let count: &mut usize = known.entry(search.clone()).or_default();
        let second = asked.query("p").is_some();
        *count += usize::from(!second && grows.load(Ordering::Relaxed));
        let half = *count / 2;
        let range = if second { half..*count } else { 0..half };
        let items = range.map(|n| format!("{{\"id\":\"{search}{n}\",\"price\":{n}}}"));
        let items = items.collect::<Vec<_>>().join(",");
        let next = if second { String::new() } else { format!("?q={search}&p=2") };
        Reply::json(format!("{{\"items\":[{items}],\"next\":\"{next}\"}}"))
    });
    ids
}

/// How often each listing is there.
fn listings(log: &dyn Log) -> BTreeMap<String, usize> {
    let (mut found, ids) = (BTreeMap::new(), SchemaIds::default());
    scan(log, topics::MARKET_LISTINGS, |_, value| {
        let event: Listing<'_> = wire::read(value, &ids).unwrap();
        *found.entry(event.listing.to_owned()).or_default() += 1;
    });
    found
}

/// Calls, as the ledger counts them.
fn ledger(log: &dyn Log) -> usize {
    let (mut quota, key) = (Quota::default(), Quota::key("default", "shop"));
    scan(log, topics::INGEST_CURSORS_CHANGELOG, |found, value| {
        if found == key.as_bytes() {
            quota = serde_json::from_slice(value).unwrap();
        }
    });
    quota.calls as usize
}

fn up(world: &World) -> Command {
    let mut command = world.command(&["up", "--listen", "127.0.0.1:0"]);
    command.env("TOCSIN_LOG", "error");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_killed_poller_asks_no_more_than_it_counts_and_what_it_asks_for_arrives_once() {
    killed(Backend::OneMachine);
}

#[test]
fn a_killed_poller_of_a_cluster_asks_no_more_than_it_counts() {
    killed(Backend::Cluster);
}

fn killed(backend: Backend) {
    let (kills, seed) = (backend.kills("TOCSIN_KILLS", 24), number("TOCSIN_KILL_SEED", 1));
    let patience = Duration::from_secs(if backend == Backend::Cluster { 40 } else { 10 });
    let (server, grows) = (UpstreamServer::start().unwrap(), Arc::new(AtomicBool::new(true)));
    let ids = serve(&server, &grows);
    let text = format!(
        "[[sources]]\nname = \"shop\"\nkind = \"http\"\nevent = \"listing\"\nevery = \"1s\"\n\
        address = \"{}/items?q={{search}}\"\nitems = \"items\"\nnext = \"next\"\nbudget = 1000000\n\
        listing = \"{{id}}\"\nprice = \"{{price}}\"\ncurrency = \"EUR\"\nsearches = {SEARCHES:?}\n",
        server.url()
    );
    let world = World::of_restarts(backend, &text);
    world.prepare();
    let (mut dice, at_steps) = (Dice(seed), AtomicUsize::new(0));
    for kill in 1..=kills as usize {
        let before = server.asked().len();
        let mut command = up(&world);
        let step = (dice.roll(2) == 0).then(|| STEPS[dice.roll(STEPS.len() as u64) as usize]);
        if let Some(step) = step {
            command.env("TOCSIN_CRASH_AT", format!("{step}:{}", 1 + dice.roll(6)));
        }
        let mut service = Running(command.spawn().unwrap());
        match step {
            Some(_) => {
                let ended = ended_within(&mut service, patience);
                at_steps.fetch_add(usize::from(ended), Ordering::Relaxed);
            }
            None => {
                server.wait_for(before + 1 + dice.roll(8) as usize, patience);
                std::thread::sleep(Duration::from_millis(dice.roll(20)));
            }
        }
        drop(service);
        let log = world.log();
        let spent = server.asked().len();
        let why = format!("after {kill} kills, seed {seed}: {spent} calls");
        // What is committed in a cluster is seen a moment later. A kill between the ledger and the call
        // leaves one that was counted and not made.
        until(&why, || (spent..=spent + kill).contains(&ledger(&*log)));
        assert!(listings(&*log).values().all(|n| *n == 1), "{why}");
    }
    assert!(at_steps.load(Ordering::Relaxed) > 0, "no kill was at its step");

    grows.store(false, Ordering::Relaxed);
    let _service = Running(up(&world).spawn().unwrap());
    let log = world.log();
    let all = |ids: &BTreeMap<String, usize>| ids.values().sum::<usize>();
    until("everything that was asked for", || listings(&*log).len() >= all(&ids.lock().unwrap()));
    // Twice more everything that is there already.
    let rounds = server.asked().len() + 4 * SEARCHES.len();
    assert!(server.wait_for(rounds, Duration::from_secs(60)));
    let found = listings(&*log);
    assert_eq!(found.len(), all(&ids.lock().unwrap()));
    assert!(found.values().all(|n| *n == 1), "each listing once");
    assert!(found.len() > SEARCHES.len(), "it was asked too rarely: {}", found.len());
}
