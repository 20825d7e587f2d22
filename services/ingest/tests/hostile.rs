//! Ten thousand broken or hostile answers for each kind of source: recorded ones with bytes changed,
//! cut, doubled and put in, random bytes, and depths and numbers that nobody sends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

#[path = "support/hostile.rs"]
mod hostile;

use hostile::Victim;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use std::cell::RefCell;
use std::fs;
use support::{bytes_of, root};
use tocsin_ingest::jq::Jq;
use tocsin_testkit::data::set;

const CASES: u32 = 10_000;

/// The kinds, by the tests that try them: one after the other, in four threads.
const CSV: &[&str] = &["csv", "http-csv", "airnow", "airnow-daily", "airnow-hourly", "aqicn"];
const JSON: &[&str] = &["json-lines", "json-items", "json-rows", "topic", "http", "http-feed"];
const AIR: &[&str] = &["waqi", "openaq", "geonames"];
const MARKETS: &[&str] = &["ebay", "ebay-finding", "mercadolibre", "mercadona", "mercadona-lines"];

/// Put in anywhere.
const SPICES: [&[u8]; 26] = [
    b"null",
    b"-",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"1e999",
    b"-0",
    b"0.1234567890123456789",
    b"99999999999999999999999999999999",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"NaN",
    b"\n",
    b"\r\n",
    b"=cmd|'/C calc'!A0",
    b"../../..",
    b"true",
    b"\"a\":{\"a\":",
    b";",
];

/// One change of an answer.
#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    Spice(usize, usize, usize),
    Cut(usize, usize),
    Double(usize, usize),
    End(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<u16>().prop_map(usize::from);
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (at(), 0..SPICES.len(), 1..4usize).prop_map(|(at, which, n)| Change::Spice(at, which, n)),
        (at(), at(), 1..300usize).prop_map(|(at, which, n)| Change::Spice(
            at,
            which % SPICES.len(),
            n
        )),
        (at(), 1..40usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (at(), 1..200usize).prop_map(|(at, length)| Change::Double(at, length)),
        at().prop_map(Change::End),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match *change {
        Change::Byte(at, byte) => bytes[at % length] = byte,
        Change::Spice(at, which, times) => {
            let at = at % length;
            bytes.splice(at..at, SPICES[which].repeat(times));
        }
        Change::Cut(at, size) => {
            let at = at % length;
            bytes.drain(at..(at + size).min(length));
        }
        Change::Double(at, size) => {
            let at = at % length;
            let part = bytes[at..(at + size).min(length)].to_vec();
            bytes.splice(at..at, part);
        }
        Change::End(at) => bytes.truncate(at % length),
    }
}

/// The corpus of a kind, and what was recorded of it where that is to be had, in little.
fn seeds(kind: &str) -> Vec<Vec<u8>> {
    let corpus = root().join("fuzz/corpus").join(kind);
    let mut seeds: Vec<Vec<u8>> =
        fs::read_dir(corpus).unwrap().map(|entry| bytes_of(&entry.unwrap().path())).collect();
    assert!(!seeds.is_empty(), "{kind} has no corpus");
    let recorded = match kind {
        "waqi" => "waqi_api/aiowaqi",
        "openaq" => "openaq_api",
        "ebay" => "ebay_browse",
        "ebay-finding" => "ebay_finding",
        "mercadolibre" => "mercadolibre_search",
        _ => return seeds,
    };
    for entry in set(recorded).into_iter().flat_map(|path| fs::read_dir(path).unwrap()) {
        let bytes = bytes_of(&entry.unwrap().path());
        if let Ok(value) = serde_json::from_slice(&bytes) {
            seeds.push(little(value).to_string().into_bytes());
        }
    }
    seeds
}

/// The same form with at most two items in each list.
fn little(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().take(2).map(little).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, little(v))).collect(),
        other => other,
    }
}

fn try_hard(kind: &str) {
    let victim = RefCell::new(Victim::of(kind));
    suffer(kind, |bytes| victim.borrow_mut().suffer(bytes));
}

fn suffer(kind: &str, suffer: impl Fn(&[u8])) {
    let seeds = seeds(kind);
    seeds.iter().for_each(|seed| suffer(seed));
    let count = seeds.len();
    let changed =
        (0..count, proptest::collection::vec(change(), 1..8)).prop_map(move |(i, all)| {
            let mut bytes = seeds[i].clone();
            all.iter().for_each(|one| apply(&mut bytes, one));
            bytes
        });
    let bytes = proptest::collection::vec(any::<u8>(), 0..400);
    let deep = (1..5000usize, 0..3usize).prop_map(|(depth, of)| {
        [b"[".as_slice(), b"{\"data\":", b"{\"results\":["][of].repeat(depth)
    });
    let inputs = prop_oneof![8 => changed, 1 => bytes, 1 => deep];
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&inputs, |bytes| {
        suffer(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{kind}: {error}");
    }
}

#[test]
fn csv_of_any_kind() {
    for kind in CSV {
        try_hard(kind);
    }
}

#[test]
fn json_of_any_kind() {
    for kind in JSON {
        try_hard(kind);
    }
}

#[test]
fn air_and_places() {
    for kind in AIR {
        try_hard(kind);
    }
}

#[test]
fn markets() {
    for kind in MARKETS {
        try_hard(kind);
    }
}

/// A filter, and behind its first line end a document. Filters are written by who runs Tocsin: they may
/// be wrong in any way, but nobody nests them hundreds deep.
#[test]
fn filters_of_any_form() {
    suffer("jq", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let (filter, document) = text.split_once('\n').unwrap_or((text, "[1,[2]]"));
        let compiled = Some(filter).filter(|text| text.len() < 300).map(Jq::compile);
        let Some(Ok(filter)) = compiled else { return };
        if let Err(error) = filter.rows_within(20_000, document.as_bytes(), "f") {
            assert!(error.len() < 1_000, "{error}");
        }
    });
}

#[test]
fn every_kind_is_tried() {
    let tried = [CSV, JSON, AIR, MARKETS].concat();
    for (name, _) in hostile::KINDS {
        assert!(tried.contains(&name), "{name} stands in none of the lists at the top");
    }
    for kind in tocsin_ingest::sources::KINDS {
        assert!(hostile::KINDS.iter().any(|(name, _)| *name == kind.name), "{}", kind.name);
    }
}
