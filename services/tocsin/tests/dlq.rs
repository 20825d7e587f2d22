//! Dead letters as a user has them: a dirty file, the list, one letter, a corrected configuration, a dry
//! run, a redrive that gives each event and each mail once, however often it is killed; dropping; a
//! source that is paused; and the page. On one machine, and the same on a cluster. Then what was pushed,
//! and the rows of data sets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use support::said::{Said, run};
use support::world::{Backend, World};
use support::{get, page, root, scan, until};
use tocsin_domain::dead_letter::escaped;
use tocsin_domain::{topics, wire};
use tocsin_stream::Log;
use tocsin_testkit::smtp::{Faults, SmtpServer};

/// One station writes its days as nobody else does; a terminal would obey one of the rows.
const ROWS: &str = "station,time,pm25\n\
    Market,2024-03-01T07:00:00Z,20\n\
    Harbour,01.03.2024 08:00,20\n\
    Harbour,01.03.2024 09:00,61.5\n\
    Harbour,01.03.2024 09:00,61.5\n\
    Harbour,01.03.2024 10:00,30\n\
    Hill,\x1b[31m\u{202e}soon<script>,70\n";

const SOURCE: &str = r#"
[[sources]]
name = "stations"
kind = "csv"
event = "reading"
subject = "{station}"
time = "{time}"
measure = "pm25"
value = "{pm25}"
unit = "ug/m3"
"#;

const CORRECTED: &str = "time_format = [\"%d.%m.%Y %H:%M\", \"%Y-%m-%dT%H:%M:%SZ\"]\n";

const DETECTOR: &str = r#"
[[detectors]]
name = "dusty"
kind = "threshold"
measure = "pm25"
raise_above = 55
clear_below = 45
[[watches]]
email = "ada@example.org"
detector = "dusty"
"#;

fn dlq(world: &World, words: &[&str]) -> Said {
    run(&mut world.command(&[&["dlq"], words].concat()))
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err))
}

fn import(world: &World, file: &str) -> Said {
    let mut command = world.command(&["import", "--source", "stations"]);
    run(command.arg(world.path(file)))
}

