//! The generic reader against apache-avro: the same value for whatever their writer wrote, and for
//! hostile bodies either the same value or an error, never more than a bounded one.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::{Decimal, Schema};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use tocsin_domain::wire::foreign::Foreign;

/// Something of everything, as a producer might have it.
const ORDER: &str = r#"{"type": "record", "name": "shop.Order", "fields": [
    {"name": "id", "type": "string"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 4}},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID", "SENT"]}},
    {"name": "note", "type": ["null", "string", "long"]},
    {"name": "weights", "type": {"type": "array", "items": "double"}},
    {"name": "tags", "type": {"type": "map", "values": ["null", "boolean"]}},
    {"name": "raw", "type": "bytes"},
    {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"}, {"name": "n", "type": "int"}, {"name": "of", "type": ["null", "Line"]}]}}}
]}"#;

fn line(depth: u32) -> BoxedStrategy<Value> {
    let of = match depth {
        0 => Just(Value::Union(0, Box::new(Value::Null))).boxed(),
        _ => prop_oneof![
            Just(Value::Union(0, Box::new(Value::Null))),
            line(depth - 1).prop_map(|line| Value::Union(1, Box::new(line))),
        ]
        .boxed(),
    };
    let fields = |(sku, n, of): (String, i32, Value)| {
        let [sku, n] = [Value::String(sku), Value::Int(n)];
        Value::Record(vec![("sku".to_owned(), sku), ("n".to_owned(), n), ("of".to_owned(), of)])
    };
    ("\\PC{0,8}", any::<i32>(), of).prop_map(fields).boxed()
}

fn order() -> impl Strategy<Value = Value> {
    let note = prop_oneof![
        Just(Value::Union(0, Box::new(Value::Null))),
        "\\PC{0,8}".prop_map(|text| Value::Union(1, Box::new(Value::String(text)))),
        any::<i64>().prop_map(|n| Value::Union(2, Box::new(Value::Long(n)))),
    ];
    let tag = prop_oneof![
        Just(Value::Union(0, Box::new(Value::Null))),
        any::<bool>().prop_map(|yes| Value::Union(1, Box::new(Value::Boolean(yes)))),
    ];
    let first =
        ("\\PC{0,12}", -62_135_596_800_000i64..253_402_300_799_000, any::<[u8; 9]>(), 0u32..3);
    let second = (
        note,
        prop::collection::vec(any::<f64>(), 0..4),
        prop::collection::hash_map("[a-z]{1,4}", tag, 0..4),
        prop::collection::vec(any::<u8>(), 0..9),
        any::<[u8; 4]>(),
        prop::collection::vec(line(3), 0..3),
    );
    (first, second).prop_map(|((id, at, price, state), (note, weights, tags, raw, hash, lines))| {
        let symbol = ["NEW", "PAID", "SENT"][state as usize];
        let fields = [
            ("id", Value::String(id)),
            ("at", Value::TimestampMillis(at)),
            ("price", Value::Decimal(Decimal::from(price))),
            ("state", Value::Enum(state, symbol.to_owned())),
            ("note", note),
            ("weights", Value::Array(weights.into_iter().map(Value::Double).collect())),
            ("tags", Value::Map(tags)),
            ("raw", Value::Bytes(raw)),
            ("hash", Value::Fixed(4, hash.to_vec())),
            ("lines", Value::Array(lines)),
        ];
        Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
    })
}

/// What their value should be for us.
fn wanted(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(yes) => json!(yes),
        Value::Int(n) => json!(n),
        Value::Long(n) => json!(n),
        Value::Double(n) if n.is_finite() => json!(n),
        Value::Double(n) => json!(n.to_string()),
        Value::String(text) | Value::Enum(_, text) => json!(text),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => {
                use base64::Engine;
                json!(format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
            }
        },
        Value::Decimal(decimal) => {
            let bytes = Vec::<u8>::try_from(decimal).unwrap();
            let (sign, digits) = digits(&bytes);
            let (whole, part) = digits.split_at(digits.len() - 4);
            json!(format!("{sign}{whole}.{part}"))
        }
        Value::TimestampMillis(at) => match jiff::Timestamp::from_millisecond(*at) {
            Ok(time) => json!(time.to_string()),
            Err(_) => json!(at),
        },
        Value::Union(_, inner) => wanted(inner),
        Value::Array(items) => items.iter().map(wanted).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), wanted(value))).collect())
        }
        Value::Record(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), wanted(value)));
            Json::Object(fields.collect::<Map<_, _>>())
        }
        other => json!(format!("the schema has no {other:?}")),
    }
}

/// The sign and the digits, five at least, of a number in two's complement, however long it is.
fn digits(bytes: &[u8]) -> (&'static str, String) {
    let is_negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let mut digits = vec![0_u32];
    for byte in bytes {
        let mut carry = u32::from(if is_negative { !byte } else { *byte });
        for digit in &mut digits {
            carry += *digit * 256;
            (*digit, carry) = (carry % 10, carry / 10);
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    // What was turned over is one too little.
    let mut carry = u32::from(is_negative);
    for digit in &mut digits {
        (*digit, carry) = ((*digit + carry) % 10, (*digit + carry) / 10);
    }
    digits.extend((carry > 0).then_some(carry));
    digits.resize(digits.len().max(5), 0);
    let text = digits.iter().rev().map(u32::to_string).collect();
    (if is_negative { "-" } else { "" }, text)
}

/// About what a value takes up.
fn size(value: &Json) -> usize {
    64 + match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(object) => object.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

fn foreign() -> Foreign {
    Foreign::parse(ORDER).unwrap()
}

/// A body that was spoilt here and there.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let hits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let of_an_order = (order(), hits, any::<bool>()).prop_map(|(order, hits, cut)| {
        let mut body = super::theirs(ORDER, order);
        for (at, byte) in &hits {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        if cut {
            body.truncate(hits[0].0.index(body.len()));
        }
        body
    });
    prop_oneof![3 => of_an_order, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn what_their_writer_writes_is_read(order in order()) {
        let body = super::theirs(ORDER, order.clone());
        prop_assert_eq!(foreign().read(&body), Ok(wanted(&order)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn a_hostile_body_is_an_error_or_what_their_reader_reads(body in spoilt()) {
        let foreign = foreign();
        if let Ok(found) = foreign.read(&body) {
            prop_assert!(size(&found) <= 32 << 20);
            let schema = Schema::parse_str(ORDER).unwrap();
            let reader = GenericDatumReader::builder(&schema).build().unwrap();
            let theirs = reader.read_value(&mut body.as_slice()).unwrap();
            prop_assert_eq!(found, wanted(&theirs));
        }
    }
}
