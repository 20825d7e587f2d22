//! Every kind of upstream, asked by the program as a user starts it, each behind errors that it
//! documents, while the process is ended with `kill -9`: what was asked for arrives once, and each
//! source's ledger never counts less than its upstream.
//!
//! `TOCSIN_KIND_KILLS` and `TOCSIN_KILL_SEED` change how often and in which order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::chaos::{Dice, number};
use support::world::{Backend, World};
use support::{Running, scan, until};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::{DatasetRow, DatasetRowKind, Listing, Reading};
use tocsin_domain::topics;
use tocsin_domain::upstream::Quota;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_stream::Log;
use tocsin_testkit::data::set;
use tocsin_testkit::upstream::{Reply, UpstreamServer};

/// A source, what it asks for, and the recording that is its answer. How many events that has is known
/// from the recordings' own counts. `UPSTREAM` is its server.
struct Kind {
    source: &'static str,
    search: &'static str,
    path: &'static str,
    recording: (&'static str, &'static str),
    events: usize,
}

const KINDS: [Kind; 11] = [
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"waqi\"\ntoken = \"t\"\n",
        search: "utrecht",
        path: "/feed/utrecht/",
        recording: ("waqi_api", "aiowaqi/city_feed_utrecht.json"),
        events: 11,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"openaq\"\ntoken = \"t\"\npages = 1\n",
        search: "sensors/23534/measurements",
        path: "/sensors/23534/measurements",
        recording: ("openaq_api", "measurements_1000.json.gz"),
        events: 850,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"airnow\"\n",
        search: "co.csv",
        path: "/co.csv",
        recording: ("epa_daily_sites", "new_york_co_2023.csv.gz"),
        events: 364,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"aqicn\"\n",
        search: "2020",
        path: "/2020",
        recording: ("waqi_covid_sample", "waqi-covid19-airqualitydata-2020_bogota_medellin.csv"),
        // The least, the most and the median of 1,999 rows, 15 of which say the same under another name.
        events: 5_952,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"ebay\"\nclient_id = \"me\"\nsecret = \"hush\"\npages = 1\n",
        search: "iphone",
        path: "/buy/browse/v1/item_summary/search",
        recording: ("ebay_browse", "item_summary_search_iphone_sort_price.json"),
        events: 100,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"mercadolibre\"\ntoken = \"t\"\npages = 1\n",
        search: "tele",
        path: "/sites/MLA/search",
        recording: ("mercadolibre_search", "sites_MLA_search_tele.json"),
        events: 50,
    },
    Kind {
        source: "address = \"UPSTREAM/offers?q={search}\"\nkind = \"http\"\nevent = \"listing\"\nitems = \"results\"\nlisting = \"{id}\"\n\
            price = \"{price}\"\ncurrency = \"{currency_id}\"\n",
        search: "any",
        path: "/offers",
        recording: ("mercadolibre_search", "sites_MLA_search_tele.json"),
        events: 50,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"geonames\"\ntoken = \"me\"\n",
        search: "Lahore",
        path: "/searchJSON",
        recording: ("", LAHORE),
        events: 1,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"airnow-daily\"\n",
        search: "daily_data_v2.dat",
        path: "/daily_data_v2.dat",
        recording: ("", DAY),
        events: 1,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"airnow-hourly\"\n",
        search: "HourlyData_2026072719.dat",
        path: "/HourlyData_2026072719.dat",
        recording: ("", HOUR),
        events: 1,
    },
    Kind {
        source: "address = \"UPSTREAM\"\nkind = \"mercadona\"\n",
        search: "112",
        path: "/categories/112/",
        recording: ("", OILS),
        events: 1,
    },
];

// What there is no small recording of: as the upstream documents it.
const DAY: &str =
    "01/09/23|060290014|Bakersfield|PM2.5-24hr|UG/M3|4.5|24|CARB|19|0|35.3|-119.0|840060290014|\n";
const HOUR: &str = "07/27/26|19:00|000010601|Goose Bay|-4|OZONE|PPB|38|Canadian Air\n";
const OILS: &str = r#"{"id":112,"name":"Aceite, vinagre y sal","categories":[{"id":420,"products":
    [{"id":"4241","display_name":"Aceite de oliva","price_instructions":{"unit_price":"4.45"},
    "share_url":"https://tienda.mercadona.es/product/4241"}]}]}"#;
const LAHORE: &str = r#"{"totalResultsCount":1,"geonames":[{"geonameId":1172451,"name":"Lahore",
    "lat":"31.558","lng":"74.35071","countryCode":"PK","adminName1":"Punjab",
    "population":13004135,"timezone":{"timeZoneId":"Asia/Karachi","gmtOffset":5}}]}"#;

/// A kind with an upstream of its own.
struct Source {
    name: String,
    kind: &'static Kind,
    server: UpstreamServer,
}

