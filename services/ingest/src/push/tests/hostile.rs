//! Bodies that somebody means ill with: each is refused or taken, none ends the process, and none
//! makes more of itself than the limits allow.

use super::*;
use crate::push::form::Shape;
use crate::push::read::{Reader, Request};
use crate::settings::section as sources_section;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn reader() -> (Reader, Producers) {
    let document =
        Document::parse(&format!("[push]\nwithout_token = true\n{SOURCES}"), "t").unwrap();
    let sources = sources_section(&document).unwrap();
    let reader = Reader::new(&sources, 100).unwrap();
    (reader, Producers::new(&section(&document).unwrap(), &sources).unwrap())
}

fn form(shape: Shape, lenient: bool) -> Form {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let attributes = vec![
        pair("specversion", "1.0"),
        pair("id", "1"),
        pair("source", "/a"),
        pair("type", "com.acme.order"),
    ];
    let source = Some(if lenient { "air" } else { "orders" }.to_owned());
    Form { shape, gzip: false, key: None, lenient, source, attributes }
}

/// Pieces that bodies are made of, good and bad.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        READING,
        ORDER,
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\n",
        "null",
        "true",
        "1e999",
        "-",
        "0.1",
        "\"data\"",
        "\"subject\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\\",
        "\u{feff}",
        "\"id\":\"1\"",
        "{\"station\":\"s\",\"v\":1,\"t\":\"2024-05-01\"}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => "[ -~]{0,12}".prop_map(String::into_bytes),
        1 => Just(vec![b'['; 5_000]),
    ]
}

/// A good event with bytes of it changed, left out or doubled.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let good = prop::sample::select(vec![READING, ORDER]);
    (good, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..4)).prop_map(
        |(text, changes)| {
            let mut bytes = text.as_bytes().to_vec();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, byte),
                }
            }
            bytes
        },
    )
}

pub(super) fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat()), mangled(),]
}

#[test]
fn ten_thousand_hostile_bodies_are_refused_or_taken() {
    let (reader, producers) = reader();
    let producer = producers.find(&axum::http::HeaderMap::new()).unwrap();
    let shapes = [Shape::Structured, Shape::Batch, Shape::Binary, Shape::Json, Shape::Lines];
    let strategy = (bodies(), prop::sample::select(shapes.to_vec()), any::<bool>());
    let config = Config { cases: 10_000, failure_persistence: None, ..Config::default() };
    let (mut taken, mut refused) = (0, 0);
    let counts = std::cell::RefCell::new((&mut taken, &mut refused));
    let run = TestRunner::new(config).run(&strategy, |(body, shape, lenient)| {
        let form = form(shape, lenient);
        let request = Request {
            form: &form,
            producer: &producer,
            body: &body,
            hash: Id::of("push-body", &[&body]),
            now: NOW,
        };
        match reader.read(&request) {
            Ok(Taken { lot, answer, .. }) => {
                *counts.borrow_mut().0 += 1;
                prop_assert!(answer.received <= 100);
                // An order, or a dead letter with some words around what was sent.
                let most = 4 * body.len() + 1_000 * (answer.received + 1);
                prop_assert!(lot.bytes() <= most, "{} of {}", lot.bytes(), body.len());
                prop_assert_eq!(lot.len(), answer.written + answer.dead_letters);
            }
            Err(refusal) => {
                *counts.borrow_mut().1 += 1;
                prop_assert!(refusal.status.is_client_error());
                prop_assert!(refusal.errors.len() <= 100 && !refusal.detail.is_empty());
                let said: usize = refusal.errors.iter().map(|wrong| wrong.detail.len()).sum();
                prop_assert!(said <= 100 * 1_000, "an answer of {said} bytes");
            }
        }
        Ok(())
    });
    run.unwrap();
    assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused: too much of one kind");
}

#[test]
fn hostile_requests_over_the_wire_are_answered_and_the_server_lives() {
    let world = World::new("[push]\nwithout_token = true\nmax_body_bytes = 65536");
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    for _ in 0..300 {
        let body = prop::collection::vec(piece(), 0..8).new_tree(&mut runner).unwrap().current();
        let content = if body.len() % 2 == 0 { BATCH } else { STRUCTURED };
        let got = world.post(&[content], body.concat());
        assert!((400..500).contains(&got.status) || got.status == 202, "{got:?}");
    }
    assert_eq!(world.post(&[STRUCTURED], READING).status, 202);
}

use proptest::strategy::ValueTree;
