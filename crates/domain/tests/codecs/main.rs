//! Our codecs against apache-avro: for every fact the same bytes for the same value, both ways, and
//! nothing but an error for anything malformed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are the helpers of tests")]

mod facts;
mod foreign;
mod values;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use facts::{Seed, seed};
use proptest::prelude::*;
use std::fmt::Debug;
use tocsin_domain::wire::catalogue::FACTS;
use tocsin_domain::wire::{self, Fact, Fingerprint, SchemaIds};

fn theirs(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    writer.write_value_to_vec(value).unwrap()
}

fn ours<'a, F: Fact<'a>>(fact: &F) -> Vec<u8> {
    let mut out = Vec::new();
    fact.encode(&mut out);
    out
}

/// The same bytes, unless a map has entries that apache-avro writes in any order; the same value.
fn agree<'a, F: Fact<'a> + PartialEq + Debug>(fact: &F, ours: &'a [u8], theirs: &'a [u8]) {
    let same_order = !matches!(F::NAME, "tocsin.Alert" | "tocsin.Notice" | "tocsin.Delivery");
    if same_order {
        assert_eq!(ours, theirs, "{}", F::NAME);
    }
    assert_eq!(ours.len(), theirs.len(), "{}", F::NAME);
    assert_eq!(F::decode(ours).as_ref(), Ok(fact));
    assert_eq!(F::decode(theirs).as_ref(), Ok(fact));
}

fn framed(fingerprint: Fingerprint, body: &[u8]) -> Vec<u8> {
    [&[0xc3, 0x01], &fingerprint[..], body].concat()
}

/// Every fact of the seed, framed.
fn all(seed: &Seed) -> Vec<Vec<u8>> {
    let mut out = vec![Vec::new(); FACTS.len()];
    wire::write(&seed.reading(), &mut out[0]);
    wire::write(&seed.listing(), &mut out[1]);
    wire::write(&seed.order_row(), &mut out[2]);
    wire::write(&seed.dataset_row(), &mut out[3]);
    wire::write(&seed.swipe(), &mut out[4]);
    wire::write(&seed.subscriber(), &mut out[5]);
    wire::write(&seed.watch(), &mut out[6]);
    wire::write(&seed.condition(), &mut out[7]);
    wire::write(&seed.alert(), &mut out[8]);
    wire::write(&seed.notice(), &mut out[9]);
    wire::write(&seed.delivery(), &mut out[10]);
    wire::write(&seed.dead_letter(), &mut out[11]);
    wire::write(&seed.dead_decision(), &mut out[12]);
    wire::write(&seed.late_event(), &mut out[13]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn events_are_written_as_apache_avro_writes_them(seed in seed()) {
        let fact = seed.reading();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::reading(&fact)));
        let fact = seed.listing();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::listing(&fact)));
        let fact = seed.order_row();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::order_row(&fact)));
        let fact = seed.dataset_row();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::dataset_row(&fact)));
        let fact = seed.swipe();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::swipe(&fact)));
    }

    #[test]
    fn requests_and_outcomes_are_written_as_apache_avro_writes_them(seed in seed()) {
        let fact = seed.subscriber();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::subscriber(&fact)));
        let fact = seed.watch();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::watch(&fact)));
        let fact = seed.condition();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::condition(&fact)));
        let fact = seed.alert();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::alert(&fact)));
        let fact = seed.notice();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::notice(&fact)));
        let fact = seed.delivery();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::delivery(&fact)));
        let fact = seed.dead_letter();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::dead_letter(&fact)));
        let fact = seed.dead_decision();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::dead_decision(&fact)));
        let fact = seed.late_event();
        agree(&fact, &ours(&fact), &theirs(wire_schema(&fact), values::late_event(&fact)));
    }

    #[test]
    fn every_truncation_is_an_error(seed in seed()) {
        for (bytes, fact) in all(&seed).iter().zip(FACTS) {
            let json = wire::to_json(bytes, &SchemaIds::default()).unwrap();
            prop_assert_eq!(&json["schema"], fact.name);
            for len in 0..bytes.len() {
                prop_assert!(wire::to_json(&bytes[..len], &SchemaIds::default()).is_err());
            }
        }
    }

    /// Nothing is asserted but that it returns: most changes give another valid text or number.
    #[test]
    fn a_changed_byte_never_panics(seed in seed(), at in any::<prop::sample::Index>(), to: u8) {
        for mut bytes in all(&seed) {
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = wire::to_json(&bytes, &SchemaIds::default());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = wire::to_json(&body, &SchemaIds::default());
        for fact in FACTS {
            let _ = wire::to_json(&framed(fact.fingerprint, &body), &SchemaIds::default());
        }
    }
}

fn wire_schema<'a, F: Fact<'a>>(_: &F) -> &'static str {
    F::SCHEMA
}

#[test]
fn a_map_is_written_in_the_order_of_its_names() {
    let mut seed = Seed::default();
    seed.texts[0] = "b".to_owned();
    seed.texts[1] = "a".to_owned();
    let bytes = ours(&seed.alert());
    let map = b"\x04\x02a\x02b\x02b\x02a\x00";
    assert!(bytes.windows(map.len()).any(|window| window == map));
}

#[test]
fn every_fact_begins_with_its_id() {
    let seed = Seed::default();
    for (bytes, fact) in all(&seed).iter().zip(FACTS) {
        let json = wire::to_json(bytes, &SchemaIds::default()).unwrap();
        let id = if fact.name == "tocsin.DeadDecision" { "letter" } else { "id" };
        assert_eq!(json["fact"][id], wire::id_of(bytes).unwrap().to_string(), "{}", fact.name);
        let registered = [&[0, 0, 0, 0, 7], &bytes[10..]].concat();
        assert_eq!(wire::id_of(&registered), wire::id_of(bytes));
    }
    for none in [&b""[..], b"{\"id\"", &[0xc3, 1, 2], &[0; 20]] {
        assert_eq!(wire::id_of(none), None);
    }
}
