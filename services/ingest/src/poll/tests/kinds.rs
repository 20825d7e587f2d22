//! The kinds that know their upstream, asked over HTTP: each error that the upstream documents is waited
//! for or asked around, and the good answer behind it arrives once.

use super::*;
use tocsin_domain::topics::{AQI_READINGS, DATASETS_ROWS};
use tocsin_testkit::data::set;

/// A kind, what it is asked for, and what its upstream says, the good answer last.
struct Case {
    source: &'static str,
    search: &'static str,
    path: &'static str,
    replies: Vec<Reply>,
    topic: &'static str,
}

/// As recorded; `None` where the recordings are not at hand.
fn recorded(name: &str, file: &str) -> Option<Reply> {
    Some(Reply::json(std::fs::read(set(name)?.join(file)).unwrap()))
}

fn check(case: Case) {
    let Case { source, search, path, replies, topic } = case;
    let (world, calls) = (World::new(""), replies.len());
    world.server.script(path, replies);
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
    let page = || Reply::ok("text/html", "<html>We will be back soon</html>");
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
            replies: vec![
                Reply::status(401, "{\"message\":\"Unauthorized\"}"),
                slow,
                good.with("content-encoding", "gzip"),
            ],
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
