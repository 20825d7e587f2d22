//! What records become: every format, every fault, and hostile bytes.

mod again;

use super::*;
use crate::sources::testing::config;
use proptest::prelude::*;
use std::sync::Arc;
use tocsin_domain::wire::{self, SchemaIds, fingerprint, read_owned};
use tocsin_domain::{Micros, dead_letter::DeadLetter, topics};
use tocsin_stream::state::Store;
use tocsin_stream::{Effects, Need, Poison, Record, Step};

const ORDER: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "sku", "type": "string"}, {"name": "n", "type": "int"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;

const ROWS: &str = "event = \"order-row\"\nsubject = \"{sku}\"\nunits = \"{n}\"\ntime = \"{at}\"\n\
    price = \"1.50\"\ncurrency = \"GBP\"\n";
const VALUES: &str = "event = \"reading\"\nsubject = \"{s}\"\ntime = \"{at}\"\n\
    [[values]]\nmeasure = \"a\"\nvalue = \"{v.a}\"\n[[values]]\nmeasure = \"b\"\nvalue = \"{v.b}\"\n";

fn source(format: &str, rest: &str) -> SourceConfig {
    config(&format!(
        "name = \"own\"\nkind = \"topic\"\ntopic = \"acme.x\"\nformat = \"{format}\"\n{rest}"
    ))
}

fn step(config: &SourceConfig) -> Result<OwnTopicStep, String> {
    OwnTopicStep::new(config, guard(config)?)
}

fn effects() -> Effects {
    Effects::new("topic-own", &[(topics::ORDERS_ROWS, 8), (cursor::TOPIC, 1)], 8, 8)
}

/// One record, processed.
fn processed(step: &mut OwnTopicStep, value: Option<&[u8]>) -> Result<Effects, Poison> {
    let (topic, mut effects) = (Arc::<str>::from("acme.x"), effects());
    let time = Micros(1_709_280_000_000_000);
    let record = Record { topic: &topic, partition: 3, offset: 42, time, key: b"key", value };
    step.on_record(&record, Micros(1), &mut Store::default(), &mut effects)?;
    Ok(effects)
}

/// What comes of one record, a line for each event and each dead letter.
fn of(step: &mut OwnTopicStep, value: Option<&[u8]>) -> Result<Vec<String>, Poison> {
    let effects = processed(step, value)?;
    let mut lines = Vec::new();
    let chunks = effects.transaction().outputs().iter().flat_map(|output| &output.partitions);
    for part in chunks.flat_map(|chunk| chunk.parts()) {
        for (key, value) in part.pairs() {
            let (key, value) = (String::from_utf8_lossy(key), value.unwrap());
            let ids = SchemaIds::default();
            lines.push(match read_owned::<DeadLetter>(value, &ids) {
                Ok(letter) => {
                    let (position, bytes) = (letter.position.unwrap(), letter.value.len());
                    format!(
                        "dead {position} {} {key} {} {bytes} {}",
                        letter.origin, letter.class, letter.reason
                    )
                }
                Err(_) => {
                    let fact = wire::to_json(value, &ids).unwrap()["fact"].clone();
                    let value = fact.get("value").or(fact.get("units")).unwrap();
                    format!("{key} {value} {} {}", fact["event_time"], fact["origin"])
                }
            });
        }
    }
    Ok(lines)
}

fn order(sku: &str, n: u8) -> Vec<u8> {
    let mut body = vec![sku.len() as u8 * 2];
    body.extend_from_slice(sku.as_bytes());
    body.push(n * 2);
    body.extend_from_slice(&[0x80, 0xe0, 0xb7, 0x90, 0xbf, 0x63]);
    body
}

#[test]
fn both_frames_of_avro_become_events_and_an_unknown_id_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("order.avsc");
    std::fs::write(&file, ORDER).unwrap();
    let rest = format!("schemas = [{:?}]\n{ROWS}", file.to_str().unwrap());
    let mut step = step(&source("avro", &rest)).unwrap();
    let single = [&[0xc3, 1][..], &fingerprint(ORDER).unwrap(), &order("lamp", 3)].concat();
    let wanted = ["default/lamp 3 \"2024-03-01T08:00:00Z\" \"acme.x/3/42\""];
    assert_eq!(of(&mut step, Some(&single)).unwrap(), wanted);
    let framed = [&[0, 0, 0, 0, 9][..], &order("lamp", 3)].concat();
    let poison = of(&mut step, Some(&framed)).unwrap_err();
    assert_eq!((poison.class, poison.needs), ("schema", Some(Need::Schema(9))));
    step.learn(9, ORDER).unwrap();
    assert_eq!(of(&mut step, Some(&framed)).unwrap(), wanted);
    assert_eq!(step.learn(10, "{}").unwrap_err().class, "schema");
    assert_eq!(of(&mut step, Some(&framed[..9])).unwrap_err().class, "decode");
    assert_eq!(of(&mut step, None).unwrap(), [""; 0], "a tombstone is nobody's event");
}

