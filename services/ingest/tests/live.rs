//! Kinds asked over real HTTP: a server on this machine answers with what was recorded, and what
//! each poller puts into the log is what a file of the same answers gives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{bytes_of, config, configs, read, root};
use tocsin_domain::event::{Listing, Reading};
use tocsin_domain::topics::{AQI_READINGS, DEAD_LETTERS, MARKET_LISTINGS, Topics};
use tocsin_domain::upstream::Asked;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_ingest::poll::{Office, Poller};
use tocsin_ingest::{SourceConfig, cursor};
use tocsin_service::Metrics;
use tocsin_stream::memory::MemoryLog;
use tocsin_stream::{Log, LogError};
use tocsin_testkit::data::set;
use tocsin_testkit::upstream::{Reply, UpstreamServer};

/// Long enough for any machine; nothing waits so long if all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A key and a value.
type Record = (Vec<u8>, Vec<u8>);

fn values(log: &dyn Log, topic: &str) -> Vec<Vec<u8>> {
    records(log, topic).into_iter().map(|(_, value)| value).collect()
}

fn records(log: &dyn Log, topic: &str) -> Vec<Record> {
    let mut found = Vec::new();
    for partition in 0..log.partitions(topic).unwrap() {
        let at = TopicPartition::new(topic, partition);
        log.scan_all(&at, |record| {
            found.push((record.key.to_vec(), record.value.unwrap_or_default().to_vec()));
            Ok::<(), LogError>(())
        })
        .unwrap();
    }
    found
}

fn log() -> Arc<MemoryLog> {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    log
}

/// Polls as `text` says until a topic has so many events, and gives the values in it.
fn polled(server: &UpstreamServer, text: &str, topic: &str, count: usize) -> Vec<Vec<u8>> {
    let (log, config) = (log(), config(&format!("address = \"{}\"\n{text}", server.url())));
    poll(&log, &config, || values(&*log, topic).len() >= count);
    let found = values(&*log, topic);
    assert_eq!(found.len(), count, "{:?}", server.asked());
    found
}

