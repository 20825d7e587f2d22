//! Whether two versions of a schema can stand in one topic: each reads what the other wrote, and no
//! field moves. apache-avro is the authority on the first.

use super::{WireError, canonical::parse};
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::Value;

/// Whether all versions of a schema are compatible with each other, oldest first: full and transitive.
/// An error of class `schema` names two that are not and what is in the way, or one that is no schema.
pub fn compatible<T: AsRef<str>>(versions: &[T]) -> Result<(), WireError> {
    for (i, older) in versions.iter().enumerate() {
        for (j, newer) in versions.iter().enumerate().skip(i + 1) {
            pair(older.as_ref(), newer.as_ref()).map_err(|error| {
                let (older, newer) = (i + 1, j + 1);
                WireError::new("schema", format!("versions {older} and {newer}: {}", error.reason))
            })?;
        }
    }
    Ok(())
}

fn pair(older: &str, newer: &str) -> Result<(), WireError> {
    let fault = |reason: String| WireError::new("schema", reason);
    SchemaCompatibility::mutual_read(&parse(older)?, &parse(newer)?)
        .map_err(|error| fault(error.to_string()))?;
    let (before, after) = (fields(older), fields(newer));
    // Our codecs read fields in their order: a new one comes last.
    let moved = before.iter().zip(&after).find(|(before, after)| before != after);
    match moved {
        Some((before, after)) => Err(fault(format!(
            "field {after:?} stands where {before:?} was: add fields at the end"
        ))),
        None if after.len() < before.len() => {
            Err(fault(format!("field {:?} is gone: keep every field", before[after.len()])))
        }
        None => Ok(()),
    }
}

/// The names of a record's fields, in their order; none if it is no record.
fn fields(schema: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let fields = schema.get("fields").and_then(Value::as_array);
    let names = fields.into_iter().flatten().filter_map(|field| field.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_reader_is_refused_with_the_reason() {
        let schema =
            |fields: &str| format!(r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#);
        let a = r#"{"name": "a", "type": "string", "default": ""}"#;
        let b = r#"{"name": "b", "type": "string", "default": ""}"#;
        for (newer, reason) in [
            (format!("{a}, {b}"), ""),
            (a.to_owned(), ""),
            (format!("{b}, {a}"), "stands where \"a\" was"),
            (b.to_owned(), "stands where \"a\" was"),
            (String::new(), "field \"a\" is gone"),
            (format!(r#"{a}, {{"name": "b", "type": "string"}}"#), "b"),
            (r#"{"name": "a", "type": "long"}"#.to_owned(), "a"),
        ] {
            match compatible(&[schema(a), schema(&newer)]) {
                Ok(()) => assert_eq!(reason, "", "{newer}"),
                Err(error) => {
                    assert_ne!(reason, "", "{newer}: {error}");
                    assert!(error.reason.contains(reason), "{newer}: {error}");
                }
            }
        }
        assert!(compatible(&["{}", &schema(a)]).is_err());
        let error = compatible(&[schema(a), schema(a), schema(b)]).unwrap_err();
        assert!(error.reason.starts_with("versions 1 and 3: field"), "{error}");
    }
}
