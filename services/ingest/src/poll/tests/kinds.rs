//! The kinds that know their upstream, asked over HTTP: each error that the upstream documents is waited
//! for or asked around, and the good answer behind it arrives once.

use super::*;
use std::io::Read as _;
use tocsin_domain::topics::{AQI_READINGS, DATASETS_ROWS};
use tocsin_testkit::data::set;

/// A kind, what it is asked for, and what its upstream says, the good answer last.
struct Case<'a> {
    source: &'a str,
    search: &'a str,
    path: &'a str,
    replies: Vec<Reply>,
    topic: &'static str,
}

/// As recorded; `None` where the recordings are not at hand.
fn recorded(name: &str, file: &str) -> Option<Reply> {
    let bytes = std::fs::read(set(name)?.join(file)).unwrap();
    let reply = Reply::json(bytes);
    Some(if file.ends_with(".gz") { reply.with("content-encoding", "gzip") } else { reply })
}

/// One value of what was recorded, by its JSON pointer; of several lines, the line with this number.
fn part(name: &str, file: &str, line: usize, pointer: &str) -> Option<serde_json::Value> {
    let bytes = std::fs::read(set(name)?.join(file)).unwrap();
    let mut text = String::new();
    match file.ends_with(".gz") {
        true => _ = flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap(),
        false => text = String::from_utf8(bytes).unwrap(),
    }
    let whole = serde_json::Deserializer::from_str(&text).into_iter().nth(line);
    let whole: serde_json::Value = whole.unwrap().unwrap();
    Some(whole.pointer(pointer).unwrap().clone())
}

/// A page that says sorry.
fn page() -> Reply {
    Reply::ok("text/html", "<html>We will be back soon</html>")
}

fn check(case: Case<'_>) {
    let Case { source, search, path, replies, topic } = case;
    let (world, calls) = (World::new(""), replies.len());
    world.server.script(path, replies);
    let token = Reply::json("{\"access_token\":\"t\",\"expires_in\":7200}");
    world.server.script("/identity/v1/oauth2/token", [token]);
    let address = world.server.url();
    let text = format!(
        "name = \"a\"\naddress = \"{address}\"\n{source}searches = [\"{search}\"]\nevery = \"1d\"\n"
    );
    let mut poller = world.poller_of(&text);
    let mut desk = poller.open().unwrap();
    // Whoever is told to wait until tomorrow does.
    let mut turn = |calls: usize| {
        for _ in 0..100 {
            let wait = poller.turn(&mut desk, &|| true).unwrap();
            if world.server.count(path) >= calls {
                return;
            }
            world.pass(wait);
        }
        panic!("{search}: asked {} times only", world.server.count(path));
    };
    turn(calls - 1);
    assert_eq!(world.values(topic).len(), 0, "{search}: nothing comes of errors");
    turn(calls);
    let came = world.values(topic).len();
    assert!(came > 0, "{search}: {:?}", world.letters());
    turn(calls + 1);
    assert_eq!(world.values(topic).len(), came, "{search}: the same answer adds nothing");
    let key = Quota::key("default", "a").into_bytes();
    let ledger = world.values(cursor::TOPIC).into_iter().rev().find(|(found, _)| *found == key);
    let ledger: Quota = serde_json::from_slice(&ledger.unwrap().1).unwrap();
    assert_eq!(ledger.calls, world.server.asked().len() as u64, "{search}: the ledger");
}

fn waqi(error: &str) -> Reply {
    Reply::json(format!("{{\"status\":\"error\",\"data\":\"{error}\"}}"))
}

