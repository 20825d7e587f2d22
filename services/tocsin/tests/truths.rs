//! Known answers: recorded real data through the same path as `tocsin backtest`, with the
//! configurations of `examples/`; some of it by import and `tocsin up` too, on one machine and on a cluster.
//!
//! The EPA and UCI sets that may be published stand in the repository. The big ones are read from
//! `TOCSIN_TEST_DATA`, or from `../shared/data` beside the checkout; without them their tests say
//! that they were not run, or fail where they were promised.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::world::{Backend, World};
use support::{root, until};
use tocsin::command::backtest::backtest;
use tocsin::settings::Settings;
use tocsin::{facts, report};
use tocsin_domain::{TopicPartition, topics};
use tocsin_stream::{LogError, Record};
use tocsin_testkit::data::set;

fn known(directory: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join(file)).unwrap()).unwrap()
}

/// Fails unless whoever recorded the set has said so in its description, where there is no `truth.json`.
fn told(directory: &Path, words: &str) {
    let text = std::fs::read_to_string(directory.join("README.md")).unwrap();
    let at = directory.display();
    assert!(text.contains(words), "{words:?} was found, which is not what README.md in {at} says");
}

/// What a configuration of `examples/` finds in the files, as the JSON that users see.
fn found(example: &str, files: &[PathBuf]) -> Value {
    let path = root().join("examples").join(example);
    let settings = Settings::load(&path, facts::now()).unwrap();
    serde_json::to_value(backtest(&settings, None, files, facts::now()).unwrap()).unwrap()
}

/// How many alerts a detector raised, by subject.
fn raised(report: &Value, detector: &str) -> BTreeMap<String, u64> {
    let mut by_subject = BTreeMap::new();
    for alert in report["alerts"].as_array().unwrap() {
        if alert["detector"] == detector && alert["state"] == "raised" {
            *by_subject.entry(alert["subject"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    by_subject
}

fn total(report: &Value, detector: &str) -> u64 {
    raised(report, detector).values().sum()
}

fn counts(value: &Value) -> BTreeMap<String, u64> {
    let object = value.as_object().unwrap();
    object.iter().map(|(key, count)| (key.clone(), count.as_u64().unwrap())).collect()
}

fn own(set: &str) -> PathBuf {
    root().join("tests/data").join(set)
}

/// The example's sources, with `detectors` instead of its own.
fn with_detectors(example: &str, detectors: &str) -> String {
    let text = std::fs::read_to_string(root().join("examples").join(example)).unwrap();
    format!("{detectors}\n{}", text.split("[[detectors]]").next().unwrap())
}

/// As [`found`], with `detectors` instead of those of the example.
fn found_with(example: &str, detectors: &str, files: &[PathBuf]) -> Value {
    let settings = Settings::parse(&with_detectors(example, detectors), example, facts::now());
    let report = backtest(&settings.unwrap(), None, files, facts::now()).unwrap();
    serde_json::to_value(report).unwrap()
}

/// The way from a file to alerts.
#[derive(Clone, Copy)]
enum Way {
    Backtest,
    /// As a user has it: `tocsin import` beside `tocsin up`.
    Up(Backend),
}

/// The alerts that come that way.
fn found_by(way: Way, example: &str, detectors: &str, file: &Path) -> Value {
    let Way::Up(backend) = way else {
        return found_with(example, detectors, &[file.to_owned()]);
    };
    let world = World::new(backend, &with_detectors(example, detectors));
    world.prepare();
    let up = world.up_with_probes();
    let settings = world.settings();
    let source = settings.sources.iter().find(|source| source.takes(file)).unwrap();
    let mut import = world.command(&["import", "--source", &source.name]);
    let imported = import.arg(file).output().unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stdout));
    let (log, mut events) = (world.log(), 0);
    for partition in 0..log.partitions(topics::AQI_READINGS).unwrap() {
        let at = TopicPartition::new(topics::AQI_READINGS, partition);
        let count = |_: &Record<'_>| {
            events += 1;
            Ok::<(), LogError>(())
        };
        log.scan_all(&at, count).unwrap();
    }
    until("every event was judged", || {
        up.metric("tocsin_records_total", "service=\"detect\"") >= f64::from(events)
    });
    assert_eq!(up.terminate(), Some(0));
    serde_json::json!({ "alerts": report::alerts(&*log).unwrap() })
}

fn threshold(name: &str, measure: &str, limits: (f64, f64), more: &str) -> String {
    let (raise, clear) = limits;
    format!(
        "[[detectors]]\nname = \"{name}\"\nkind = \"threshold\"\nmeasure = \"{measure}\"\nraise_above = {raise}\nclear_below = {clear}\n{more}\n"
    )
}

fn anomaly(
    name: &str,
    measure: &str,
    (window, minimum, deviations): (u32, u32, u32),
    more: &str,
) -> String {
    format!(
        "[[detectors]]\nname = \"{name}\"\nkind = \"anomaly\"\nmeasure = \"{measure}\"\nwindow = {window}\nminimum = {minimum}\ndeviations = {deviations}\n{more}\n"
    )
}

const INDEX: &str = "index = \"us-epa\"";

const EPA: [(&str, &str, &str, &str, &str); 3] = [
    ("alabama_pm25_2022", "pm25", "Daily Mean PM2.5 Concentration", "Daily AQI Value", "Date"),
    ("alabama_pm25_2023", "pm25", "Daily Mean PM2.5 Concentration", "Daily AQI Value", "Date"),
    ("new_york_co_2023", "co", "Coconcentration", "DAILY_AQI_VALUE", "Date"),
];

fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    csv::Reader::from_reader(file).deserialize().map(Result::unwrap).collect()
}

