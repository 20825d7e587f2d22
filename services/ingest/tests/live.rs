//! Kinds asked over real HTTP: a server on this machine answers with what was recorded, and what
//! each poller puts into the log is what a file of the same answers gives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{bytes_of, config, read, set};
use tocsin_domain::event::{Listing, Reading};
use tocsin_domain::topics::{AQI_READINGS, DEAD_LETTERS, MARKET_LISTINGS, Topics};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_ingest::poll::{Office, Poller};
use tocsin_service::Metrics;
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::{Log, LogError};
use tocsin_testkit::upstream::{Reply, UpstreamServer};

/// Long enough for any machine; nothing waits so long if all is well.
const PATIENCE: Duration = Duration::from_secs(60);

fn values(log: &dyn Log, topic: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for partition in 0..log.partitions(topic).unwrap() {
        let at = TopicPartition::new(topic, partition);
        log.scan_all(&at, |record| {
            found.push(record.value.unwrap_or_default().to_vec());
            Ok::<(), LogError>(())
        })
        .unwrap();
    }
    found
}

/// Polls as `text` says until a topic has so many events, and gives the values in it.
fn polled(server: &UpstreamServer, text: &str, topic: &str, count: usize) -> Vec<Vec<u8>> {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    let config = config(&format!("address = \"{}\"\n{text}", server.url()));
    let office = Office {
        log: log.clone(),
        now: Arc::new(|| Micros(1_700_000_000_000_000)),
        metrics: Metrics::new(),
        ours: Arc::new(AtomicBool::new(true)),
        tell: Arc::new(|_| {}),
        seed: 7,
    };
    let mut poller = Poller::new(&config, office).unwrap().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let thread = std::thread::spawn(move || poller.run(&|| !seen.load(Ordering::Relaxed)));
    let begun = Instant::now();
    while values(&*log, topic).len() < count && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap().unwrap();
    assert_eq!(values(&*log, DEAD_LETTERS).len(), 0);
    let found = values(&*log, topic);
    assert_eq!(found.len(), count, "{:?}", server.asked());
    found
}

fn recorded(set: &Path, file: &str) -> Vec<u8> {
    bytes_of(&set.join(file))
}

#[test]
fn a_waqi_feed_with_its_token_in_the_query() {
    let Some(directory) = set("waqi_api") else { return };
    let body = recorded(&directory, "aiowaqi/city_feed_utrecht.json");
    let wanted = read("kind = \"waqi\"\n", "a", &body).unwrap();
    let server = UpstreamServer::start().unwrap();
    let over = Reply::json(r#"{"status":"error","data":"Unknown station"}"#);
    server.script("/feed/utrecht/", [Reply::json(body)]);
    server.script("/feed/nowhere/", [over]);
    let text =
        "kind = \"waqi\"\nsearches = [\"nowhere\", \"utrecht\"]\nevery = \"1h\"\ntoken = \"t0\"\n";
    let found = polled(&server, text, AQI_READINGS, wanted.readings.len());
    let ids = SchemaIds::default();
    for bytes in &found {
        let reading: Reading<'_> = wire::read(bytes, &ids).unwrap();
        assert!(wanted.ids.contains(&reading.id.to_string()), "{reading:?}");
        assert!(!reading.origin.contains("t0"), "{}", reading.origin);
    }
    assert!(server.asked().iter().all(|asked| asked.query("token") == Some("t0")));
}

#[test]
fn an_ebay_search_with_a_login_a_token_that_runs_out_and_two_pages() {
    let Some(directory) = set("ebay_browse") else { return };
    let server = UpstreamServer::start().unwrap();
    let token =
        |token: &str| Reply::json(format!("{{\"access_token\":\"{token}\",\"expires_in\":7200}}"));
    server.script("/identity/v1/oauth2/token", [token("old"), token("new")]);
    let expired =
        r#"{"errors":[{"errorId":1001,"category":"REQUEST","message":"Invalid access token"}]}"#;
    server.script(
        "/buy/browse/v1/item_summary/search",
        [
            Reply::status(401, expired),
            Reply::json(recorded(&directory, "item_summary_search_iphone_best_match.json")),
            Reply::json(recorded(&directory, "item_summary_search_iphone_sort_price.json")),
        ],
    );
    let text = "kind = \"ebay\"\nsearches = [\"iphone\"]\nevery = \"1h\"\npages = 2\n\
        client_id = \"me\"\nsecret = \"hush\"\nmarketplace = \"EBAY_GB\"\n";
    let found = polled(&server, text, MARKET_LISTINGS, 200);
    let ids = SchemaIds::default();
    for bytes in &found {
        let listing: Listing<'_> = wire::read(bytes, &ids).unwrap();
        assert_eq!(listing.searches, ["iphone"]);
    }
    let asked = server.asked();
    let searches: Vec<_> = asked.iter().filter(|asked| asked.path().ends_with("search")).collect();
    let said: Vec<_> = searches
        .iter()
        .map(|asked| (asked.header("authorization"), asked.query("offset")))
        .collect();
    let (old, new) = ("Bearer old", "Bearer new");
    assert_eq!(said, [(old, Some("0")), (new, Some("0")), (new, Some("200"))]);
    assert!(searches.iter().all(|asked| asked.header("x-ebay-c-marketplace-id") == "EBAY_GB"));
}

#[test]
fn an_openaq_sensor_page_by_page() {
    let Some(directory) = set("openaq_api") else { return };
    let server = UpstreamServer::start().unwrap();
    let last = r#"{"meta":{"found":1000},"results":[]}"#;
    let path = "/sensors/23534/measurements";
    let first = Reply::json(recorded(&directory, "measurements_1000.json.gz"));
    server.script(path, [first, Reply::json(last)]);
    let text = "kind = \"openaq\"\nsearches = [\"sensors/23534/measurements\"]\nevery = \"1h\"\ntoken = \"k\"\n";
    let found = polled(&server, text, AQI_READINGS, 850);
    let ids = SchemaIds::default();
    let of_it = found.iter().filter(|bytes| {
        let reading: Reading<'_> = wire::read(bytes, &ids).unwrap();
        reading.subject == "23534" && reading.unit == "ug/m3"
    });
    assert_eq!(of_it.count(), 850);
    assert!(server.asked().iter().all(|asked| asked.header("x-api-key") == "k"));
}

#[test]
fn a_mercadolibre_phrase() {
    let Some(directory) = set("mercadolibre_search") else { return };
    let server = UpstreamServer::start().unwrap();
    let body = recorded(&directory, "sites_MLA_search_tele.json");
    server.script("/sites/MLA/search", [Reply::json(body)]);
    let text = "kind = \"mercadolibre\"\nsearches = [\"tele\"]\nevery = \"1h\"\ntoken = \"t\"\n";
    polled(&server, text, MARKET_LISTINGS, 50);
    assert_eq!(server.asked()[0].header("authorization"), "Bearer t");
}