#[test]
fn an_object_is_mapped_and_its_faults_keep_the_whole_record() {
    let mut step = step(&source("json", VALUES)).unwrap();
    let mut of = |text: &str| of(&mut step, Some(text.as_bytes()));
    let good =
        "{\n \"s\": \"x\", \"v\": {\"a\": 1.5, \"b\": null}, \"at\": \"2024-03-01T00:00:00Z\"}";
    let line = |measure, value| {
        format!("default/x/{measure} {value} \"2024-03-01T00:00:00Z\" \"acme.x/3/42\"")
    };
    assert_eq!(of(good).unwrap(), [line("a", "1.5")]);
    // What is right of a record goes on; the letter has all of it.
    let half = good.replace("null", "\"?\"");
    let found = of(&half).unwrap();
    assert_eq!(found[0], line("a", "1.5"));
    let letter = format!("dead acme.x/3/42  key value {} b ", half.len());
    assert!(found[1].starts_with(&letter), "{found:?}");
    for (text, class) in [("", "json"), ("{} {}", "json"), ("nonsense", "json")] {
        assert_eq!(of(text).unwrap_err().class, class, "{text}");
    }
    assert!(of("7").unwrap()[0].contains("json 1 what is mapped must be an object"));
    assert_eq!(of(&" ".repeat((1 << 20) + 1)).unwrap_err().class, "limit");
}

#[test]
fn a_value_of_several_rows_is_several_events_and_each_row_has_its_own_fate() {
    let rest = format!("columns = [\"sku\", \"n\", \"at\"]\ndelimiter = \";\"\n{ROWS}");
    let mut step = step(&source("csv", &rest)).unwrap();
    let rows = "lamp;1;2024-03-01T00:00:00Z\n\nsofa;x;2024-03-01T00:00:00Z\n\"a;b\";2;2024-03-01T00:00:00Z";
    let found = of(&mut step, Some(rows.as_bytes())).unwrap();
    let event = |subject: &str, units, line| {
        format!("default/{subject} {units} \"2024-03-01T00:00:00Z\" \"acme.x/3/42:{line}\"")
    };
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.contains(&event("lamp", 1, 1)) && found.contains(&event("a;b", 2, 4)),
        "{found:?}"
    );
    let letter = found.iter().find(|line| line.starts_with("dead")).unwrap();
    assert!(letter.starts_with("dead acme.x/3/42 acme.x/3/42:3 key value 28 units"), "{letter}");
}

#[test]
fn a_data_set_neither_begins_nor_ends_with_a_record() {
    let rest = "columns = [\"a\"]\nevent = \"dataset-row\"\n";
    let mut step = step(&source("csv", rest)).unwrap();
    let mut effects = effects();
    let topic = Arc::<str>::from("acme.x");
    let (time, value) = (Micros(5), Some(&b"1\n2\n"[..]));
    let record = Record { topic: &topic, partition: 0, offset: 1, time, key: b"", value };
    step.on_record(&record, Micros(1), &mut Store::default(), &mut effects).unwrap();
    assert_eq!(effects.transaction().records(), 2);
}