#[test]
fn the_index_of_every_epa_row_is_epas_own() {
    let mut checked = 0;
    for (file, measure, _, index, date) in EPA {
        let path = own("epa_daily_sites").join(format!("{file}.csv.gz"));
        // Every reading is over a limit below zero, and `level` tells each of them.
        let every = format!(
            "[[detectors]]\nname = \"every\"\nkind = \"threshold\"\nmeasure = \"{measure}\"\n{INDEX}\nreport = \"level\"\nraise_above = -1\nclear_below = -2\n"
        );
        let report = found_with("epa_daily_sites.toml", &every, std::slice::from_ref(&path));
        let alerts = report["alerts"].as_array().unwrap();
        let mut found: BTreeMap<(String, String), String> = alerts
            .iter()
            .map(|alert| {
                let text = |key: &str| alert[key].as_str().unwrap().to_owned();
                let day = text("event_time")[..10].to_owned();
                ((text("subject"), day), text("value"))
            })
            .collect();
        for row in rows(&path) {
            let day: Vec<&str> = row[date].split(['/', '-']).collect();
            let day = format!("{}-{}-{}", day[2], day[0], day[1]);
            let subject = format!("{}/{}", row["Site ID"], row["POC"]);
            let value = found.remove(&(subject.clone(), day.clone()));
            assert_eq!(value.as_ref(), Some(&row[index]), "{file} {subject} {day}");
            checked += 1;
        }
        assert!(found.is_empty());
    }
    assert_eq!(checked, 6970 + 6904 + 364);
}

#[test]
fn epa_alerts_and_anomalies_of_every_monitor() {
    check_epa(Way::Backtest);
}

#[test]
fn epa_alerts_and_anomalies_of_every_monitor_on_one_machine() {
    check_epa(Way::Up(Backend::OneMachine));
}

#[test]
fn epa_alerts_and_anomalies_of_every_monitor_on_a_cluster() {
    check_epa(Way::Up(Backend::Cluster));
}

fn check_epa(way: Way) {
    let truth = known(&own("epa_daily_sites"), "truth.json");
    // A year of a measure is enough for what takes its time.
    let files = if let Way::Up(_) = way { &EPA[1..] } else { &EPA[..] };
    for (file, measure, ..) in files {
        let file = *file;
        let path = own("epa_daily_sites").join(format!("{file}.csv.gz"));
        let mut detectors = anomaly("z", measure, (30, 10, 3), INDEX);
        for (raise, clear) in [(50, 45), (100, 90), (150, 135)] {
            let limits = (f64::from(raise), f64::from(clear));
            detectors += &threshold(&format!("over-{raise}"), measure, limits, INDEX);
        }
        let report = found_by(way, "epa_daily_sites.toml", &detectors, &path);
        for (raise, clear) in [(50, 45), (100, 90), (150, 135)] {
            let known = &truth[file]["alerts"][format!("raise_above_{raise}_clear_below_{clear}")];
            let found = raised(&report, &format!("over-{raise}"));
            assert_eq!(found, counts(&known["per_monitor"]), "{file} {raise}");
        }
        let known = &truth[file]["trailing_z_W30_M10_K3"];
        assert_eq!(raised(&report, "z"), counts(&known["per_monitor"]), "{file} z");
    }
}

