//! What each type becomes, and what each fault is called.

use super::*;
use serde_json::json;

fn field(kind: &str) -> String {
    format!(
        r#"{{"type": "record", "name": "R", "namespace": "a.b", "fields": [{{"name": "f", "type": {kind}}}]}}"#
    )
}

fn read(kind: &str, body: &[u8]) -> Result<Value, WireError> {
    Foreign::parse(&field(kind))?.read(body).map(|value| value["f"].clone())
}

/// A `long` as Avro writes it.
fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[test]
fn each_type_becomes_what_a_mapping_can_read() {
    let logical =
        |kind: &str, name: &str| format!(r#"{{"type": "{kind}", "logicalType": "{name}"}}"#);
    let fixed = |size: u32, more: &str| {
        format!(r#"{{"type": "fixed", "name": "F", "size": {size}{more}}}"#)
    };
    let time = 1_678_190_678_123_456;
    let prefixed = |bytes: &[u8]| [&long(bytes.len() as i64)[..], bytes].concat();
    for (kind, body, wanted) in [
        (r#""null""#.to_owned(), vec![], json!(null)),
        (r#""boolean""#.to_owned(), vec![1], json!(true)),
        (r#""int""#.to_owned(), long(-7), json!(-7)),
        (r#""float""#.to_owned(), 0.1f32.to_le_bytes().to_vec(), json!(0.1)),
        (r#""double""#.to_owned(), f64::NAN.to_le_bytes().to_vec(), json!("NaN")),
        (r#""string""#.to_owned(), prefixed("é".as_bytes()), json!("é")),
        (r#""bytes""#.to_owned(), prefixed(b"abc"), json!("abc")),
        (r#""bytes""#.to_owned(), prefixed(&[0xff, 0]), json!("base64:/wA=")),
        (fixed(2, ""), vec![0x41, 0x42], json!("AB")),
        (
            fixed(16, r#", "logicalType": "uuid""#),
            (0..16).collect(),
            json!("00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ),
        (
            fixed(12, r#", "logicalType": "duration""#),
            [[1, 0, 0, 0], [2, 0, 0, 0], [188, 11, 0, 0]].concat(),
            json!("P1M2DT3.004S"),
        ),
        (r#"["null", "long"]"#.to_owned(), vec![2, 4], json!(2)),
        (r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#.to_owned(), vec![2], json!("B")),
        (r#"{"type": "array", "items": "int"}"#.to_owned(), vec![4, 2, 4, 0], json!([1, 2])),
        (r#"{"type": "map", "values": "int"}"#.to_owned(), vec![2, 2, b'k', 2, 0], json!({"k": 1})),
        (logical("int", "date"), long(19_423), json!("2023-03-07")),
        (logical("int", "time-millis"), long(43_478_120), json!("12:04:38.12")),
        (
            logical("long", "timestamp-millis"),
            long(time / 1_000),
            json!("2023-03-07T12:04:38.123Z"),
        ),
        (logical("long", "timestamp-micros"), long(time), json!("2023-03-07T12:04:38.123456Z")),
        (logical("long", "timestamp-nanos"), long(-1), json!("1969-12-31T23:59:59.999999999Z")),
        (
            logical("long", "local-timestamp-micros"),
            long(time),
            json!("2023-03-07T12:04:38.123456"),
        ),
        // What stands for "never" is no time, and no reason to lose the record.
        (logical("long", "timestamp-millis"), long(i64::MAX), json!(i64::MAX)),
        (logical("int", "time-millis"), long(-1), json!(-1)),
    ] {
        assert_eq!(read(&kind, &body), Ok(wanted), "{kind}");
    }
}

#[test]
fn decimals_are_exact_whatever_their_size() {
    let digits = |bytes: &[u8], scale| text::decimal(bytes, scale).unwrap();
    for (bytes, scale, wanted) in [
        (&[][..], 2, "0.00"),
        (&[0], 0, "0"),
        (&[0x30, 0x39], 2, "123.45"),
        (&[0xcf, 0xc7], 2, "-123.45"),
        (&[0xff], 3, "-0.001"),
        (&[0x80], 0, "-128"),
        (&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1, "1844674407370955161.5"),
        (&[0x7f; 20], 0, "727885129180488904360266563744972327436484050815"),
    ] {
        assert_eq!(digits(bytes, scale), wanted, "{bytes:?}");
    }
    assert_eq!(text::decimal(&[1], 1_001).unwrap_err().class, "limit");
    assert_eq!(text::decimal(&[1], -1).unwrap_err().class, "limit");
    assert_eq!(text::decimal(&[1; 257], 0).unwrap_err().class, "limit");
}

#[test]
fn types_that_hold_themselves_are_read_and_end() {
    let list = r#"{"type": "record", "name": "n.Node", "fields": [
        {"name": "v", "type": "int"}, {"name": "next", "type": ["null", "Node"]}]}"#;
    let foreign = Foreign::parse(list).unwrap();
    assert_eq!(foreign.read(&[2, 2, 4, 0]), Ok(json!({"v": 1, "next": {"v": 2, "next": null}})));
    let deep = [2, 2].repeat(500);
    assert_eq!(foreign.read(&deep).unwrap_err().class, "limit");
}

#[test]
fn what_a_body_claims_costs_nothing() {
    // Each type holds the next one twice: 2^40 values out of no byte at all.
    let mut kind = r#""null""#.to_owned();
    for level in 0..40 {
        kind = format!(
            r#"{{"type": "record", "name": "L{level}", "fields": [{{"name": "a", "type": {kind}}}, {{"name": "b", "type": "{}"}}]}}"#,
            if level == 0 { "null".to_owned() } else { format!("L{}", level - 1) }
        );
    }
    let class = |kind: &str, body: &[u8]| read(kind, body).unwrap_err().class;
    assert_eq!(class(&kind, &[]), "limit");
    let many = r#"{"type": "array", "items": "null"}"#;
    assert_eq!(class(many, &long(i64::MAX)), "decode");
    assert_eq!(class(r#""bytes""#, &long(i64::MAX)), "decode");
    assert_eq!(class(r#""bytes""#, &long(-1)), "decode");
    assert_eq!(class(r#"["null", "int"]"#, &long(2)), "decode");
    assert_eq!(class(r#""int""#, &[2, 0]), "decode");
    assert_eq!(class(r#""string""#, &vec![0; MAX_BODY + 1]), "limit");
}

#[test]
fn a_schema_that_cannot_be_read_with_is_refused() {
    for schema in ["", "{}", r#""Other""#, r#"{"type": "enum", "name": "E", "symbols": []}"#, "[]"]
    {
        assert_eq!(Foreign::parse(schema).unwrap_err().class, "schema", "{schema}");
    }
    let long = format!(r#"{{"type": "string", "doc": "{}"}}"#, "x".repeat(1 << 20));
    assert!(Foreign::parse(&long).is_err());
}

#[test]
fn both_frames_find_their_schema_and_an_id_that_is_not_known_is_said() {
    let schema = field(r#""int""#);
    let mut known = Foreigners::default();
    let value = [0, 0, 0, 0, 7, 84];
    let error = known.read(&value).unwrap_err();
    assert_eq!((error.class, error.needs), ("schema", Some(7)));
    known.learn(7, &schema).unwrap();
    assert_eq!(known.read(&value), Ok(json!({"f": 42})));
    let single = [&[0xc3, 1][..], &fingerprint(&schema).unwrap(), &[84]].concat();
    let error = known.read(&single).unwrap_err();
    assert_eq!((error.class, error.needs), ("schema", None));
    assert!(error.reason.contains("`schemas` of the source"), "{error}");
    known.add(&schema).unwrap();
    assert_eq!(known.read(&single), Ok(json!({"f": 42})));
    assert_eq!(known.read(b"{}").unwrap_err().class, "framing");
    assert!(known.learn(8, "{}").is_err() && known.add("{}").is_err());
}