#[test]
fn air_quality_behind_every_error_of_its_upstreams() {
    let hours = "07/27/26|19:00|000010601|Goose Bay|-4|OZONE|PPB|38|Canadian Air\n";
    let day = "01/09/23|060290014|Bakersfield|PM2.5-24hr|UG/M3|4.5|24|CARB|19|0|35.3|-119.0|840060290014|\n";
    let plain = |text: &str| Reply::ok("text/plain", text);
    let mut cases = vec![
        Case {
            source: "kind = \"airnow-daily\"\n",
            search: "2023/20230109/daily_data_v2.dat",
            path: "/2023/20230109/daily_data_v2.dat",
            replies: vec![Reply::status(404, ""), Reply::status(503, ""), page(), plain(day)],
            topic: AQI_READINGS,
        },
        Case {
            source: "kind = \"airnow-hourly\"\n",
            search: "2026/HourlyData_2026072719.dat",
            path: "/2026/HourlyData_2026072719.dat",
            replies: vec![Reply::status(500, ""), plain(hours).cut_after(9), plain(hours)],
            topic: AQI_READINGS,
        },
    ];
    for (search, path, file) in [
        ("utrecht", "/feed/utrecht/", "aiowaqi/city_feed_utrecht.json"),
        ("search:klundert", "/search/", "aiowaqi/search_klundert.json"),
    ] {
        let Some(good) = recorded("waqi_api", file) else { continue };
        cases.push(Case {
            source: "kind = \"waqi\"\ntoken = \"t\"\n",
            search,
            path,
            replies: vec![waqi("Over quota"), waqi("Invalid key"), page(), good],
            topic: AQI_READINGS,
        });
    }
    if let Some(good) = recorded("openaq_api", "measurements_1000.json.gz") {
        let slow = Reply::status(429, "").with("retry-after", "60");
        cases.push(Case {
            source: "kind = \"openaq\"\ntoken = \"k\"\npages = 1\n",
            search: "sensors/23534/measurements",
            path: "/sensors/23534/measurements",
            replies: vec![Reply::status(401, "{\"message\":\"Unauthorized\"}"), slow, good],
            topic: AQI_READINGS,
        });
    }
    if let Some(directory) = set("waqi_covid_sample") {
        let file = directory.join("waqi-covid19-airqualitydata-2020_bogota_medellin.csv");
        let good = Reply::ok("text/csv", std::fs::read(file).unwrap());
        cases.push(Case {
            source: "kind = \"aqicn\"\n",
            search: "2020",
            path: "/2020",
            replies: vec![Reply::status(403, ""), page(), good],
            topic: AQI_READINGS,
        });
    }
    cases.into_iter().for_each(check);
}

#[test]
fn listings_and_places_behind_every_error_of_their_upstreams() {
    let geonames = |value: u32, message: &str| {
        Reply::json(format!("{{\"status\":{{\"message\":\"{message}\",\"value\":{value}}}}}"))
    };
    let lahore = r#"{"totalResultsCount":1,"geonames":[{"geonameId":1172451,"name":"Lahore",
        "lat":"31.558","lng":"74.35071","countryCode":"PK","adminName1":"Punjab",
        "population":13004135,"timezone":{"timeZoneId":"Asia/Karachi","gmtOffset":5}}]}"#;
    let mut cases = vec![Case {
        source: "kind = \"geonames\"\ntoken = \"me\"\n",
        search: "Lahore",
        path: "/searchJSON",
        replies: vec![
            geonames(19, "the hourly limit of 1000 credits has been exceeded"),
            geonames(18, "the daily limit of 20000 credits has been exceeded"),
            geonames(22, "server overloaded"),
            geonames(10, "user does not exist."),
            Reply::json(lahore),
        ],
        topic: DATASETS_ROWS,
    }];
    if let Some(good) = recorded("mercadolibre_search", "sites_MLA_search_tele.json") {
        cases.push(Case {
            source: "kind = \"mercadolibre\"\ntoken = \"t\"\npages = 1\n",
            search: "category:MLA1000",
            path: "/sites/MLA/search",
            replies: vec![
                Reply::status(401, "{\"message\":\"invalid access token\",\"status\":401}"),
                Reply::status(403, "{\"code\":\"PA_UNAUTHORIZED_RESULT_FROM_POLICIES\"}"),
                Reply::status(429, "{\"error\":\"too_many_requests\"}").with("retry-after", "5"),
                good,
            ],
            topic: MARKET_LISTINGS,
        });
    }
    cases.into_iter().for_each(check);
}

/// Where every station within bounds is one row, and where a day's file is asked for by its name.
#[test]
fn bounds_and_files_behind_every_error_of_their_upstreams() {
    if let Some(body) = part("waqi_api", "vcr/map_bounds.json", 0, "/body") {
        // That recording is older than their times.
        let mut body = body.to_string();
        let timed = "\"station\":{\"name\":\"s\",\"time\":\"2026-07-27T19:00:00+08:00\"},\"uid\"";
        body = body.replace("\"uid\"", timed);
        check(Case {
            source: "kind = \"waqi\"\ntoken = \"t\"\n",
            search: "bounds:39.379436,116.09123,40.235643,116.784382",
            path: "/map/bounds/",
            replies: vec![
                waqi("Over quota"),
                Reply::json("{\"status\":\"ok\"}"),
                Reply::json(body.clone()).cut_after(100),
                waqi("Invalid key"),
                Reply::json(body),
            ],
            topic: AQI_READINGS,
        });
    }
    if let Some(good) = recorded("epa_daily_sites", "alabama_pm25_2022.csv.gz") {
        check(Case {
            source: "kind = \"airnow\"\n",
            search: "2022/al pm25.csv",
            path: "/2022/al%20pm25.csv",
            replies: vec![Reply::status(404, ""), Reply::status(500, ""), page(), good],
            topic: AQI_READINGS,
        });
    }
}