#[test]
fn shuffled_within_the_lateness_and_doubled_the_alerts_are_the_same() {
    let path = own("epa_daily_sites").join("alabama_pm25_2023.csv.gz");
    let mut text = String::new();
    let mut file = flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap());
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    let (header, body) = text.split_once('\n').unwrap();
    let mut lines: Vec<&str> = body.lines().chain(body.lines().step_by(3)).collect();
    let mut seed = 42u64;
    for i in (1..lines.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        lines.swap(i, (seed >> 33) as usize % (i + 1));
    }
    let directory = tempfile::tempdir().unwrap();
    let shuffled = directory.path().join("shuffled_pm25_2023.csv");
    std::fs::write(&shuffled, format!("{header}\n{}\n", lines.join("\n"))).unwrap();

    let detectors =
        threshold("over", "pm25", (50.0, 45.0), INDEX) + &anomaly("z", "pm25", (30, 10, 3), INDEX);
    let late = format!("[topics.\"aqi.readings\"]\nallowed_lateness = \"400d\"\n{detectors}");
    let ordered = found_with("epa_daily_sites.toml", &detectors, &[path]);
    let mixed = found_with("epa_daily_sites.toml", &late, &[shuffled]);
    assert_eq!(mixed["late_events"], 0);
    assert_eq!(mixed["duplicates"], body.lines().step_by(3).count());
    let plain = |report: &Value| -> Vec<Value> {
        let mut alerts = report["alerts"].as_array().unwrap().clone();
        // Where a record stands is all that may differ.
        alerts.iter_mut().for_each(|alert| alert["evidence"]["positions"] = Value::Null);
        alerts
    };
    assert_eq!(plain(&ordered), plain(&mixed));
}

#[test]
fn a_dirty_csv_of_uci() {
    let path = own("uci_air_quality").join("AirQualityUCI.csv.gz");
    let report = check_uci(Way::Backtest, &path);
    let file = &report["sources"][0];
    assert_eq!((&file["blank"], &file["dead_letters"]), (&114.into(), &0.into()));
    let truth = known(&own("uci_air_quality"), "truth.json");
    let values: u64 = ["CO(GT)", "NO2(GT)", "C6H6(GT)"]
        .iter()
        .map(|c| truth[c]["values"].as_u64().unwrap())
        .sum();
    assert_eq!(file["events"], values);
}

#[test]
fn a_dirty_csv_of_uci_on_one_machine_and_on_a_cluster() {
    let path = own("uci_air_quality").join("AirQualityUCI.csv.gz");
    for backend in [Backend::OneMachine, Backend::Cluster] {
        check_uci(Way::Up(backend), &path);
    }
}

fn check_uci(way: Way, path: &Path) -> Value {
    let truth = known(&own("uci_air_quality"), "truth.json");
    let detectors = [
        threshold("co", "co", (4.0, 3.6), ""),
        threshold("no2", "no2", (200.0, 180.0), ""),
        anomaly("z-co", "co", (168, 24, 3), ""),
        anomaly("z-no2", "no2", (168, 24, 3), ""),
        anomaly("z-c6h6", "c6h6", (168, 24, 3), ""),
    ];
    let report = found_by(way, "uci_air_quality.toml", &detectors.concat(), path);
    assert_eq!(total(&report, "co"), truth["co_alerts"]["above_4_clear_below_3.6"]);
    assert_eq!(total(&report, "no2"), truth["no2_alerts"]["above_200_clear_below_180"]);
    for (detector, column) in [("z-co", "CO(GT)"), ("z-no2", "NO2(GT)"), ("z-c6h6", "C6H6(GT)")] {
        assert_eq!(total(&report, detector), truth[column]["trailing_z_W168_M24_K3"], "{column}");
    }
    report
}

const DAILY: &str = "mean_over = \"1d\"\nmin_values = 18\ntime_zone = \"Asia/Shanghai\"\naveraging = \"PT24H\"\nindex = \"us-epa\"";

fn beijing_detectors() -> String {
    let mut detectors = anomaly("z", "pm25", (168, 24, 4), "");
    for limits in [(35.4, 31.86), (55.4, 49.86), (125.4, 112.86)] {
        detectors += &threshold(&format!("hourly-{}", limits.0), "pm25", limits, "");
    }
    for limits in [(100.0, 90.0), (150.0, 135.0), (200.0, 180.0)] {
        detectors += &threshold(&format!("daily-{}", limits.0), "pm25", limits, DAILY);
    }
    detectors
}