fn rewrite(world: &World, from: &str, to: &str) {
    let text = std::fs::read_to_string(world.config()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(world.config(), text.replace(from, to)).unwrap();
}

/// How often each fact stands in a topic, by its id.
fn facts(log: &dyn Log, topic: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    scan(log, topic, |_, value| {
        *found.entry(wire::id_of(value).unwrap().to_string()).or_default() += 1;
    });
    found
}

/// The group's hash by a word of its shape.
fn group(world: &World, word: &str) -> String {
    let list = json(&dlq(world, &["list", "--json"]).ended(0, &[]));
    let all = list["groups"].as_array().unwrap();
    let fitting = all.iter().find(|group| group["shape"].as_str().unwrap().contains(word));
    fitting.unwrap_or_else(|| panic!("{word}: {list}"))["hash"].as_str().unwrap().to_owned()
}

#[test]
fn what_was_dead_comes_back_once_with_its_mails() {
    whole_way(Backend::OneMachine);
}

#[test]
fn what_was_dead_comes_back_once_with_its_mails_on_a_cluster() {
    whole_way(Backend::Cluster);
}

fn whole_way(backend: Backend) {
    let server = SmtpServer::start(Faults::new()).unwrap();
    let mail = format!(
        "[channels.email]\ntransport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        server.port()
    );
    let world = World::new(backend, &format!("{mail}{SOURCE}{DETECTOR}"));
    world.prepare();
    std::fs::write(world.path("rows.csv"), ROWS).unwrap();
    let (_up, url) = world.up();

    let imported = import(&world, "rows.csv").ended(5, &["6 rows (1 read, 0 left out, 0 blank"]);
    assert!(
        imported.out.contains("0 without any value, 5 dead letters), 1 events"),
        "{}",
        imported.out
    );
    let hash = group(&world, "is not a time");
    let list = dlq(&world, &["list"]).ended(0, &[&hash, "     5  ingest aqi.readings time: "]);
    assert!(list.out.contains("5 letters in 1 groups"), "{}", list.out);
    let listed = dlq(&world, &["list", "--group", &hash, "--json"]);
    let letters = json(&listed)["letters"].as_array().unwrap().clone();
    assert!(listed.out.is_ascii(), "{}", listed.out);
    let of = |row: &str| {
        let letter = letters.iter().find(|letter| letter["origin"] == row).unwrap();
        letter["id"].as_str().unwrap().to_owned()
    };

    let hostile = dlq(&world, &["show", &of("rows.csv:7")]).ended(
        0,
        &["stood at  rows.csv:7", "Hill,\\u{1b}[31m\\u{202e}soon<script>,70\\n", "still dead"],
    );
    assert!(!hostile.out.contains(['\u{1b}', '\u{202e}']), "{:?}", hostile.out);
    dlq(&world, &["redrive", &hash]).ended(5, &["0 events would be written", "5 still dead"]);

    rewrite(&world, "unit = \"ug/m3\"\n", &format!("unit = \"ug/m3\"\n{CORRECTED}"));
    let plan = dlq(&world, &["redrive", &hash, "--json"]).ended(5, &["1 letters are still dead"]);
    let plan = json(&plan);
    assert_eq!(
        (&plan["done"], &plan["sum"]["written"], &plan["sum"]["present"]),
        (&false.into(), &3.into(), &1.into())
    );
    let log = world.log();
    assert_eq!(facts(&*log, topics::AQI_READINGS).len(), 1, "a plan writes nothing");
    dlq(&world, &["show", &of("rows.csv:4")]).ended(0, &["would write", "to aqi.readings"]);

    // What a killed redrive has committed is not done again; what it has not, is.
    let mut killed = world.command(&["dlq", "redrive", &hash, "--yes"]);
    let step = if backend == Backend::OneMachine { "inside-commit:1" } else { "none:1" };
    let first = run(killed.env("TOCSIN_CRASH_AT", step));
    if backend == Backend::OneMachine {
        assert_eq!(first.code, None, "it was killed: {}{}", first.out, first.err);
        dlq(&world, &["redrive", &hash, "--yes"]).ended(5, &["3 events written, 1 there already"]);
    }
    assert!(server.wait_for(2, Duration::from_secs(60)), "raised and cleared");
    dlq(&world, &["redrive", &hash, "--yes"]).ended(5, &["1 letters: 0 events written"]);
    import(&world, "rows.csv").ended(0, &["already imported"]);
    let events = facts(&*log, topics::AQI_READINGS);
    let planned = plan["letters"].as_array().unwrap().iter();
    let planned = planned.flat_map(|letter| letter["written"].as_array().unwrap());
    assert!(planned.clone().all(|id| events[id.as_str().unwrap()] == 1), "{events:?}");
    assert_eq!((events.len(), planned.count()), (4, 3));

    dlq(&world, &["redrive", &of("rows.csv:4")]).ended(5, &["is redriven already"]);
    shown_on_pages(&url, &hash);
    dropped(&world, &of("rows.csv:7"));
    let groups = get(&format!("{url}/api/v1/dead-letters/groups?state=all"));
    assert_eq!(groups["items"][0]["count"], 5, "{groups}");
    assert_eq!(server.accepted().len(), 2, "each mail once");
}

/// Four of five letters were redriven; one cannot be.
fn shown_on_pages(url: &str, hash: &str) {
    let shown = page(&format!("{url}/dead-letters/{hash}?state=all"));
    for part in [
        "Hill,\\u{1b}[31m\\u{202e}soon&#60;script&#62;,70",
        "5 × time",
        "rows.csv:4",
        "redriven in vain",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(!shown.contains("<script") && !shown.contains('\u{1b}'), "{shown}");
    assert!(page(&format!("{url}/dead-letters")).contains("1 × time"));
    let today = get(&format!("{url}/api/v1/dead-letters"));
    let states = |answer: &Value| answer["items"].as_array().unwrap().len();
    assert_eq!(states(&today), 1, "{today}");
    assert_eq!(states(&get(&format!("{url}/api/v1/dead-letters?state=all"))), 5);
}

fn dropped(world: &World, id: &str) {
    dlq(world, &["drop", id, "--reason", " "]).ended(3, &["--reason is empty"]);
    dlq(world, &["drop", id, "--reason", "a joke"]).ended(0, &["dropped: 1 letters"]);
    dlq(world, &["drop", id, "--reason", "a joke"]).ended(5, &["is dropped already"]);
    dlq(world, &["show", id]).ended(0, &["decided   dropped by ", ": a joke"]);
    dlq(world, &["list"]).ended(0, &["0 letters in 0 groups"]);
}

#[test]
fn a_redrive_that_is_killed_again_and_again_writes_each_event_once() {
    let world = World::new(Backend::OneMachine, &format!("{SOURCE}pause_above = \"100%\"\n"));
    let rows =
        (0..1_200).map(|i| format!("s{},{:02}.03.2024 08:{:02},{i}\n", i / 60, i % 28 + 1, i % 60));
    std::fs::write(
        world.path("rows.csv"),
        format!("station,time,pm25\n{}", rows.collect::<String>()),
    )
    .unwrap();
    import(&world, "rows.csv").ended(5, &["1200 rows (0 read"]);
    rewrite(&world, "unit = \"ug/m3\"\n", &format!("unit = \"ug/m3\"\n{CORRECTED}"));
    let hash = group(&world, "is not a time");
    // What others write is seen a moment later, so each look is a fresh one.
    let readings = || facts(&*world.log(), topics::AQI_READINGS);
    let mut ended = 0;
    // The first transaction that each run commits is the 500 letters that are next.
    for step in ["inside-commit:2", "inside-commit:1", "after-commit:1", "none:1"] {
        let mut command = world.command(&["dlq", "redrive", &hash, "--yes"]);
        let said = run(command.env("TOCSIN_CRASH_AT", step));
        ended += u64::from(said.code == Some(0));
        assert!(readings().values().all(|times| *times == 1), "{step}");
        if ended > 0 {
            break;
        }
    }
    assert_eq!(ended, 1, "the last one ends");
    assert_eq!(readings().len(), 1_200);
    dlq(&world, &["list"]).ended(0, &["0 letters in 0 groups"]);
}

#[test]
fn a_source_is_paused_before_it_floods_and_goes_on_where_it_was() {
    let folder = "folder = \"incoming\"\n";
    let world = World::new(Backend::OneMachine, &format!("{SOURCE}{folder}{DETECTOR}"));
    std::fs::create_dir(world.path("incoming")).unwrap();
    let rows = |from: u32| {
        (from..from + 400).map(|i| format!("s{i},01.03.2024 08:00,20\n")).collect::<String>()
    };
    std::fs::write(world.path("incoming/rows.csv"), format!("station,time,pm25\n{}", rows(0)))
        .unwrap();
    let up = world.up_with_probes();
    let metrics = || page(&format!("{}/metrics", up.admin));
    until("the source is paused", || {
        metrics().contains("tocsin_source_paused{source=\"stations\"} 1")
    });
    let text = metrics();
    assert!(
        text.contains("tocsin_source_rows_total{source=\"stations\",outcome=\"dead\"} 100\n"),
        "{text}"
    );
    let ready = get(&format!("{}/readyz", up.admin));
    assert_eq!(ready["ready"], true, "the others go on");
    assert!(
        ready["paused"]["stations"].as_str().unwrap().contains("100 of the last 100 rows"),
        "{ready}"
    );
    dlq(&world, &["list", "--source", "stations"]).ended(0, &["100 letters in 1 groups"]);
    import(&world, "incoming/rows.csv")
        .ended(5, &["\"stations\" is paused: since", "tocsin dlq resume stations"]);

    dlq(&world, &["resume", "stations"]).ended(0, &["resumed: stations, which was paused since"]);
    until("it reads on and is paused again", || {
        metrics().contains("tocsin_source_rows_total{source=\"stations\",outcome=\"dead\"} 200\n")
    });
    drop(up);

    rewrite(&world, "unit = \"ug/m3\"\n", &format!("unit = \"ug/m3\"\n{CORRECTED}"));
    let up = world.up_with_probes();
    let log = world.log();
    until("the rest is read", || facts(&*log, topics::AQI_READINGS).len() == 200);
    let metrics = page(&format!("{}/metrics", up.admin));
    assert!(metrics.contains("tocsin_source_paused{source=\"stations\"} 0"), "{metrics}");
    let hash = group(&world, "is not a time");
    dlq(&world, &["redrive", &hash, "--yes"]).ended(0, &["200 letters: 200 events written"]);
    let found = facts(&*log, topics::AQI_READINGS);
    assert_eq!((found.len(), found.values().max()), (400, Some(&1)), "each row once");
    dlq(&world, &["resume", "stations"]).ended(5, &["stations is not paused"]);
}

/// The figure of a line of metrics; 0 if there is none.
fn figure(metrics: &str, line: &str) -> u64 {
    let found = metrics.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0)
}

/// What becomes of the rows of the recorded set, by a reader that shares nothing with ours.
fn looked_at_again(packed: &Path) -> BTreeMap<&'static str, u64> {
    let mut wanted = BTreeMap::new();
    let content = flate2::read::MultiGzDecoder::new(std::fs::File::open(packed).unwrap());
    let mut rows = csv::ReaderBuilder::new().delimiter(b';').flexible(true).from_reader(content);
    let header = rows.byte_headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|found| found == name.as_bytes()).unwrap();
    let (co, no2) = (column("CO(GT)"), column("NO2(GT)"));
    for row in rows.byte_records().map(Result::unwrap) {
        let is_blank = row.iter().all(|field| field.iter().all(|byte| *byte == b','));
        *wanted
            .entry(match (&row[co], &row[no2]) {
                _ if is_blank => "blank",
                (_, b"-200") => "left out",
                (b"-200", _) => "no-value",
                (co, _) if co.contains(&b',') => "dead",
                _ => "processed",
            })
            .or_default() += 1;
    }
    wanted
}

