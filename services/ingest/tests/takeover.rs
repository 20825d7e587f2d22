//! Whoever takes over where another process has just committed waits until it can see that: on Kafka a
//! commit is acknowledged before its marks are written. Otherwise a file, an upload or an answer would
//! be taken in twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::config;
use tocsin_domain::Micros;
use tocsin_domain::topics::{AQI_READINGS, DATASETS_ROWS, MARKET_LISTINGS, Topics};
use tocsin_ingest::datasets::{Loader, Upload, section};
use tocsin_ingest::poll::{Office, Poller};
use tocsin_ingest::{Import, cursor};
use tocsin_service::Metrics;
use tocsin_service::config::Document;
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::{Log, LogError};
use tocsin_testkit::upstream::{Reply, UpstreamServer};
use tocsin_testkit::veil::Veiled;

/// A log, and the same behind a veil that hides how far everybody is.
fn logs() -> (Arc<dyn Log>, Arc<Veiled>) {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let veiled = Veiled::new(log.clone());
    veiled.hide(&[cursor::TOPIC]).unwrap();
    (log, veiled)
}

/// How many records a topic has.
fn count(log: &dyn Log, topic: &str) -> usize {
    let mut count = 0;
    for at in log.places(topic).unwrap() {
        log.scan_all(&at, |_| {
            count += 1;
            Ok::<(), LogError>(())
        })
        .unwrap();
    }
    count
}

#[test]
fn a_file_that_was_just_imported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    std::fs::write(&path, "s,v\nx,1\ny,2\n").unwrap();
    let source = config(
        "kind = \"csv\"\nevent = \"reading\"\nmeasure = \"m\"\nvalue = \"{v}\"\n\
         subject = \"{s}\"\ntime = \"2020-01-01\"\n",
    );
    let (log, veiled) = logs();
    let import = |log: Arc<dyn Log>| {
        let import = Import::new(log, &source, Arc::new(|| Micros(5)));
        import.unwrap().import(&path, &mut |_| true).unwrap()
    };
    assert_eq!(import(log.clone()).tally.events, 2);
    assert!(veiled.waited_for(|| import(veiled.clone())).already_imported);
    assert_eq!(count(&*log, AQI_READINGS), 2);
}

#[test]
fn an_upload_that_was_just_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("names.csv");
    std::fs::write(&path, "id\n1\n2\n").unwrap();
    let text = "[[datasets]]\nname = \"n\"\n[[datasets.files]]\nname = \"names\"\nkey = [\"id\"]\n";
    let set = section(&Document::parse(text, "t.toml").unwrap()).unwrap().remove(0);
    let (log, veiled) = logs();
    let load = |log: Arc<dyn Log>| {
        let upload = Upload::open(&set, &[&path]).unwrap();
        let loader = Loader::new(log, &set, Arc::new(|| Micros(1_000_000)));
        loader.load(&upload, &mut || true).unwrap()
    };
    assert!(!load(log.clone()).known);
    let rows = count(&*log, DATASETS_ROWS);
    assert!(veiled.waited_for(|| load(veiled.clone())).known);
    assert_eq!((rows, count(&*log, DATASETS_ROWS)), (4, 4), "two rows, opened and closed");
}

#[test]
fn an_upstream_that_was_just_asked() {
    let server = UpstreamServer::start().unwrap();
    let answer = r#"{"items":[{"id":"a","price":1}]}"#;
    server.script("/items", [Reply::json(answer), Reply::json(answer)]);
    let source = config(&format!(
        "address = \"{}/items?q={{search}}\"\nkind = \"http\"\nevent = \"listing\"\n\
         items = \"items\"\nlisting = \"{{id}}\"\nprice = \"{{price}}\"\ncurrency = \"EUR\"\n\
         every = \"10m\"\nsearches = [\"lego\"]\n",
        server.url()
    ));
    let (log, veiled) = logs();
    // Polls until `done`, at a time that stands still.
    let poll = |log: Arc<dyn Log>, done: &dyn Fn() -> bool| {
        let office = Office {
            log,
            now: Arc::new(|| Micros(1_700_006_400_000_000)),
            metrics: Metrics::new(),
            ours: Arc::new(AtomicBool::new(true)),
            tell: Arc::new(|_| {}),
            seed: 7,
        };
        let mut poller = Poller::new(&source, office).unwrap().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| poller.run(&|| !stop.load(Ordering::Relaxed)));
            while !done() {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap().unwrap();
        });
    };
    poll(log.clone(), &|| count(&*log, MARKET_LISTINGS) == 1);
    let begun = Instant::now();
    poll(veiled.clone(), &|| {
        if begun.elapsed() > Duration::from_millis(200) {
            veiled.lift();
        }
        begun.elapsed() > Duration::from_millis(600)
    });
    assert_eq!(server.asked().len(), 1, "it is not due for ten minutes");
}