#[test]
fn items_and_categories_behind_every_error_of_their_shops() {
    const SITE: &str = "kind = \"mercadolibre\"\ntoken = \"t\"\n";
    const ROWS: &str =
        "kind = \"mercadolibre\"\ntoken = \"t\"\nevent = \"dataset-row\"\nid = \"{id}\"\n";
    let forbidden = || {
        Reply::status(403, "{\"status\":403,\"error\":\"access_denied\",\"code\":\"FORBIDDEN\"}")
    };
    let missing = || {
        Reply::json("{\"message\":\"resource not found\",\"error\":\"not_found\",\"status\":404}")
    };
    let busy = || Reply::status(429, "").with("retry-after", "5");
    let expired = || Reply::status(401, "{\"message\":\"invalid access token\",\"status\":401}");
    let names =
        "[{\"id\":\"MLA5725\",\"name\":\"Autos\"},{\"id\":\"MLA1071\",\"name\":\"Mascotas\"}]";
    check(Case {
        source: ROWS,
        search: "categories",
        path: "/sites/MLA/categories",
        replies: vec![forbidden(), expired(), page(), Reply::json(names)],
        topic: DATASETS_ROWS,
    });
    let item = |at| part("mercadolibre_search", "sites_MLA_search_tele.json", 0, at);
    if let (Some(one), Some(two)) = (item("/results/0"), item("/results/1")) {
        let id = one["id"].as_str().unwrap();
        let gone = "{\"code\":404,\"body\":{\"error\":\"not_found\"}}";
        let both =
            format!("[{{\"code\":200,\"body\":{one}}},{gone},{{\"code\":200,\"body\":{two}}}]");
        check(Case {
            source: SITE,
            search: "items:MLA1,MLA2,MLA3",
            path: "/items",
            replies: vec![expired(), forbidden(), missing(), busy(), Reply::json(both)],
            topic: MARKET_LISTINGS,
        });
        check(Case {
            source: SITE,
            search: &format!("item:{id}"),
            path: &format!("/items/{id}"),
            replies: vec![busy(), missing(), forbidden(), page(), Reply::json(one.to_string())],
            topic: MARKET_LISTINGS,
        });
    }
    if let Some(body) = part("mercadona_prices", "raw_valencia/2026-05-27.jsonl.gz", 1, "/body") {
        let body = Reply::json(body.to_string());
        check(Case {
            source: "kind = \"mercadona\"\n",
            search: "100",
            path: "/categories/100/",
            replies: vec![
                Reply::status(403, "<html>denied</html>"),
                Reply::status(503, ""),
                busy(),
                page(),
                Reply::json("{\"errors\":[]}"),
                body.clone().cut_after(500),
                body,
            ],
            topic: MARKET_LISTINGS,
        });
    }
}

#[test]
fn a_marketplace_behind_every_error_that_it_documents() {
    let Some(good) = recorded("ebay_browse", "item_summary_search_iphone_sort_price.json") else {
        return;
    };
    let error = |status: u16, id: u32, category: &str, message: &str| {
        let text = format!(
            "{{\"errors\":[{{\"errorId\":{id},\"domain\":\"API_BROWSE\",\"category\":\"{category}\",\"message\":\"{message}\"}}]}}"
        );
        Reply::status(status, &text)
    };
    check(Case {
        source: "kind = \"ebay\"\nclient_id = \"me\"\nsecret = \"hush\"\npages = 1\n",
        search: "iphone",
        path: "/buy/browse/v1/item_summary/search",
        replies: vec![
            error(401, 1001, "REQUEST", "Invalid access token"),
            error(500, 12_000, "APPLICATION", "There was a problem"),
            error(400, 12_023, "REQUEST", "Too large"),
            error(403, 1100, "REQUEST", "Access denied"),
            error(409, 12_019, "BUSINESS", "The marketplace is not supported"),
            error(500, 2001, "REQUEST", "Too many requests"),
            error(429, 2001, "REQUEST", "Too many requests"),
            Reply::status(429, "").with("retry-after", "30"),
            page(),
            good,
        ],
        topic: MARKET_LISTINGS,
    });
}