/// A recorded set, a mapping that does not fit it, and a second look at the file that shares nothing
/// with ours.
#[test]
fn of_recorded_dirt_every_row_and_every_record_is_counted_as_one_thing() {
    let source = r#"
[[sources]]
name = "italy"
kind = "csv"
event = "reading"
folder = "incoming"
pause_above = "100%"
missing = ["", "-200"]
subject = "roadside"
time = "{Date} {Time}"
time_format = "%d/%m/%Y %H.%M.%S"
measure = "co"
value = "{CO(GT)}"
[[sources.only]]
field = "{NO2(GT)}"
not_equals = "-200"
"#;
    let world = World::new(Backend::OneMachine, &format!("{source}{DETECTOR}"));
    std::fs::create_dir(world.path("incoming")).unwrap();
    let packed = root().join("tests/data/uci_air_quality/AirQualityUCI.csv.gz");
    std::fs::copy(&packed, world.path("incoming/uci.csv.gz")).unwrap();

    let seen = looked_at_again(&packed);
    assert_eq!((seen.len(), seen["blank"], seen["left out"]), (5, 114, 1_642), "{seen:?}");
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, count) in seen {
        let nothing_comes_of_it = ["blank", "left out", "no-value"].contains(&what);
        *wanted.entry(if nothing_comes_of_it { "filtered" } else { what }).or_default() += count;
    }

    let all: u64 = wanted.values().sum();
    let up = world.up_with_probes();
    let metrics = || page(&format!("{}/metrics", up.admin));
    let rows = |metrics: &str, outcome: &str| {
        figure(
            metrics,
            &format!("tocsin_source_rows_total{{source=\"italy\",outcome=\"{outcome}\"}}"),
        )
    };
    until("every row is read", || {
        let text = metrics();
        wanted.keys().map(|outcome| rows(&text, outcome)).sum::<u64>() >= all
    });
    let (events, dead) = (wanted["processed"], wanted["dead"]);
    // Only these two read events; what is dead is read by `project` as well.
    let records = |text: &str, service| {
        figure(text, &format!("tocsin_records_total{{service=\"{service}\"}}"))
    };
    until("every record is processed", || {
        let text = metrics();
        records(&text, "detect") == events && records(&text, "project") >= events + dead
    });
    let text = metrics();
    for (outcome, count) in &wanted {
        assert_eq!(rows(&text, outcome), *count, "{outcome}");
    }
    assert_eq!(records(&text, "ingest"), all);
    for service in ["ingest", "detect", "project"] {
        let outcomes = ["processed", "filtered", "duplicate", "late", "dead"].map(|outcome| {
            figure(
                &text,
                &format!("tocsin_outcomes_total{{service=\"{service}\",outcome=\"{outcome}\"}}"),
            )
        });
        assert_eq!(outcomes.iter().sum::<u64>(), records(&text, service), "{service} {outcomes:?}");
    }
    dlq(&world, &["list"]).ended(0, &[&format!("{dead} letters in 1 groups")]);
}