impl Source {
    /// `None` where its recording is not at hand.
    fn new(number: usize, kind: &'static Kind) -> Option<Source> {
        let (directory, file) = kind.recording;
        let good = match directory {
            "" => Reply::json(file),
            _ => Reply::json(std::fs::read(set(directory)?.join(file)).unwrap()),
        };
        let is_packed = Path::new(file).extension().is_some_and(|end| end == "gz");
        let good = if is_packed { good.with("content-encoding", "gzip") } else { good };
        let server = UpstreamServer::start().unwrap();
        let busy = |status| Reply::status(status, "").with("retry-after", "1");
        let page = Reply::ok("text/html", "<html>We will be back soon</html>");
        server.script(kind.path, [busy(503), good.clone().cut_after(60), busy(429), page, good]);
        let token = Reply::json("{\"access_token\":\"t\",\"expires_in\":7200}");
        server.script("/identity/v1/oauth2/token", [token]);
        Some(Source { name: format!("source{number}"), kind, server })
    }

    fn configuration(&self) -> String {
        let Source { name, kind: Kind { source, search, .. }, server } = self;
        let source = source.replace("UPSTREAM", &server.url());
        format!(
            "[[sources]]\nname = \"{name}\"\n{source}searches = [\"{search}\"]\nevery = \"1s\"\n\
             budget = 1000000\n"
        )
    }
}

/// How often each event is there, by its source.
fn events(log: &dyn Log) -> BTreeMap<String, BTreeMap<String, usize>> {
    let (mut found, ids) =
        (BTreeMap::<String, BTreeMap<String, usize>>::new(), SchemaIds::default());
    let mut note = |source: &str, id: String| {
        *found.entry(source.to_owned()).or_default().entry(id).or_default() += 1;
    };
    scan(log, topics::AQI_READINGS, |_, value| {
        let event: Reading<'_> = wire::read(value, &ids).unwrap();
        note(event.source, event.id.to_string());
    });
    scan(log, topics::MARKET_LISTINGS, |_, value| {
        let event: Listing<'_> = wire::read(value, &ids).unwrap();
        note(event.source, event.id.to_string());
    });
    scan(log, topics::DATASETS_ROWS, |_, value| {
        let event: DatasetRow<'_> = wire::read(value, &ids).unwrap();
        if event.kind == DatasetRowKind::Row {
            note(event.source, event.id.to_string());
        }
    });
    found
}

/// Calls of each source, as its ledger counts them.
fn ledgers(log: &dyn Log) -> BTreeMap<Vec<u8>, usize> {
    let mut found = BTreeMap::new();
    scan(log, topics::INGEST_CURSORS_CHANGELOG, |key, value| {
        if let Ok(quota) = serde_json::from_slice::<Quota>(value) {
            found.insert(key.to_vec(), quota.calls as usize);
        }
    });
    found
}

#[test]
fn every_kind_behind_errors_and_deaths_brings_what_it_is_asked_for_once() {
    let (kills, seed) = (number("TOCSIN_KIND_KILLS", 8) as usize, number("TOCSIN_KILL_SEED", 1));
    let sources: Vec<Source> =
        KINDS.iter().enumerate().filter_map(|(number, kind)| Source::new(number, kind)).collect();
    let text: String = sources.iter().map(Source::configuration).collect();
    let world = World::of_restarts(Backend::OneMachine, &text);
    let up = || {
        let mut command = world.command(&["up", "--listen", "127.0.0.1:0"]);
        command.env("TOCSIN_LOG", "error").stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    };
    let asked = || sources.iter().map(|source| source.server.asked().len()).sum::<usize>();
    let mut dice = Dice(seed);
    for kill in 1..=kills {
        let (service, until_then) = (up(), asked() + 1 + dice.roll(12) as usize);
        until("the upstreams are asked", || asked() >= until_then);
        std::thread::sleep(Duration::from_millis(dice.roll(30)));
        drop(service);
        let log = world.log();
        let counted = ledgers(&*log);
        for Source { name, server, .. } in &sources {
            let spent = server.asked().len();
            let key = Quota::key("default", name).into_bytes();
            let ledger = counted.get(&key).copied().unwrap_or_default();
            // A kill between the ledger and the call leaves one that was counted and not made.
            let right = (spent..=spent + kill).contains(&ledger);
            assert!(right, "{name} after {kill} kills, seed {seed}: {ledger} for {spent} calls");
        }
    }
    let _service = up();
    let log = world.log();
    let is_there = |source: &Source| {
        events(&*log).get(&source.name).map_or(0, BTreeMap::len) >= source.kind.events
    };
    until("everything that was asked for", || sources.iter().all(is_there));
    // Twice more everything that is there already.
    for Source { server, .. } in &sources {
        assert!(server.wait_for(server.asked().len() + 3, Duration::from_secs(60)));
    }
    let found = events(&*log);
    for Source { name, kind, .. } in &sources {
        let (found, search) = (&found[name], kind.search);
        assert!(found.values().all(|n| *n == 1), "{search}: each event once");
        assert_eq!(found.len(), kind.events, "{search}");
    }
    let (mut letters, ids) = (Vec::new(), SchemaIds::default());
    scan(&*log, topics::DEAD_LETTERS, |_, value| {
        letters.push(wire::read_owned::<DeadLetter>(value, &ids).unwrap());
    });
    // The page that says sorry, unless the process died with it.
    assert!(letters.iter().any(|letter| letter.value.starts_with(b"<html>")), "{letters:?}");
}