fn check_beijing(report: &Value, truth: &Value, subject: &str) {
    let count = |detector: &str| raised(report, detector).get(subject).copied().unwrap_or(0);
    for (raise, clear) in [("35.4", "31.86"), ("55.4", "49.86"), ("125.4", "112.86")] {
        let known = &truth["alerts_hourly_pm25"][format!("above_{raise}_clear_{clear}")]["alerts"];
        assert_eq!(count(&format!("hourly-{raise}")), *known, "{subject} hourly {raise}");
    }
    for (raise, clear) in [("100", "90"), ("150", "135"), ("200", "180")] {
        let known = &truth["alerts_daily_aqi"][format!("above_{raise}_clear_{clear}")]["alerts"];
        assert_eq!(count(&format!("daily-{raise}")), *known, "{subject} daily {raise}");
    }
    assert_eq!(count("z"), truth["hourly_trailing_z_W168_M24_K4"]["flags"], "{subject} z");
}

#[test]
fn twelve_stations_in_beijing() {
    let Some(directory) = set("beijing_multisite") else { return };
    let truth = known(&directory, "truth.json");
    let stations = truth["files"].as_object().unwrap();
    let files: Vec<PathBuf> =
        stations.keys().map(|file| directory.join(format!("{file}.csv.gz"))).collect();
    let report = found_with("beijing_multisite.toml", &beijing_detectors(), &files);
    assert_eq!(report["late_events"], 0, "one file a station is no reason for lateness");
    for truth in stations.values() {
        check_beijing(&report, truth, truth["station"].as_str().unwrap());
    }
}

#[test]
fn one_long_stream_from_beijing() {
    let Some(directory) = set("beijing_pm25_2010_2014") else { return };
    let truth = known(&directory, "truth.json");
    let source = r#"
[[sources]]
name = "embassy"
kind = "csv"
event = "reading"
subject = "US Embassy Beijing"
time = "{year}-{month}-{day} {hour}:00"
time_zone = "Asia/Shanghai"
measure = "pm25"
value = "{pm2.5}"
unit = "ug/m3"
"#;
    let text = beijing_detectors() + source;
    let settings = Settings::parse(&text, "embassy", facts::now()).unwrap();
    let files = [directory.join("PRSA_data_2010.1.1-2014.12.31.csv.gz")];
    let report = backtest(&settings, None, &files, facts::now()).unwrap();
    let report = serde_json::to_value(report).unwrap();
    let truth = truth["files"].as_object().unwrap().values().next().unwrap().clone();
    check_beijing(&report, &truth, "US Embassy Beijing");
}

/// Revenue and units of every product in every window that was closed, by window and product.
type Windows = BTreeMap<String, BTreeMap<String, (rust_decimal::Decimal, u64)>>;

fn windows(report: &Value, detector: &str, digits: usize) -> Windows {
    let mut windows = Windows::new();
    for alert in report["alerts"].as_array().unwrap() {
        if alert["detector"] != detector || alert["state"] != "cleared" {
            continue;
        }
        let figures = &alert["evidence"]["figures"];
        let text = |key: &str| figures[key].as_str().unwrap();
        let start: jiff::Timestamp = text("window-start").parse().unwrap();
        let local = start.in_tz("Europe/London").unwrap().strftime("%Y-%m-%d %H").to_string();
        let product = alert["subject"].as_str().unwrap().to_owned();
        let money = text("revenue").split(' ').next().unwrap();
        let totals = (money.parse().unwrap(), text("units").parse().unwrap());
        windows.entry(local[..digits].to_owned()).or_default().insert(product, totals);
    }
    windows
}

