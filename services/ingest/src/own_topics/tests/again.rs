//! What comes of a record, or a row of one, that was set aside.

use super::*;
use crate::redrive::Outcome;
use tocsin_domain::Position;
use tocsin_stream::{Known, Schemas};

/// A registry that has one schema; of another it does not know yet, and of all others that they are none.
#[derive(Debug)]
struct One;

impl Schemas for One {
    fn look_up(&self, id: u32) -> Known {
        match id {
            9 => Known::Schema(ORDER.into()),
            8 => Known::NotYet("it is being asked for schema 8".to_owned()),
            other => Known::Nobody(format!("it has no schema {other}")),
        }
    }
}

/// The values that were published: of events, and dead letters.
fn published(effects: &Effects) -> (Vec<Vec<u8>>, Vec<DeadLetter>) {
    let (mut events, mut dead) = (Vec::new(), Vec::new());
    let chunks = effects.transaction().outputs().iter().flat_map(|output| &output.partitions);
    for part in chunks.flat_map(|chunk| chunk.parts()) {
        for (_, value) in part.pairs() {
            match read_owned::<DeadLetter>(value.unwrap(), &SchemaIds::default()) {
                Ok(letter) => dead.push(letter),
                Err(_) => events.push(value.unwrap().to_vec()),
            }
        }
    }
    (events, dead)
}

/// What becomes of a record of the source.
fn values(config: &SourceConfig, value: &[u8]) -> (Vec<Vec<u8>>, Vec<DeadLetter>) {
    let mut step = super::step(config).unwrap();
    step.learn(9, ORDER).unwrap();
    published(&processed(&mut step, Some(value)).unwrap())
}

/// What the processor makes of a record that a step refuses.
fn letter(value: &[u8]) -> DeadLetter {
    let (topic, time, mut effects) = (Arc::<str>::from("acme.x"), Micros(7), effects());
    let value = Some(value);
    let record = Record { topic: &topic, partition: 3, offset: 42, time, key: b"key", value };
    effects.dead_letter(&record, "schema", "");
    published(&effects).1.remove(0)
}

fn again(config: &SourceConfig, letter: &DeadLetter, schemas: Option<&dyn Schemas>) -> Outcome {
    let (file, row) = letter.origin.rsplit_once(':').unwrap_or_default();
    let place = (file, row.parse().unwrap_or_default());
    let source = source_of(&letter.service).unwrap();
    Again::new(std::slice::from_ref(config)).unwrap().reread((letter, place), source, schemas)
}

#[test]
fn what_comes_of_a_letter_is_what_would_have_come_of_its_record() {
    let day = r#"{"s": "x", "v": {"a": 1.5, "b": 2}, "at": "01.03.2024"}"#;
    let half = r#"{"s": "x", "v": {"a": 1.5, "b": "?"}, "at": "2024-03-01"}"#;
    let rows = "lamp;1;01.03.2024\nsofa;2;2024-03-01\n\"a;b\";3;01.03.2024";
    let csv = format!("columns = [\"sku\", \"n\", \"at\"]\ndelimiter = \";\"\n{ROWS}");
    let days = "time_format = [\"%d.%m.%Y\", \"%Y-%m-%d\"]\n";
    let framed = [&[0, 0, 0, 0, 9][..], &order("lamp", 3)].concat();
    let other = ROWS.replace("{n}", "{number}");
    let table: [(&str, &str, &[u8], &str, usize); 4] = [
        ("json", VALUES, day.as_bytes(), &format!("{days}{VALUES}"), 1),
        ("json", VALUES, half.as_bytes(), &format!("missing = [\"?\"]\n{VALUES}"), 1),
        ("csv", &csv, rows.as_bytes(), &format!("{days}{csv}"), 2),
        ("avro", &other, &framed, ROWS, 1),
    ];
    for (format, rest, value, corrected, letters) in table {
        let (config, corrected) = (source(format, rest), source(format, corrected));
        let (mut events, dead) = values(&config, value);
        assert_eq!(dead.len(), letters, "{format} {dead:?}");
        let before = events.clone();
        for letter in &dead {
            let same = again(&config, letter, Some(&One));
            assert_eq!(same.dead.as_ref(), Some(&letter.reason), "nothing was corrected");
            let found = again(&corrected, letter, Some(&One));
            assert!(found.dead.is_none() && !found.events.is_empty(), "{found:?}");
            // What was right of a record is there already.
            let new = found.events.into_iter().map(|made| made.value);
            events.extend(new.filter(|value| !before.contains(value)));
        }
        let (mut wanted, none) = values(&corrected, value);
        assert!(none.is_empty(), "{none:?}");
        events.sort();
        wanted.sort();
        assert_eq!(events, wanted, "to the last byte: {format}");
    }
}

#[test]
fn a_schema_is_asked_for_and_what_still_cannot_be_read_says_why() {
    let (avro, json) = (source("avro", ROWS), source("json", ROWS));
    let framed = |id: u8| [&[0, 0, 0, 0, id][..], &order("lamp", 3)].concat();
    let known = letter(&framed(9));
    let found = again(&avro, &known, Some(&One));
    assert_eq!((found.dead, found.events.len()), (None, 1));
    let position = Position { topic: "acme.y".into(), partition: 3, offset: 42 };
    let other = DeadLetter { position: Some(position), ..known.clone() };
    let row = DeadLetter { origin: "acme.x/3/42:1".into(), ..known.clone() };
    let named = DeadLetter { service: "topic-else".into(), ..known.clone() };
    let schemas: Option<&dyn Schemas> = Some(&One);
    for (config, letter, schemas, wanted) in [
        (&avro, &known, None, "which is not known"),
        (&avro, &letter(&framed(8)), schemas, "it is being asked for schema 8"),
        (&avro, &letter(&framed(7)), schemas, "it has no schema 7"),
        (&json, &known, schemas, "not JSON"),
        (&json, &row, schemas, "it is a row of CSV"),
        (&avro, &other, schemas, "reads \"acme.x\" now, and this came from \"acme.y\""),
        (&avro, &named, schemas, "no source of kind `topic` is called \"else\" any more"),
    ] {
        let found = again(config, letter, schemas);
        let reason = found.dead.unwrap();
        assert!(reason.contains(wanted) && found.events.is_empty(), "{wanted}: {reason}");
    }
}

#[test]
fn of_a_record_comes_exactly_one_thing() {
    let only = format!("{VALUES}[[only]]\nfield = \"{{s}}\"\nequals = \"y\"\n");
    let mut step = super::step(&source("json", &only)).unwrap();
    let object = |s: &str, b: &str| {
        format!(r#"{{"s": "{s}", "v": {{"b": {b}}}, "at": "2024-03-01"}}"#).into_bytes()
    };
    for (value, wanted) in [
        (None, (1, 0)),
        (Some(object("x", "1")), (1, 0)),
        (Some(object("y", "null")), (1, 0)),
        (Some(object("y", "1")), (0, 0)),
        (Some(object("y", "\"?\"")), (0, 1)),
    ] {
        let tally = processed(&mut step, value.as_deref()).unwrap().tally();
        assert_eq!((tally.filtered, tally.dead_letters), wanted, "{value:?}");
    }
}