/// Polls until it is done. Nothing that comes may be a dead letter.
fn poll(log: &Arc<MemoryLog>, config: &SourceConfig, mut is_done: impl FnMut() -> bool) {
    let office = Office {
        log: log.clone(),
        now: Arc::new(|| Micros(1_700_000_000_000_000)),
        metrics: Metrics::new(),
        ours: Arc::new(AtomicBool::new(true)),
        tell: Arc::new(|_| {}),
        seed: 7,
    };
    let mut poller = Poller::new(config, office).unwrap().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let thread = std::thread::spawn(move || poller.run(&|| !seen.load(Ordering::Relaxed)));
    let begun = Instant::now();
    while !is_done() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap().unwrap();
    assert_eq!(values(&**log, DEAD_LETTERS).len(), 0);
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
    // The recorded page has 100 items, and says so: fewer than were asked for.
    assert_eq!(said, [(old, Some("0")), (new, Some("0")), (new, Some("100"))]);
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

/// Polls the one search of `text`, in which `UPSTREAM` is the server, until it is done; gives the values
/// in a topic and how the search stands.
fn settled(
    server: &UpstreamServer,
    text: &str,
    search: &str,
    topic: &str,
) -> (Vec<Vec<u8>>, Asked) {
    let config = configs(&text.replace("UPSTREAM", &server.url())).remove(0);
    let key = Asked::key("default", &config.name, search).into_bytes();
    let (log, mut done) = (log(), None);
    poll(&log, &config, || {
        let last = |record: &Record| record.0 == key;
        let all = records(&*log, cursor::TOPIC);
        let last = all.into_iter().rev().find(last);
        let asked = last.and_then(|(_, value)| serde_json::from_slice::<Asked>(&value).ok());
        done = asked.filter(|asked| asked.asked_at.is_some());
        done.is_some()
    });
    (values(&*log, topic), done.unwrap())
}

const OFFERS: &str = "[[sources]]\nname = \"a\"\nkind = \"http\"\nevent = \"listing\"\n\
    listing = \"{id}\"\ntitle = \"{title}\"\nprice = \"{price}\"\ncurrency = \"EUR\"\nevery = \"1h\"\n";

/// Each listing with its title and price, in the order of their names.
fn offers(values: &[Vec<u8>]) -> Vec<String> {
    let ids = SchemaIds::default();
    let mut shown: Vec<String> = values
        .iter()
        .map(|bytes| {
            let listing: Listing<'_> = wire::read(bytes, &ids).unwrap();
            format!("{} {} {}", listing.listing, listing.title, listing.price)
        })
        .collect();
    shown.sort_unstable();
    shown
}

const THREE: [&str; 3] = ["1 Ä 1.5 EUR", "2 B 2 EUR", "3 C 3 EUR"];

#[test]
fn pages_are_counted_until_one_has_nothing_in_any_format() {
    let csv = |text: &str| Reply::ok("text/csv", text);
    let rss = |text: &str| Reply::ok("text/xml", format!("<rss><channel>{text}</channel></rss>"));
    let item = |id: &str, title: &str, price: &str| {
        format!("<item><id>{id}</id><title>{title}</title><price>{price}</price></item>")
    };
    let (one, two, three) = (item("1", "Ä", "1.5"), item("2", "B", "2"), item("3", "C", "3"));
    let nested = |rows: &str| {
        Reply::json(format!("{{\"errors\":[],\"kinds\":[1],\"data\":{{\"items\":[{rows}]}}}}"))
    };
    let json = |id: u8, title: &str, price: &str| {
        format!("{{\"id\":{id},\"title\":\"{title}\",\"price\":{price}}}")
    };
    let both = format!("{},{}", json(1, "Ä", "1.5"), json(2, "B", "2"));
    let (head, third) = ("id,title,price\n", json(3, "C", "3"));
    let first = format!("{head}1,Ä,1.5\n2,B,2\n");
    let (nested_items, array, csv_format, rss_format, by_filter) = (
        "items = \"data.items\"\n",
        "",
        "format = \"csv\"\n",
        "format = \"rss\"\n",
        "rows = \".data.items[]\"\n",
    );
    let third_row = format!("{head}3,C,3\n");
    let ways = [
        (nested_items, vec![nested(&both), nested(&third), nested("")], 3),
        (by_filter, vec![nested(&both), nested(&third), nested("")], 3),
        (
            array,
            vec![
                Reply::json(format!("[{both}]")),
                Reply::json(format!("[{third}]")),
                Reply::json("[]"),
            ],
            3,
        ),
        (csv_format, vec![csv(&first), csv(&third_row), csv(head)], 3),
        (csv_format, vec![csv(&first), csv(&third_row), csv("")], 3),
        (csv_format, vec![csv(&first), csv(&third_row), Reply::status(404, "no such page")], 3),
        (rss_format, vec![rss(&format!("{one}{two}")), rss(&three), rss("")], 3),
        (rss_format, vec![rss(&format!("{one}{two}{three}")), Reply::status(404, "")], 2),
    ];
    for (format, replies, calls) in ways {
        let server = UpstreamServer::start().unwrap();
        server.script("/offers", replies);
        let text = format!("{OFFERS}{format}page = \"n\"\naddress = \"UPSTREAM/offers\"\n");
        let (found, asked) = settled(&server, &text, "", MARKET_LISTINGS);
        assert_eq!(offers(&found), THREE, "{format}");
        assert_eq!((asked.error.as_str(), asked.calls), ("", calls), "{format}");
        let pages: Vec<_> =
            server.asked().iter().map(|one| one.query("n").map(str::to_owned)).collect();
        let wanted: Vec<_> = (1..=calls).map(|page| Some(page.to_string())).collect();
        assert_eq!(pages, wanted, "{format}");
    }
}

#[test]
fn csv_and_feeds_come_in_the_encoding_that_they_say() {
    let latin = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let wide = |text: &str| {
        "\u{feff}"
            .encode_utf16()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let rows = "id;title;price\r\n1;Ä;1.5\r\n2;B;2\r\n3;C;3\r\n";
    let entries = "<entry><id>1</id><title>Ä</title><price>1.5</price></entry>\
        <entry><id>2</id><title>B</title><price>2</price></entry>\
        <entry><id>3</id><title>C</title><price>3</price></entry>";
    let atom = |declared: &str| {
        format!(
            "<?xml version=\"1.0\"{declared}?><feed xmlns=\"http://www.w3.org/2005/Atom\">{entries}</feed>"
        )
    };
    let declared = atom(" encoding=\"iso-8859-1\"");
    for (format, content_type, body) in [
        ("csv", "text/csv", rows.as_bytes().to_vec()),
        ("csv", "text/csv; charset=ISO-8859-1", latin(rows)),
        ("csv", "text/csv; charset=utf-16", wide(rows)),
        ("csv", "application/octet-stream", wide(rows)),
        ("csv\"\nencoding = \"latin-1", "text/csv", latin(rows)),
        ("csv\"\nencoding = \"utf-8", "text/csv; charset=ISO-8859-1", rows.as_bytes().to_vec()),
        ("rss", "application/atom+xml", atom("").into_bytes()),
        ("rss", "application/atom+xml", latin(&declared)),
        ("rss", "application/atom+xml; charset=\"windows-1252\"", latin(&atom(""))),
        ("rss", "application/atom+xml; charset=utf-8", declared.clone().into_bytes()),
        ("rss", "", wide(&declared)),
    ] {
        let server = UpstreamServer::start().unwrap();
        server.script("/offers", [Reply::ok(content_type, body).packed()]);
        let text = format!("{OFFERS}format = \"{format}\"\naddress = \"UPSTREAM/offers\"\n");
        let (found, asked) = settled(&server, &text, "", MARKET_LISTINGS);
        assert_eq!(offers(&found), THREE, "{format} {content_type}: {}", asked.error);
    }
}

/// The examples ask as they say, and what comes is what they map.
#[test]
fn examples_of_kind_http_read_what_they_are_about() {
    let example = |name: &str| fs::read_to_string(root().join("examples").join(name)).unwrap();
    let server = UpstreamServer::start().unwrap();
    let page = |items: &str| Reply::json(format!("{{\"data\":{{\"items\":[{items}]}}}}"));
    let item = "{\"id\":\"7\",\"title\":\"Crane\",\"price\":{\"amount\":\"39.90\",\"currency\":\"EUR\"},\
        \"sold\":12,\"seller\":{\"name\":\"s\"},\"updated_at\":\"2026-01-02T03:04:05Z\"}";
    server.script("/v1/items", [page(item), page("")]);
    let text = example("http_json.toml").replace("https://api.example.org", "UPSTREAM");
    let (found, asked) = settled(&server, &text, "lego 75192", MARKET_LISTINGS);
    assert_eq!(offers(&found), ["7 Crane 39.9 EUR"], "{}", asked.error);
    assert!(server.asked().iter().all(|asked| asked.header("x-api-key") == "put yours here"));

    let rss = "<rss><channel><item><guid>7</guid><title>Crane</title><g:price>39.90</g:price>\
        <pubDate>Fri, 02 Jan 2026 03:04:05 +0000</pubDate></item></channel></rss>";
    server.script("/offers.rss", [Reply::ok("application/rss+xml", rss)]);
    let text = example("http_rss.toml").replace("https://shop.example.org", "UPSTREAM");
    let (found, asked) = settled(&server, &text, "", AQI_READINGS);
    assert_eq!(readings(&found), ["7 price 39.9 2026-01-02T03:04:05Z"], "{}", asked.error);

    let csv = "time,latitude,longitude,depth,mag,magType,nst,gap,dmin,rms,net,id,updated,place,type\n\
        2026-01-02T03:04:05.670Z,38.8,-122.8,1.8,0.7,md,10,90,0.01,0.02,nc,nc1,2026-01-02T03:06:00.000Z,\"6 km W of Cobb, CA\",earthquake\n\
        2026-01-02T03:04:06.670Z,38.8,-122.8,1.8,1.2,md,10,90,0.01,0.02,nc,nc2,2026-01-02T03:06:00.000Z,\"a quarry\",quarry blast\n";
    server.script(
        "/earthquakes/feed/v1.0/summary/all_day.csv",
        [Reply::ok("text/csv; charset=utf-8", csv)],
    );
    let text = example("http_csv.toml").replace("https://earthquake.usgs.gov", "UPSTREAM");
    let (found, asked) = settled(&server, &text, "", AQI_READINGS);
    assert_eq!(readings(&found), ["nc magnitude 0.7 2026-01-02T03:04:05.67Z"], "{}", asked.error);
}

fn readings(values: &[Vec<u8>]) -> Vec<String> {
    let ids = SchemaIds::default();
    let shown = |bytes: &Vec<u8>| {
        let reading: Reading<'_> = wire::read(bytes, &ids).unwrap();
        format!("{} {} {} {}", reading.subject, reading.measure, reading.value, reading.event_time)
    };
    values.iter().map(shown).collect()
}
