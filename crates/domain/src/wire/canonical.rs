//! Fingerprints of schemas. Avro's libraries disagree about logical types: Java writes
//! `{"type": "long", "logicalType": …}` as `"long"` in its canonical form, apache-avro keeps the braces
//! and a decimal's digits. Kafka's world speaks Java's, so we write that one and read both.

use super::{Fingerprint, WireError};
use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use serde_json::Value;

/// Parses a schema; an error of class `schema` if it is none.
pub(super) fn parse(schema: &str) -> Result<Schema, WireError> {
    Schema::parse_str(schema).map_err(fault)
}

/// The fingerprint of a schema's text, for example one that a registry gave: CRC-64-AVRO of the parsing
/// canonical form as Java makes it. An error of class `schema` if it is not an Avro schema.
pub fn fingerprint(schema: &str) -> Result<Fingerprint, WireError> {
    let mut json = own_attributes(schema)?;
    drop_logical_types(&mut json);
    rabin(&json)
}

/// The fingerprint of a schema's text as apache-avro makes it.
pub(super) fn own_fingerprint(schema: &str) -> Result<Fingerprint, WireError> {
    rabin(&own_attributes(schema)?)
}

fn rabin(schema: &Value) -> Result<Fingerprint, WireError> {
    let schema = parse(&schema.to_string())?;
    schema.fingerprint::<Rabin>().bytes.try_into().map_err(|_| fault("it has no eight bytes"))
}

/// A schema with Avro's own attributes alone. Everybody may add more, which no canonical form has; but
/// where one is called like one of Avro's, `"size": "large"` of a field, apache-avro panics.
fn own_attributes(schema: &str) -> Result<Value, WireError> {
    parse(schema)?;
    let mut json = serde_json::from_str(schema).map_err(fault)?;
    keep_own(&mut json);
    Ok(json)
}

fn keep_own(schema: &mut Value) {
    if let Value::Array(branches) = schema {
        branches.iter_mut().for_each(keep_own);
        return;
    }
    let Value::Object(object) = schema else { return };
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let kept: &[&str] = match kind {
        "record" => &["type", "name", "namespace", "fields"],
        "enum" => &["type", "name", "namespace", "symbols"],
        "fixed" => &["type", "name", "namespace", "size", "logicalType", "precision", "scale"],
        "array" => &["type", "items"],
        "map" => &["type", "values"],
        _ => &["type", "logicalType", "precision", "scale"],
    };
    object.retain(|name, value| {
        let is_digits = matches!(name.as_str(), "precision" | "scale");
        kept.contains(&name.as_str()) && (!is_digits || value.is_u64())
    });
    for name in ["type", "items", "values"] {
        object.get_mut(name).into_iter().for_each(keep_own);
    }
    for field in object.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(field) = field else { continue };
        field.retain(|name, _| matches!(name.as_str(), "name" | "type"));
        field.get_mut("type").into_iter().for_each(keep_own);
    }
}

fn fault(error: impl std::fmt::Display) -> WireError {
    WireError::new("schema", format!("cannot take the fingerprint of a schema: {error}"))
}

/// Leaves of a primitive schema its name alone, wherever a schema can stand.
fn drop_logical_types(schema: &mut Value) {
    if let Value::Array(branches) = schema {
        branches.iter_mut().for_each(drop_logical_types);
        return;
    }
    let Value::Object(object) = schema else { return };
    object.remove("logicalType");
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let inner = match kind {
        "record" => {
            for field in
                object.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten()
            {
                field.get_mut("type").into_iter().for_each(drop_logical_types);
            }
            None
        }
        "array" => object.get_mut("items"),
        "map" => object.get_mut("values"),
        "enum" | "fixed" => None,
        _ => {
            let mut bare = object.remove("type").unwrap_or_default();
            drop_logical_types(&mut bare);
            *schema = bare;
            None
        }
    };
    inner.into_iter().for_each(drop_logical_types);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logical_types_do_not_change_a_fingerprint() {
        let record = |plain: &str| {
            format!(
                r#"{{"type": "record", "name": "R", "fields": [
                {{"name": "a", "type": {plain}, "default": null}},
                {{"name": "type", "type": {{"type": "array", "items": {plain}}}}},
                {{"name": "m", "type": {{"type": "map", "values": {plain}}}}}]}}"#
            )
        };
        let time = r#"["null", {"type": "long", "logicalType": "timestamp-micros"}]"#;
        let text = record(time);
        assert_eq!(fingerprint(&text), fingerprint(&record(r#"["null", "long"]"#)));
        assert_ne!(fingerprint(&text).unwrap(), own_fingerprint(&text).unwrap());
        let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#;
        assert_eq!(fingerprint(decimal), fingerprint(r#""bytes""#));
        assert!(fingerprint("{}").is_err());
    }

    #[test]
    fn attributes_of_somebody_s_own_do_not_change_a_fingerprint() {
        let plain = r#"{"type": "record", "name": "R", "fields": [
            {"name": "a", "type": ["null", {"type": "array", "items": "long"}]},
            {"name": "f", "type": {"type": "fixed", "name": "F", "size": 4}}]}"#;
        let wanted = [fingerprint(plain).unwrap(), own_fingerprint(plain).unwrap()];
        for (from, to) in [
            (r#""a","#, r#""a", "size": "large", "precision": 0.5, "scale": null, "order": 3,"#),
            (r#""long""#, r#""long", "size": {}, "symbols": 7, "fields": "none", "values": null"#),
            (r#""R","#, r#""R", "items": false, "doc": 1, "size": -1, "order": "up","#),
            (r#""F","#, r#""F", "precision": "high", "items": 1, "values": 2,"#),
        ] {
            let more = plain.replacen(from, to, 1);
            assert_ne!(more, plain);
            assert_eq!(fingerprint(&more), Ok(wanted[0]), "{more}");
            assert_eq!(own_fingerprint(&more), Ok(wanted[1]), "{more}");
        }
    }

    /// The example values of the Avro specification's shared tests.
    #[test]
    fn agrees_with_the_specification() {
        for (schema, wanted) in [
            (r#""null""#, 7_195_948_357_588_979_594),
            (r#"{"type": "fixed", "name": "foo", "size": 15}"#, 1_756_455_273_707_447_556_i64),
        ] {
            assert_eq!(fingerprint(schema), Ok(wanted.to_le_bytes()), "{schema}");
        }
    }
}
