//! `kill -9` while producers push with retries: every event that was answered with 202 is in the log,
//! and none is there twice, because each push has an idempotency key. On one machine, and the same on a
//! cluster.
//!
//! `TOCSIN_PUSH_KILLS=100` for more kills; `TOCSIN_KILL_SEED` for others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::chaos::{Dice, ended_within, number};
use support::world::{Backend, World};
use support::{Running, scan, until};
use tocsin_domain::event::Reading;
use tocsin_domain::topics::AQI_READINGS;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{TopicPartition, topics};
use tocsin_stream::Log;

const PRODUCERS: u64 = 4;
const BATCH: u64 = 20;

/// What the producers were told.
#[derive(Default)]
struct Told {
    accepted: Mutex<Vec<String>>,
    retried: AtomicU64,
    enough: AtomicBool,
}

/// Pushes batches one after the other, each until it is accepted.
fn produce(producer: u64, url: &str, told: &Told) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .into();
    for batch in 0.. {
        if told.enough.load(Ordering::Relaxed) {
            return;
        }
        let ids: Vec<String> = (0..BATCH).map(|n| format!("{producer}-{batch}-{n}")).collect();
        let mut body = String::from("[");
        for (n, id) in ids.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(body, r#"{comma}{{"specversion":"1.0","id":"{id}","source":"/kill","type":"tocsin.reading","time":"2024-05-01T12:00:00Z","data":{{"subject":"s{n}","measure":"pm25","value":{n}}}}}"#).unwrap();
        }
        body.push(']');
        loop {
            let sent = agent
                .post(url)
                .header("content-type", "application/cloudevents-batch+json")
                .header("idempotency-key", format!("{producer}-{batch}"))
                .send(&body);
            match sent.map(|answer| answer.status().as_u16()) {
                Ok(202) => break,
                Ok(409 | 503) | Err(_) => {
                    told.retried.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(other) => panic!("a good batch was answered with {other}"),
            }
        }
        told.accepted.lock().unwrap().extend(ids);
    }
}

/// How often each event is in the log, by what it says of itself.
fn found(log: &dyn Log) -> BTreeMap<String, u64> {
    let (mut found, ids) = (BTreeMap::new(), SchemaIds::default());
    scan(log, AQI_READINGS, |_, value| {
        let reading: Reading<'_> = wire::read(value, &ids).unwrap();
        let id = reading.origin.strip_prefix("/kill#").unwrap().to_owned();
        *found.entry(id).or_default() += 1;
    });
    found
}

#[test]
fn what_was_accepted_is_in_the_log_once_whenever_the_process_dies() {
    killed(Backend::OneMachine);
}

#[test]
fn what_was_accepted_is_in_the_log_of_a_cluster_once_whenever_the_process_dies() {
    killed(Backend::Cluster);
}

fn killed(backend: Backend) {
    let (kills, seed) = (backend.kills("TOCSIN_PUSH_KILLS", 8), number("TOCSIN_KILL_SEED", 1));
    // A port that is free: every start must take the same one, as the producers know no other.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("[push]\nlisten = \"{free}\"\nwithout_token = true\n");
    let world = World::of_restarts(backend, &text);
    world.prepare();
    let up = |crash: Option<String>| {
        let mut command = world.command(&["up", "--listen", "127.0.0.1:0"]);
        command.env("TOCSIN_LOG", "error");
        command.envs(crash.map(|at| ("TOCSIN_CRASH_AT", at)));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    };
    let told = Arc::new(Told::default());
    let accepted = || told.accepted.lock().unwrap().len();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (told, url) = (told.clone(), format!("http://{free}/v1/events"));
            std::thread::spawn(move || produce(producer, &url, &told))
        })
        .collect();
    let mut dice = Dice(seed);
    for _ in 0..kills {
        let at_step = dice.roll(2) == 0;
        let step = at_step.then(|| format!("inside-commit:{}", 3 + dice.roll(40)));
        let before = accepted();
        let mut service = up(step);
        // Somebody was answered, so that there is something to lose.
        let patience = Duration::from_millis(50 + dice.roll(250));
        until("an event is accepted, or the process ended", || {
            accepted() > before || ended_within(&mut service, Duration::ZERO)
        });
        let _ = ended_within(&mut service, patience);
    }
    let last = up(None);
    told.enough.store(true, Ordering::Relaxed);
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    drop(last);

    let log = world.log();
    let found = found(&*log);
    let accepted = told.accepted.lock().unwrap();
    let lost: Vec<_> = accepted.iter().filter(|id| !found.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} accepted and lost, such as {:?}", lost.len(), lost.first());
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{} are there twice, such as {:?}", twice.len(), twice.first());
    assert_eq!(found.len(), accepted.len(), "nothing is there that was never accepted");
    let answers = TopicPartition::new(topics::INGEST_PUSHES_CHANGELOG, 0);
    assert!(log.span(&answers).unwrap().end > 0);
    eprintln!(
        "{kills} kills (seed {seed}): {} events accepted, 0 lost, 0 twice, {} pushes retried",
        accepted.len(),
        told.retried.load(Ordering::Relaxed)
    );
}
