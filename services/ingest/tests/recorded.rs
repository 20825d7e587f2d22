//! What upstreams really answered, through the source of its kind to events, counted against what
//! an independent program found in it: rows, dirt, repeats, ids.
//!
//! EPA's files stand in the repository. The others may not be published; they are read from
//! `TOCSIN_TEST_DATA`, or from `../shared/data` beside the checkout. Without them their tests say
//! that they were not run, or fail where they were promised.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Found, Verdicts, bytes_of, known, read, root, told, with_commas};
use tocsin_domain::Micros;
use tocsin_testkit::data::set;

/// No fact has two ids, and none comes twice.
fn ids(found: &Found) -> usize {
    found.ids.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn waqi_answers_of_every_kind() {
    let Some(directory) = set("waqi_api") else { return };
    let truth = known(&directory, "truth.json");
    let verdicts = Verdicts::of("waqi");
    let (mut feeds, mut lists, mut errors) = (0, 0, 0);
    for (file, known) in truth.as_object().unwrap() {
        let recorded: Value = serde_json::from_slice(&bytes_of(&directory.join(file))).unwrap();
        // One half was recorded with the request around it.
        let body = recorded.get("body").unwrap_or(&recorded).to_string();
        let verdict = verdicts.on("", 200, body.as_bytes());
        let found = read("kind = \"waqi\"\n", file, body.as_bytes());
        match known["kind"].as_str().unwrap() {
            "feed" => {
                check_feed(file, known, &found.unwrap());
                assert_eq!(verdict, "Read", "{file}");
                feeds += 1;
            }
            "list" => {
                let found = found.unwrap();
                let entries = known["entries"].as_u64().unwrap() as usize;
                let dashes = known["aqi_not_a_number"].as_u64().unwrap() as usize;
                let timed = !known["tz_forms"].as_array().unwrap().is_empty();
                // What has no time may be of any day: it is kept apart, and told.
                let wanted = if timed { [entries - dashes, dashes, 0] } else { [0, 0, entries] };
                let counts = [found.readings.len(), found.count("NoValue"), found.dead.len()];
                assert_eq!(counts, wanted, "{file}");
                assert_eq!(verdict, "Read", "{file}");
                lists += 1;
            }
            _ => {
                let message = known["message"].as_str().unwrap();
                let error = found.err().unwrap();
                assert!(error.contains(message), "{file}: {error}");
                let wanted = if message == "Invalid key" { "Refused" } else { "Nothing" };
                assert_eq!(verdict, wanted, "{file}");
                errors += 1;
            }
        }
    }
    assert_eq!((feeds, lists, errors), (19, 5, 6));
}

fn check_feed(file: &str, known: &Value, found: &Found) {
    let mut values: BTreeMap<String, f64> = BTreeMap::new();
    for (name, value) in known["sub_indices"].as_object().unwrap() {
        let name = match name.as_str() {
            "h" => "humidity",
            "t" => "temperature",
            "p" => "pressure",
            "w" => "wind",
            "wg" => "wind-gust",
            "wd" => "wind-direction",
            "d" => "dew",
            other => other,
        };
        values.insert(name.to_owned(), value.as_f64().unwrap());
    }
    if let Some(aqi) = known["aqi"].as_f64() {
        values.insert("aqi".to_owned(), aqi);
    }
    let Some(time) = known["time_utc_from_s_and_tz"].as_str() else {
        assert_eq!(found.readings.len(), 0, "{file}");
        assert_eq!(found.dead.len(), values.len() + 1, "{file}: a dead letter for each, and for -");
        return;
    };
    let time = Micros::parse(time).unwrap();
    let station = known["station"].to_string();
    for reading in &found.readings {
        assert_eq!((reading.time, &reading.subject), (time, &station), "{file}");
        assert_eq!(values.remove(&reading.measure), Some(reading.value), "{file}");
        let index = ["aqi", "pm25", "pm10", "o3", "no2", "so2", "co"];
        let is_index = reading.unit == "AQI-US";
        assert_eq!(is_index, index.contains(&reading.measure.as_str()), "{file} {reading:?}");
    }
    assert!(values.is_empty(), "{file}: {values:?} did not come");
    assert_eq!(found.count("NoValue"), usize::from(known["aqi"].is_null()), "{file}");
    assert_eq!((ids(found), found.dead.len()), (found.readings.len(), 0), "{file}");
}

#[test]
fn aqicn_days_in_no_order_with_names_spelt_twice() {
    let Some(directory) = set("waqi_covid_sample") else { return };
    let truth = known(&directory, "truth.json");
    let file = "waqi-covid19-airqualitydata-2020_bogota_medellin.csv";
    let mut text = bytes_of(&directory.join(file));
    let found = read("kind = \"aqicn\"\n", file, &text).unwrap();
    let rows = truth["rows"].as_u64().unwrap() as usize;
    // Under one name, the same day of a measure is there twice: one fact.
    let facts: BTreeSet<[String; 3]> = csv::Reader::from_reader(text.as_slice())
        .deserialize::<BTreeMap<String, String>>()
        .map(Result::unwrap)
        .map(|row| [row["Date"].clone(), row["City"].clone(), row["Specie"].replace(' ', "-")])
        .collect();
    assert_eq!(facts.len(), rows - 15);
    let counts = [found.rows, found.readings.len(), ids(&found)];
    assert_eq!(counts, [rows, 3 * rows, 3 * facts.len()]);

    let mut species: BTreeMap<String, u64> = BTreeMap::new();
    for (name, count) in truth["species"].as_object().unwrap() {
        *species.entry(name.replace(' ', "-")).or_default() += count.as_u64().unwrap();
    }
    for (name, count) in species {
        for name in [name.clone(), format!("{name}-min"), format!("{name}-max")] {
            let of = found.readings.iter().filter(|reading| reading.measure == name).count();
            assert_eq!(of as u64, count, "{name}");
        }
    }
    let below = found.readings.iter().filter(|r| r.measure.ends_with("-min") && r.value < 0.0);
    assert_eq!(below.count() as u64, truth["negative_minimum"].as_u64().unwrap());

    // A line again, and once with another value: the same facts.
    let line = text.split(|byte| *byte == b'\n').nth(1).unwrap().to_vec();
    text.extend_from_slice(&line);
    text.extend_from_slice(b"\n2020-01-13,CO,Bogot\xc3\xa1,so2,316,0.3,2.9,0.6,1.47\n");
    let again = read("kind = \"aqicn\"\n", file, &text).unwrap();
    assert_eq!((again.readings.len(), ids(&again)), (3 * rows + 6, 3 * facts.len()));
}

#[test]
fn openaq_values_that_are_empty_flagged_or_stand_for_nothing() {
    let Some(directory) = set("openaq_api") else { return };
    let (name, text) = (
        "v3/sensors/23534/measurements?page=1",
        bytes_of(&directory.join("measurements_1000.json.gz")),
    );
    let found = read("kind = \"openaq\"\n", name, &text).unwrap();
    let recorded: Value = serde_json::from_slice(&text).unwrap();
    let rows = recorded["results"].as_array().unwrap();
    let empty = rows.iter().filter(|row| row["value"].is_null()).count();
    let full = rows.len() - empty;
    let counts = [found.readings.len(), found.count("NoValue"), ids(&found), found.dead.len()];
    assert_eq!(counts, [full, empty, full, 0]);
    let sum =
        |values: &mut dyn Iterator<Item = f64>| values.map(|v| (v * 1e6).round()).sum::<f64>();
    let wanted = sum(&mut rows.iter().filter_map(|row| row["value"].as_f64()));
    assert!((sum(&mut found.readings.iter().map(|r| r.value)) - wanted).abs() < 1.0, "each value");
    told(&directory, &format!("{} hours", with_commas(full + found.count("NoValue"))));
    assert!(found.readings.iter().all(|r| r.unit == "ug/m3" && r.subject == "23534"));
    let hours = found.readings.windows(2).all(|two| two[0].time < two[1].time);
    assert!(hours, "an hour that the clocks change is no hour twice");

    let only = "kind = \"openaq\"\n[[sources.only]]\nfield = \"{flagged}\"\nequals = \"false\"\n";
    let found = read(only, name, &text).unwrap();
    let flagged = found.count("Filtered");
    assert_eq!(found.readings.len() + flagged, rows.len());
    told(&directory, &format!("{empty} empty values, all flagged ({flagged} flagged in all)"));

    let text = bytes_of(&directory.join("latest_1000.json.gz"));
    let latest = "kind = \"openaq\"\nmeasure = \"pm25\"\nunit = \"ug/m3\"\n";
    let found = read(latest, "v3/parameters/2/latest", &text).unwrap();
    let recorded: Value = serde_json::from_slice(&text).unwrap();
    let values: Vec<f64> = recorded["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["value"].as_f64())
        .collect();
    let of = |wanted: f64| values.iter().filter(|value| **value == wanted).count();
    let nothing = of(-999.0) + of(-9999.0);
    told(&directory, "among the latest values -999 once, -9999 four times");
    assert_eq!((of(-999.0), of(-9999.0)), (1, 4));
    let full = values.len() - nothing;
    let counts = [found.readings.len(), found.count("NoValue"), ids(&found), found.dead.len()];
    assert_eq!(counts, [full, nothing, full, 0]);
    told(&directory, &format!("{} sensors, ", with_commas(full + nothing)));

    // A page that is full and says that there are more than 1000 is asked on.
    let verdicts = Verdicts::of("openaq");
    let text = bytes_of(&directory.join("measurements_1000.json.gz"));
    let next = verdicts.next("sensors/23534/measurements", &text).unwrap();
    assert!(next.ends_with("/sensors/23534/measurements?limit=1000&page=2"), "{next}");
}

#[test]
fn epa_monitors_in_both_spellings() {
    let directory = root().join("tests/data/epa_daily_sites");
    let truth = known(&directory, "truth.json");
    for (name, measure, unit, averaging) in [
        ("alabama_pm25_2022", "pm25", "ug/m3", "PT24H"),
        ("alabama_pm25_2023", "pm25", "ug/m3", "PT24H"),
        ("new_york_co_2023", "co", "ppm", "PT8H"),
    ] {
        let text = bytes_of(&directory.join(format!("{name}.csv.gz")));
        let found = read("kind = \"airnow\"\n", &format!("{name}.csv"), &text).unwrap();
        let known = &truth[name];
        let rows = known["rows"].as_u64().unwrap() as usize;
        assert_eq!([found.rows, found.readings.len(), ids(&found)], [rows; 3], "{name}");
        assert_eq!(found.dead.len(), 0, "{name}");
        let below = found.readings.iter().filter(|reading| reading.value < 0.0).count();
        assert_eq!(below as u64, known["negative_concentrations"].as_u64().unwrap_or(0), "{name}");
        let monitors: BTreeSet<_> = found.readings.iter().map(|r| &r.subject).collect();
        assert_eq!(monitors.len() as u64, known["monitors"].as_u64().unwrap(), "{name}");
        for reading in &found.readings {
            let said = [&reading.measure, &reading.unit, &reading.averaging].map(String::as_str);
            assert_eq!(said, [measure, unit, averaging], "{name}");
        }
    }
}

#[test]
fn epa_counties_and_areas() {
    let Some(directory) = set("epa_daily_aqi") else { return };
    let example = fs::read_to_string(root().join("examples/epa_daily_aqi.toml")).unwrap();
    for (name, kind) in
        [("daily_aqi_by_county_2020", "counties"), ("daily_aqi_by_cbsa_2020", "areas")]
    {
        let file = format!("{name}.csv");
        let text = bytes_of(&directory.join(format!("{file}.gz")));
        let found = support::read_by(&example, &file, &text).unwrap();
        let rows = found.rows;
        assert_eq!([found.readings.len(), ids(&found)], [rows; 2], "{name}");
        let subjects: BTreeSet<_> = found.readings.iter().map(|r| &r.subject).collect();
        let (rows, subjects) = (with_commas(rows), subjects.len());
        told(&directory, &format!("`{file}` ({rows} rows, {subjects} {kind}, "));
    }
}

fn decimal(value: &Value) -> rust_decimal::Decimal {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().unwrap()
}

#[test]
fn ebay_searches_to_the_cent() {
    let Some(directory) = set("ebay_browse") else { return };
    let truth = known(&directory, "truth.json");
    let verdicts = Verdicts::of("ebay");
    for (file, known) in truth.as_object().unwrap() {
        let text = bytes_of(&directory.join(file));
        let found = read("kind = \"ebay\"\n", file, &text).unwrap();
        let items = known["items"].as_u64().unwrap() as usize;
        assert_eq!([found.listings.len(), ids(&found)], [items; 2], "{file}");
        assert_eq!((found.skipped.len(), found.dead.len()), (0, 0), "{file}");
        let sum: rust_decimal::Decimal = found.listings.iter().map(|l| l.price).sum();
        assert_eq!(sum, decimal(&known["price_sum"]), "{file}");
        let currencies: BTreeSet<_> = found.listings.iter().map(|l| l.currency.as_str()).collect();
        let wanted: BTreeSet<_> =
            known["currencies"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        assert_eq!(currencies, wanted, "{file}");
        let sellers: BTreeSet<_> = found.listings.iter().map(|l| &l.seller).collect();
        assert_eq!(sellers.len() as u64, known["sellers"].as_u64().unwrap(), "{file}");
        assert!(found.listings.iter().all(|l| l.sold.is_none() && !l.title.is_empty()));
        assert_eq!(verdicts.on("iphone", 200, &text), "Read", "{file}");
    }
}

#[test]
fn an_archived_finding_answer_mended_and_as_it_was_found() {
    let Some(directory) = set("ebay_finding") else { return };
    let truth = known(&directory, "truth.json");
    let mended = bytes_of(&directory.join("find_items_by_keywords.json"));
    let wrapped = [b"_cb_findItemsByKeywords_(".as_slice(), &mended, b")"].concat();
    for text in [&mended, &wrapped] {
        let found = read("kind = \"ebay-finding\"\n", "a.json", text).unwrap();
        let [listing] = &found.listings[..] else { panic!("{} items", found.listings.len()) };
        let item = &truth["item"];
        assert_eq!(listing.listing, item["id"]);
        assert_eq!(listing.title, item["title"]);
        assert_eq!((listing.price, &*listing.currency), (decimal(&item["price"]), "USD"));
        assert_eq!(listing.time, Micros::parse(truth["timestamp"].as_str().unwrap()).unwrap());
    }
    let as_found = bytes_of(&directory.join("find_items_by_keywords_as_found.jsonp"));
    let error = read("kind = \"ebay-finding\"\n", "a.jsonp", &as_found).err().unwrap();
    assert!(error.contains("it is not JSON: trailing comma at line"), "{error}");
}

#[test]
fn a_mercadolibre_search_with_all_that_it_says() {
    let Some(directory) = set("mercadolibre_search") else { return };
    let text = bytes_of(&directory.join("sites_MLA_search_tele.json"));
    let recorded: Value = serde_json::from_slice(&text).unwrap();
    let results = recorded["results"].as_array().unwrap();
    let found = read("kind = \"mercadolibre\"\n", "a.json", &text).unwrap();
    let items = found.listings.len();
    assert_eq!([results.len(), ids(&found)], [items; 2]);
    told(&directory, &format!("\n{items} items: "));
    for (listing, result) in found.listings.iter().zip(results) {
        assert_eq!(listing.listing, result["id"]);
        assert_eq!(listing.price, decimal(&result["price"]));
        assert_eq!(listing.sold, result["sold_quantity"].as_i64());
        assert_eq!(listing.available, result["available_quantity"].as_i64());
        assert_eq!(
            (&*listing.currency, &listing.seller),
            ("ARS", &result["seller"]["id"].to_string())
        );
    }
    // Today's answers do not say how many were sold: unknown is not none.
    let mut today = recorded.clone();
    for result in today["results"].as_array_mut().unwrap() {
        result.as_object_mut().unwrap().remove("sold_quantity");
    }
    let found = read("kind = \"mercadolibre\"\n", "a.json", today.to_string().as_bytes()).unwrap();
    assert_eq!(found.listings.iter().filter(|listing| listing.sold.is_none()).count(), items);
    assert_eq!(found.dead.len(), 0);
}

type Products = BTreeMap<(String, String, rust_decimal::Decimal), usize>;

#[test]
fn mercadonas_raw_answers_are_its_table() {
    let Some(directory) = set("mercadona_prices") else { return };
    let mut checked = 0;
    for day in 27..=31 {
        let day = format!("2026-05-{day}");
        let raw = bytes_of(&directory.join(format!("raw_valencia/{day}.jsonl.gz")));
        let config = format!("kind = \"mercadona\"\nlines = true\ntime = \"{day}\"\n");
        let found = read(&config, &format!("{day}.jsonl"), &raw).unwrap();
        assert_eq!((found.dead.len(), found.skipped.len()), (0, 0), "{day}");
        let mut products = Products::new();
        for l in &found.listings {
            assert_eq!(
                (&*l.currency, l.time),
                ("EUR", Micros::parse(&format!("{day}T00:00:00Z")).unwrap())
            );
            *products.entry((l.listing.clone(), l.title.clone(), l.price)).or_default() += 1;
        }
        let table = bytes_of(&directory.join(format!("snapshots/{day}_valencia_46001.csv.gz")));
        let table = table_of(&table);
        assert!(products.keys().eq(table.keys()), "{day}");
        // The answers have some products twice, in two categories: the table has each once, and so
        // do ids.
        assert!(table.values().all(|times| *times == 1), "{day}");
        let repeats = found.listings.len() - products.len();
        assert!((254..=258).contains(&repeats), "{day}: {repeats}");
        assert_eq!(ids(&found), table.len(), "{day}");
        checked += table.len();
    }
    assert_eq!(checked, 21_789);
}

fn table_of(bytes: &[u8]) -> Products {
    let mut found = Products::new();
    for row in csv::Reader::from_reader(bytes).deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let price: rust_decimal::Decimal = row["precio"].parse().unwrap();
        let key = (row["id_producto"].clone(), row["producto"].clone(), price.normalize());
        *found.entry(key).or_default() += 1;
    }
    found
}

/// The file is what it is, wherever it stands.
#[test]
fn a_file_read_twice_gives_the_same_ids() {
    let path: PathBuf = root().join("tests/data/epa_daily_sites/new_york_co_2023.csv.gz");
    let text = bytes_of(Path::new(&path));
    let ids = |name| read("kind = \"airnow\"\n", name, &text).unwrap().ids;
    assert_eq!(ids("a.csv"), ids("b.csv"));
}

#[test]
fn the_examples_read_what_they_name() {
    for (example, file, name, events) in [
        ("waqi", "waqi_api/aiowaqi/city_feed_klundert.json", "city_feed_klundert.json", 8),
        (
            "aqicn",
            "waqi_covid_sample/waqi-covid19-airqualitydata-2020_bogota_medellin.csv",
            "waqi-covid19-airqualitydata-2020_bogota_medellin.csv",
            5997,
        ),
        ("openaq", "openaq_api/latest_1000.json.gz", "latest_1000.json", 995),
        ("openaq", "openaq_api/measurements_1000.json.gz", "measurements_1000.json", 780),
        (
            "mercadona",
            "mercadona_prices/raw_valencia/2026-05-27.jsonl.gz",
            "2026-05-27.jsonl",
            4607,
        ),
        (
            "ebay",
            "ebay_browse/item_summary_search_iphone_best_match.json",
            "item_summary_search_iphone_best_match.json",
            100,
        ),
        (
            "ebay_finding",
            "ebay_finding/find_items_by_keywords.json",
            "find_items_by_keywords.json",
            1,
        ),
    ] {
        let text = fs::read_to_string(root().join(format!("examples/{example}.toml"))).unwrap();
        let (directory, file) = file.split_once('/').unwrap();
        let Some(directory) = set(directory) else { continue };
        let found = support::read_by(&text, name, &bytes_of(&directory.join(file))).unwrap();
        assert_eq!((found.readings.len(), found.dead.len()), (events, 0), "{example} {name}");
    }
}
