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
    parse(schema)?;
    let mut json: Value = serde_json::from_str(schema).map_err(fault)?;
    drop_logical_types(&mut json);
    own_fingerprint(&parse(&json.to_string())?)
}

/// The fingerprint as apache-avro makes it.
pub(super) fn own_fingerprint(schema: &Schema) -> Result<Fingerprint, WireError> {
    schema.fingerprint::<Rabin>().bytes.try_into().map_err(|_| fault("it has no eight bytes"))
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
        assert_ne!(fingerprint(&text).unwrap(), own_fingerprint(&parse(&text).unwrap()).unwrap());
        let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#;
        assert_eq!(fingerprint(decimal), fingerprint(r#""bytes""#));
        assert!(fingerprint("{}").is_err());
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