const SHOP: &str = r#"
[push]
without_token = true

[[sources]]
name = "shop"
kind = "json-lines"
event = "order-row"
type = "com.acme.order"
subject = "lamp"
price = "{price}"
currency = "EUR"
time = "{at}"
"#;

/// Pushes what may be wrong in a part; what is answered.
fn push(url: &str, (content, query): (&str, &str), body: &str) -> Value {
    let request = ureq::post(format!("{url}/v1/events{query}")).header("content-type", content);
    let request = request
        .header("prefer", "handling=lenient")
        .header("idempotency-key", body.len().to_string());
    request.send(body).unwrap().body_mut().read_json().unwrap()
}

/// The hashes of all groups.
fn groups(world: &World) -> Vec<String> {
    let list = json(&dlq(world, &["list", "--json"]).ended(0, &[]));
    let groups = list["groups"].as_array().unwrap().iter();
    groups.map(|group| group["hash"].as_str().unwrap().to_owned()).collect()
}

fn redrive(world: &World, more: &[&str]) -> Said {
    let groups = groups(world);
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    dlq(world, &[&["redrive"], more, &groups].concat())
}

#[test]
fn what_was_pushed_comes_back_once_even_if_some_of_it_was_sent_again() {
    let world = World::new(Backend::OneMachine, &format!("{SHOP}{DETECTOR}"));
    let (up, url) = world.up();
    let order = |n: u32| format!(r#"{{"price":"{n}.50","at":"01.03.2024"}}"#);
    let event = |n: u32| {
        let head = r#""specversion":"1.0","source":"/a","type":"com.acme.order""#;
        format!(r#"{{{head},"id":"{n}","data":{}}}"#, order(n))
    };
    let batch = format!("[{},{}]", event(1), event(2));
    let lines = format!("{}\n{}\n{{\"price\":\"x\",\"at\":\"01.03.2024\"}}\n", order(3), order(4));
    let one = ("application/cloudevents+json", "");
    let pushed = push(&url, ("application/cloudevents-batch+json", ""), &batch);
    assert_eq!((&pushed["written"], &pushed["dead_letters"]), (&0.into(), &2.into()), "{pushed}");
    let pushed = push(&url, ("application/x-ndjson", "?source=shop"), &lines);
    assert_eq!(pushed["dead_letters"], 3, "{pushed}");
    redrive(&world, &[]).ended(5, &["0 events would be written", "5 still dead"]);

    drop(up);
    rewrite(&world, "\"{at}\"\n", "\"{at}\"\ntime_format = \"%d.%m.%Y\"\n");
    let (_up, url) = world.up();
    assert_eq!(push(&url, one, &event(1))["written"], 1);
    pages_say_what_the_command_says(&world, &url);
    let plan = json(&redrive(&world, &["--json"]).ended(5, &["1 letters are still dead"]));
    let sum = &plan["sum"];
    assert_eq!((&sum["written"], &sum["present"]), (&3.into(), &1.into()), "{plan}");
    let events = || facts(&*world.log(), topics::ORDERS_ROWS);
    assert_eq!(events().len(), 1, "a plan writes nothing");
    redrive(&world, &["--yes"]).ended(5, &["3 events written, 1 there already", "\"…\" is not"]);
    assert_eq!((events().len(), events().values().max()), (4, Some(&1)), "each once");
    dlq(&world, &["list"]).ended(0, &["1 letters in 1 groups"]);
    // Who may not push any more brings nothing back.
    rewrite(&world, "without_token = true", "without_token = false");
    redrive(&world, &[]).ended(5, &["no producer is called \"default/anyone\" any more"]);
}

/// Of each letter, and with the very command that a page shows for its group.
fn pages_say_what_the_command_says(world: &World, url: &str) {
    let mut said = String::new();
    for hash in groups(world) {
        let shown = page(&format!("{url}/dead-letters/{hash}"));
        let command = format!("tocsin dlq redrive {hash}");
        let at = shown.find(&format!("{command}\n{command} --yes\n")).unwrap();
        let line = shown[at..].lines().next().unwrap();
        let words: Vec<&str> = line.split(' ').skip(2).collect();
        let plan = dlq(world, &words).out;
        let group = get(&format!("{url}/api/v1/dead-letters/groups/{hash}"));
        let letters = group["items"].as_array().unwrap();
        assert!(plan.contains(&format!("\n{} letters: ", letters.len())), "all of it: {plan}");
        for letter in letters {
            let word = |name: &str| escaped(letter[name].as_str().unwrap());
            let line = format!("{}  {}: {}\n", word("id"), word("origin"), word("redrive"));
            assert!(plan.contains(&line), "{line} is not in {plan}");
        }
        said += &plan;
    }
    for part in ["would write", "is there already", "still dead"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

const CATALOGUE: &str = r#"
[[datasets]]
name = "catalogue"
[[datasets.files]]
name = "owners"
key = ["id"]
[[datasets.files]]
name = "columns"
key = ["id"]
types = { size = "whole" }
references = { owner = "owners.id" }
"#;

#[test]
fn rows_of_a_data_set_come_back_while_their_upload_is_the_newest() {
    let world = World::new(Backend::OneMachine, CATALOGUE);
    let upload = |columns: &str| {
        let files = [("owners.csv", "id,name\no1,Ann\n"), ("columns.csv", columns)];
        let mut command = world.command(&["import", "--dataset", "catalogue"]);
        for (name, text) in files {
            std::fs::write(world.path(name), text).unwrap();
            command.arg(world.path(name));
        }
        run(&mut command)
    };
    let first = "id,owner,size\nc1,o1,3\nc2,o1,2.5\nc3,o9,1.5\nc4,o1,much\n";
    upload(first).ended(5, &["5 rows, 2 events, 0 blank, 3 dead letters"]);
    redrive(&world, &[]).ended(5, &["0 events would be written", "3 still dead"]);
    rewrite(&world, "\"whole\"", "\"decimal\"");
    let told = "would write";
    let plan = redrive(&world, &[]).ended(5, &[told, "2 events would be written", "1 still dead"]);
    assert!(plan.out.contains("`owner`: no row has the key \"o9\""), "{}", plan.out);
    redrive(&world, &["--yes"]).ended(5, &["2 events written, 0 there already"]);
    let rows = || facts(&*world.log(), topics::DATASETS_ROWS);
    // With what was opened and closed.
    assert_eq!((rows().len(), rows().values().max()), (6, Some(&1)));

    // The same upload once more has the same rows, by their ids.
    let mut again = world.command(&["import", "--dataset", "catalogue", "--again"]);
    run(again.arg(world.path("owners.csv")).arg(world.path("columns.csv"))).ended(5, &["4 events"]);
    assert_eq!((rows().len(), rows().values().max()), (6, Some(&2)));
    upload(&first.replace("much", "9")).ended(5, &["5 events, 0 blank, 0 dead letters"]);
    let old = redrive(&world, &[]).ended(5, &["another upload of its set came after it"]);
    assert!(old.out.contains("1 letters: 0 events would be written"), "{}", old.out);
}
