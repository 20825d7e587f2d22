//! What comes in by folder, upstream, push and upload is counted the same way on the real program, and
//! what is counted is what the log holds. Topics of others are counted in `own_topics`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeMap;
use support::world::{Backend, World};
use support::{page, scan, until};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::topics;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_stream::Log;
use tocsin_testkit::upstream::{Reply, UpstreamServer};

const CONFIG: &str = r#"
[push]
without_token = true
[[sources]]
name = "files"
kind = "csv"
event = "reading"
folder = "incoming"
subject = "{station}"
time = "{time}"
measure = "pm25"
value = "{pm25}"
unit = "ug/m3"
[[sources.only]]
field = "{station}"
not_equals = "out"
[[sources]]
name = "shop"
kind = "http"
event = "listing"
address = "URL/items?q={search}"
items = "items"
listing = "{id}"
price = "{price}"
currency = "EUR"
every = "1s"
searches = ["lego"]
[[sources.only]]
field = "{id}"
not_equals = "out"
[[sources]]
name = "orders"
kind = "json-lines"
event = "order-row"
type = "com.acme.order"
subject = "lamp"
price = "{price}"
currency = "EUR"
time = "{at}"
[[sources.only]]
field = "{price}"
not_equals = "0"
[[datasets]]
name = "owners"
[[datasets.files]]
name = "owners"
key = ["id"]
"#;

const FILE: &str = "station,time,pm25\nA,2024-03-01T07:00:00Z,20\nout,2024-03-01T07:00:00Z,20\n\
    B,soon,1\nC,soon,1\nD,2024-03-01T07:00:00Z,7\n,,\n";

/// Values of a topic.
fn values(log: &dyn Log, topic: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    scan(log, topic, |_, value| found.push(value.to_vec()));
    found
}

/// The lines of a metric, by its labels.
fn figures(text: &str, metric: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.split_once("} "));
    lines.map(|(labels, n)| (labels[1..].to_owned(), n.parse().unwrap())).collect()
}

/// What became of what a source has brought: processed, filtered, dead.
fn outcomes(text: &str, source: &str) -> [u64; 3] {
    let all = figures(text, "tocsin_source_rows_total");
    ["processed", "filtered", "dead"].map(|outcome| {
        let labels = format!("source=\"{source}\",outcome=\"{outcome}\"");
        all.get(&labels).copied().unwrap_or(0)
    })
}

#[test]
fn every_way_in_is_counted_alike_and_as_the_log_has_it() {
    let server = UpstreamServer::start().unwrap();
    let items = |more: &str| {
        let all = r#"{"id":"a","price":1},{"id":"out","price":1},{"id":"bad"}"#;
        Reply::json(format!("{{\"items\":[{all}{more}]}}"))
    };
    server.script("/items", [items(""), items(r#",{"id":"b","price":2}"#)]);
    let world = World::new(Backend::OneMachine, &CONFIG.replace("URL", &server.url()));
    std::fs::create_dir(world.path("incoming")).unwrap();
    std::fs::write(world.path("incoming/rows.csv"), FILE).unwrap();
    let (_up, url) = world.up();

    let lines = "{\"price\":\"1\",\"at\":\"2024-03-01\"}\n{\"price\":\"0\",\"at\":\"2024-03-01\"}\n\
        {\"price\":\"x\",\"at\":\"2024-03-01\"}\n";
    for _ in 0..2 {
        let push = ureq::post(format!("{url}/v1/events?source=orders"))
            .header("content-type", "application/x-ndjson")
            .header("prefer", "handling=lenient")
            .header("idempotency-key", "one");
        assert_eq!(push.send(lines).unwrap().status(), 202);
        let part =
            "--b\r\ncontent-disposition: form-data; name=\"owners\"; filename=\"o.csv\"\r\n\r\n";
        let body = format!("{part}id,name\no1,Ann\n,\no2\n\r\n--b--\r\n");
        let upload = ureq::post(format!("{url}/v1/datasets/owners"))
            .header("content-type", "multipart/form-data; boundary=b");
        upload.send(body).unwrap();
    }
    // The second answer says three things again; the third is as the second was, and is not read.
    let wanted = [
        ("files", [2, 2, 2]),
        ("shop", [2, 4, 1]),
        ("push:anyone", [1, 4, 1]),
        ("dataset:owners", [1, 1, 1]),
    ];
    let metrics = || page(&format!("{url}/metrics"));
    until("all of it is counted", || {
        let text = metrics();
        wanted.iter().all(|(source, wanted)| outcomes(&text, source) == *wanted)
    });
    server.wait_for(4, std::time::Duration::from_secs(60));

    let (text, log) = (metrics(), world.log());
    let events = |topic| values(&*log, topic).len() as u64;
    let held = [
        events(topics::AQI_READINGS),
        events(topics::MARKET_LISTINGS),
        events(topics::ORDERS_ROWS),
        // Without the notes that the set is opened and closed.
        events(topics::DATASETS_ROWS) - 2,
    ];
    let mut dead: BTreeMap<String, u64> = BTreeMap::new();
    for value in values(&*log, topics::DEAD_LETTERS) {
        let letter: DeadLetter = wire::read_owned(&value, &SchemaIds::default()).unwrap();
        *dead.entry(letter.source).or_default() += 1;
    }
    for ((source, wanted), held) in wanted.into_iter().zip(held) {
        let found = outcomes(&text, source);
        assert_eq!((found, found[0], found[2]), (wanted, held, dead[source]), "{source}");
    }
    let sources = figures(&text, "tocsin_source_rows_total");
    assert_eq!(sources.len(), 3 * wanted.len(), "no other source, no other word: {sources:?}");
    let records = figures(&text, "tocsin_records_total");
    let by_outcome = figures(&text, "tocsin_outcomes_total");
    for service in ["ingest", "push"] {
        let label = format!("service=\"{service}\"");
        let of = by_outcome.iter().filter(|(labels, _)| labels.starts_with(&label));
        assert_eq!(of.map(|(_, n)| n).sum::<u64>(), records[&label], "{service}");
    }
    let consumed = records["service=\"ingest\""] + records["service=\"push\""];
    assert_eq!(sources.values().sum::<u64>(), consumed);
}
