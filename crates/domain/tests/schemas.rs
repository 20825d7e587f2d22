//! The schemas as files: every kept version can read what every other one wrote, today's is the
//! newest, and our constants are their fingerprints.
#![allow(clippy::unwrap_used, reason = "these are the helpers of tests")]

use apache_avro::Schema;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};
use tocsin_domain::wire::catalogue::FACTS;
use tocsin_domain::wire::{compatible, fingerprint};

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// The texts of `versions/<name>/1.avsc`, `2.avsc`, … in order.
fn versions(file: &str) -> Vec<String> {
    let folder = schemas().join("versions").join(file.trim_end_matches(".avsc"));
    let count = fs::read_dir(&folder).unwrap().count();
    (1..=count).map(|n| fs::read_to_string(folder.join(format!("{n}.avsc"))).unwrap()).collect()
}

#[test]
fn every_version_reads_every_other_and_the_newest_is_todays() {
    for fact in FACTS {
        let versions = versions(fact.file);
        assert_eq!(compatible(&versions), Ok(()), "{}", fact.name);
        assert_eq!(versions.last().unwrap(), fact.schema, "{}: keep what you change", fact.name);
    }
}

#[test]
fn the_program_holds_what_is_kept() {
    for fact in FACTS {
        assert_eq!(fact.versions(), versions(fact.file), "{}", fact.name);
    }
}

#[test]
fn every_file_is_a_fact_and_has_its_fingerprint() {
    let files = fs::read_dir(schemas()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
    files.retain(|name| name.ends_with(".avsc"));
    files.sort();
    let mut known = FACTS.map(|fact| fact.file).to_vec();
    known.sort_unstable();
    assert_eq!(files, known);
    for fact in FACTS {
        let schema = Schema::parse_str(fact.schema).unwrap();
        assert_eq!(fingerprint(fact.schema), Ok(fact.fingerprint), "{}", fact.name);
        assert_eq!(schema.name().unwrap().to_string(), fact.name);
    }
}

#[test]
fn every_field_is_documented() {
    fn visit(value: &Value) {
        for field in value["fields"].as_array().into_iter().flatten() {
            assert!(field["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{field}");
        }
        match value {
            Value::Object(object) => object.values().for_each(visit),
            Value::Array(items) => items.iter().for_each(visit),
            _ => {}
        }
    }
    FACTS.iter().for_each(|fact| visit(&serde_json::from_str(fact.schema).unwrap()));
}

/// The schema with every reference replaced by what it refers to, and the named types in it.
fn expanded(value: &Value, named: &mut Map<String, Value>) -> Value {
    match value {
        Value::String(name) => named.get(name).unwrap_or(value).clone(),
        Value::Array(items) => items.iter().map(|item| expanded(item, named)).collect(),
        Value::Object(object) => {
            let type_like = |key: &str| matches!(key, "type" | "items" | "values" | "fields");
            let mut out = Map::new();
            for (key, value) in object.iter().filter(|(key, _)| *key != "namespace") {
                let whole = if type_like(key) { expanded(value, named) } else { value.clone() };
                out.insert(key.clone(), whole);
            }
            let kinds = ["record", "enum", "fixed"];
            if kinds.iter().any(|kind| object["type"] == *kind) {
                named.insert(object["name"].as_str().unwrap().to_owned(), out.clone().into());
            }
            out.into()
        }
        _ => value.clone(),
    }
}

#[test]
fn a_nested_definition_equals_the_file_of_its_own() {
    let named = |file: &str| {
        let text = fs::read_to_string(schemas().join(file)).unwrap();
        let mut named = Map::new();
        expanded(&serde_json::from_str(&text).unwrap(), &mut named);
        named
    };
    let mut all = Map::new();
    for fact in FACTS {
        for (name, definition) in named(fact.file) {
            let first = all.entry(name.clone()).or_insert_with(|| definition.clone());
            assert_eq!(*first, definition, "{name} in {}", fact.file);
        }
    }
    assert_eq!(named("delivery.avsc")["Alert"], named("alert.avsc")["Alert"]);
    assert_eq!(named("delivery.avsc")["Notice"], named("notice.avsc")["Notice"]);
}