#[test]
fn high_volume_hours_and_days_to_the_cent() {
    let Some(directory) = set("uci_online_retail") else { return };
    let window = |name: &str, window: &str, measure: &str, compare: &str, limit: &str| {
        let currency = if measure == "revenue" { "currency = \"GBP\"" } else { "" };
        format!(
            "[[detectors]]\nname = \"{name}\"\nkind = \"high-volume-sales\"\nby = \"window\"\nwindow = \"{window}\"\ntime_zone = \"Europe/London\"\nmeasure = \"{measure}\"\nlimit = \"{limit}\"\ncompare = \"{compare}\"\n{currency}\n"
        )
    };
    let cases = [
        ("hour", "revenue", 500),
        ("hour", "revenue", 1000),
        ("hour", "units", 500),
        ("hour", "units", 1000),
        ("day", "revenue", 1000),
        ("day", "units", 1000),
        ("day", "units", 5000),
    ];
    let mut detectors = window("every-hour", "1h", "revenue", ">", "0");
    detectors += &window("every-day", "1d", "revenue", ">", "0");
    for (length, measure, limit) in cases {
        let name = format!("{length} {measure} >= {limit}");
        let length = if length == "hour" { "1h" } else { "1d" };
        detectors += &window(&name, length, measure, ">=", &limit.to_string());
    }
    let file = directory.join("online_retail.csv.gz");
    let report = found_with("online_retail.toml", &detectors, &[file]);
    let truth = known(&directory, "truth.json");
    for (name, known) in counts(&truth["windows"]["high_volume_alerts"]) {
        assert_eq!(total(&report, &name), known, "{name}");
    }
    let hours = windows(&report, "every-hour", 13);
    let known_hours = known(&directory, "truth_top_per_hour.json");
    assert_eq!(hours.len(), known_hours.as_object().unwrap().len());
    for (hour, products) in &hours {
        let [(product, (revenue, units)), ..] = top(products)[..] else {
            panic!("{hour} is empty")
        };
        let sum: rust_decimal::Decimal = products.values().map(|(revenue, _)| revenue).sum();
        let known = &known_hours[hour];
        let money =
            |value: &Value| value.as_str().unwrap().parse::<rust_decimal::Decimal>().unwrap();
        assert_eq!(
            (product, revenue, units),
            (known[0].as_str().unwrap(), money(&known[1]), known[2].as_u64().unwrap()),
            "{hour}"
        );
        assert_eq!(
            (sum, products.len() as u64),
            (money(&known[3]), known[4].as_u64().unwrap()),
            "{hour}"
        );
    }
    let days = windows(&report, "every-day", 10);
    let known_days = known(&directory, "truth_top_per_day.json");
    assert_eq!(days.len(), known_days.as_object().unwrap().len());
    for (day, products) in &days {
        let five: Vec<Value> = top(products)
            .into_iter()
            .take(5)
            .map(|(product, (revenue, units))| {
                serde_json::json!([product, revenue.to_string(), units])
            })
            .collect();
        let plain = |row: &Value| {
            let revenue: rust_decimal::Decimal = row[1].as_str().unwrap().parse().unwrap();
            (row[0].clone(), revenue, row[2].clone())
        };
        let known: Vec<_> = known_days[day].as_array().unwrap().iter().map(plain).collect();
        assert_eq!(five.iter().map(plain).collect::<Vec<_>>(), known, "{day}");
    }
}

/// Products by revenue, the largest first; ties by name.
fn top(
    products: &BTreeMap<String, (rust_decimal::Decimal, u64)>,
) -> Vec<(&str, (rust_decimal::Decimal, u64))> {
    let mut all: Vec<_> = products.iter().map(|(name, totals)| (name.as_str(), *totals)).collect();
    all.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(b.0)));
    all
}

#[test]
fn a_file_that_runs_backwards_from_india() {
    let Some(directory) = set("india_cpcb") else { return };
    let report = found("india_cpcb.toml", &[directory.join("city_day.csv.gz")]);
    let name = report["alerts"][0]["detector"].as_str().unwrap();
    assert_eq!(report["late_events"], 0);
    let alerts = total(&report, name);
    told(&directory, &format!("at 100 ({},{:03}; ", alerts / 1_000, alerts % 1_000));
}

#[test]
fn counties_and_areas_of_epa() {
    let Some(directory) = set("epa_daily_aqi") else { return };
    let mut flags = Vec::new();
    for file in ["daily_aqi_by_county_2020", "daily_aqi_by_cbsa_2020"] {
        let mut detectors = String::new();
        for (raise, clear) in [(100.0, 90.0), (150.0, 135.0), (50.0, 45.0)] {
            detectors += &threshold(&format!("over-{raise}"), "aqi", (raise, clear), "");
        }
        detectors += &anomaly("z", "aqi", (30, 10, 3), "");
        let path = directory.join(format!("{file}.csv.gz"));
        let report = found_with("epa_daily_aqi.toml", &detectors, &[path]);
        if file.contains("county") {
            let [over_100, over_150, over_50] =
                ["over-100", "over-150", "over-50"].map(|name| total(&report, name));
            let (thousands, rest) = (over_50 / 1_000, over_50 % 1_000);
            let above = format!(
                "{over_100} county alerts above 100 (clear below 90), {over_150} above 150 (clear \
                 below 135), {thousands},{rest:03} above 50"
            );
            told(&directory, &above);
        }
        flags.push(total(&report, "z"));
    }
    told(&directory, &format!("trailing-z flags {} and {},", flags[0], flags[1]));
}