#[test]
fn a_topic_mostly_of_poison_is_paused_with_the_record_that_is_too_much() {
    let config = source("json", VALUES);
    let mut step = step(&config).unwrap();
    let topic = Arc::<str>::from("acme.x");
    let mut taken = 0;
    let mut effects = effects();
    for offset in 0..300 {
        let value = Some(if offset < 30 { &b"{}"[..] } else { b"nonsense" });
        let record =
            Record { topic: &topic, partition: 3, offset, time: Micros(5), key: b"", value };
        let done = step.on_record(&record, Micros(7), &mut Store::default(), &mut effects);
        let is_dead = match done {
            Err(Poison { needs: Some(Need::Resume), reason, .. }) => {
                assert!(reason.contains("100 of the last 100 rows"), "{reason}");
                continue;
            }
            done => done.is_err() || offset < 30,
        };
        taken += 1;
        step.on_end(&record, is_dead, Micros(7), &mut effects);
    }
    assert_eq!(taken, 100);
    let pauses = &effects.transaction().outputs()[1].partitions[0];
    let found: Vec<_> = pauses.parts().flat_map(|part| part.pairs()).collect();
    let pause: tocsin_domain::upstream::Pause =
        serde_json::from_slice(found[0].1.unwrap()).unwrap();
    assert_eq!((found.len(), pause.file.as_str(), pause.at), (1, "acme.x/3/99", Micros(7)));
}

#[test]
fn what_is_wrong_with_a_source_is_said() {
    let csv = |columns: &str| format!("{columns}{ROWS}");
    for (format, rest, wanted) in [
        ("csv", csv(""), "`columns` is missing"),
        ("csv", csv("columns = [\"sku\", \"at\"]\n"), "names a column `n`"),
        ("json", csv("columns = [\"sku\"]\n"), "`columns` means nothing"),
        ("json", csv("schemas = [\"x\"]\n"), "`schemas` means nothing"),
        ("avro", csv("schemas = [\"/nowhere/x.avsc\"]\n"), "cannot read /nowhere/x.avsc"),
    ] {
        let error = crate::sources::open(&source(format, &rest)).err().unwrap();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    for (topic, wanted) in
        [("", "must be the name"), ("a/b", "must be the name"), ("alerts", "of Tocsin itself")]
    {
        let mut config = source("json", ROWS);
        config.topic = Some(topic.to_owned());
        let error = topology(&config).unwrap_err();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    let mut config = source("json", ROWS);
    config.format = None;
    assert!(crate::sources::open(&config).err().unwrap().contains("`format` is missing"));
    let items = config_of_csv("topic = \"x\"\n");
    assert!(crate::sources::open(&items).err().unwrap().contains("`topic` is not a key"));
}

fn config_of_csv(extra: &str) -> SourceConfig {
    config(&format!("name = \"c\"\nkind = \"csv\"\n{extra}{ROWS}"))
}

#[test]
fn the_loop_over_a_topic_fits_topics_yaml() {
    let topology = topology(&source("json", ROWS)).unwrap();
    assert_eq!(topology.problems(topics::Topics::builtin()), Vec::<String>::new());
    assert_eq!((topology.service, topology.inputs[0]), ("topic-own", "acme.x"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn hostile_values_are_events_or_set_aside(bytes in prop::collection::vec(any::<u8>(), 0..120), which in 0..3) {
        let text = ["{\"sku\": \"a\", \"n\": ", "a,1,2024-03-01T00:00:00Z\n", ""][which as usize];
        let format = ["json", "csv", "avro"][which as usize];
        let columns = if format == "csv" { "columns = [\"sku\", \"n\", \"at\"]\n" } else { "" };
        let mut step = step(&source(format, &format!("{columns}{ROWS}"))).unwrap();
        let value = match which {
            2 => { step.learn(9, ORDER).unwrap(); [&[0, 0, 0, 0, 9][..], &bytes].concat() }
            _ => [text.as_bytes(), &bytes].concat(),
        };
        if let Ok(lines) = of(&mut step, Some(&value)) {
            let all: usize = lines.iter().map(String::len).sum();
            prop_assert!(all < 200 * (value.len() + 4), "{all} of {}", value.len());
        }
    }
}
