//! The slow path: rewrites a body that an older version of a schema wrote as today's version writes
//! it. apache-avro is the authority on how; it is used here and nowhere else on the path.

use super::canonical::{fingerprint, own_fingerprint, parse};
use super::{Fingerprint, WireError, catalogue};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::util::max_allocation_bytes;
use apache_avro::writer::datum::GenericDatumWriter;
use std::io::{self, Read};
use std::sync::OnceLock;

/// A version of a schema that is no longer written and still read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Older {
    name: &'static str,
    schema: &'static str,
}

/// Every kept version but the newest: `schemas/versions/<name>/<n>.avsc`. A test holds it.
const OLDER: &[Older] = &[
    Older {
        name: "tocsin.DeadLetter",
        schema: include_str!("../../../../schemas/versions/dead_letter/1.avsc"),
    },
    Older {
        name: "tocsin.DeadLetter",
        schema: include_str!("../../../../schemas/versions/dead_letter/2.avsc"),
    },
    Older {
        name: "tocsin.Watch",
        schema: include_str!("../../../../schemas/versions/watch/1.avsc"),
    },
];

/// What apache-avro may allocate for one body: its values are some fifty times as large as bytes.
const ROOM: usize = 64 << 20;

struct Pair {
    name: &'static str,
    writer: Schema,
    reader: Schema,
    fingerprints: [Fingerprint; 2],
}

/// The body as today's schema `name` writes it. Errors are of class `schema` for a fingerprint that
/// is no version of `name`, `limit` above `max_body` bytes, and `decode`.
pub(super) fn modernise(
    body: &[u8],
    writer: Fingerprint,
    name: &str,
    max_body: usize,
) -> Result<Vec<u8>, WireError> {
    let pair = find(writer)?;
    if pair.name != name {
        let found = pair.name;
        return Err(WireError::new("schema", format!("a {found} stands where a {name} must be")));
    }
    if body.len() > max_body {
        let found = body.len();
        return Err(WireError::new("limit", format!("the body has {found} bytes, not {max_body}")));
    }
    rewrite(body, &pair.writer, &pair.reader).map_err(|error| error.reading(name))
}

/// The texts of the versions of `name` that are no longer written, oldest first.
pub(super) fn older(name: &str) -> impl Iterator<Item = &'static str> {
    OLDER.iter().filter(move |older| older.name == name).map(|older| older.schema)
}

/// The name of the schema that `writer` is a version of.
pub(super) fn name_of(writer: Fingerprint) -> Result<&'static str, WireError> {
    find(writer).map(|pair| pair.name)
}

fn find(writer: Fingerprint) -> Result<&'static Pair, WireError> {
    static PAIRS: OnceLock<Result<Vec<Pair>, WireError>> = OnceLock::new();
    let pairs = PAIRS.get_or_init(|| {
        // Today's schemas stand here for the fingerprint that apache-avro's own writers give them.
        let todays = catalogue::FACTS.map(|fact| Older { name: fact.name, schema: fact.schema });
        OLDER.iter().chain(&todays).map(pair).collect()
    });
    let pairs = pairs.as_ref().map_err(WireError::clone)?;
    pairs.iter().find(|pair| pair.fingerprints.contains(&writer)).ok_or_else(|| {
        let found = u64::from_le_bytes(writer);
        WireError::new(
            "schema",
            format!(
                "the value was written with schema {found:016x}, which is no kept version of the \
                 schema that is read here: add its file to schemas/versions"
            ),
        )
    })
}

fn pair(older: &Older) -> Result<Pair, WireError> {
    let writer = parse(older.schema)?;
    let reader = parse(catalogue::by_name(older.name)?.schema)?;
    let fingerprints = [fingerprint(older.schema)?, own_fingerprint(older.schema)?];
    Ok(Pair { name: older.name, writer, reader, fingerprints })
}

/// Reads with the writer's schema, resolves to the reader's and writes again.
fn rewrite(body: &[u8], writer: &Schema, reader: &Schema) -> Result<Vec<u8>, WireError> {
    let fault = |error: apache_avro::Error| WireError::new("decode", error.to_string());
    max_allocation_bytes(ROOM);
    let mut rest = Body(body);
    let value = GenericDatumReader::builder(writer)
        .reader_schema(reader)
        .build()
        .and_then(|datum| datum.read_value(&mut rest))
        .map_err(fault)?;
    if !rest.0.is_empty() {
        let left = rest.0.len();
        return Err(WireError::new("decode", format!("{left} bytes are left over")));
    }
    GenericDatumWriter::builder(reader)
        .build()
        .and_then(|datum| datum.write_value_to_vec(value))
        .map_err(fault)
}

/// A body whose end is a fault: at an ordinary end of file apache-avro reads null for what is
/// missing, so half a record would pass for a whole one.
struct Body<'a>(&'a [u8]);

impl Read for Body<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.len() < buf.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the body ends too early"));
        }
        self.0.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"type": "record", "name": "R", "fields": [
        {"name": "a", "type": "string"}, {"name": "b", "type": ["null", "long"]}]}"#;
    const NEW: &str = r#"{"type": "record", "name": "R", "fields": [
        {"name": "a", "type": "string"}, {"name": "b", "type": ["null", "long"]},
        {"name": "c", "type": "string", "default": "none"}]}"#;

    fn rewritten(body: &[u8]) -> Result<Vec<u8>, WireError> {
        rewrite(body, &parse(OLD).unwrap(), &parse(NEW).unwrap())
    }

    #[test]
    fn an_older_body_gains_the_defaults_of_newer_fields() {
        assert_eq!(rewritten(&[2, b'x', 2, 14]).unwrap(), b"\x02x\x02\x0e\x08none");
    }

    #[test]
    fn what_apache_avro_frames_is_read() {
        let swipe = catalogue::by_name("tocsin.Swipe").unwrap();
        let framed = own_fingerprint(swipe.schema).unwrap();
        assert_ne!(framed, swipe.fingerprint);
        let mut body = vec![7; 16];
        body.extend_from_slice(&[2, b'd', 2, b'a', 2, b'b', 1, 2, 4, 0, 0]);
        assert_eq!(modernise(&body, framed, swipe.name, 99), Ok(body.clone()));
        assert_eq!(modernise(&body, framed, "tocsin.Watch", 99).unwrap_err().class, "schema");
        assert_eq!(modernise(&body, framed, swipe.name, 9).unwrap_err().class, "limit");
    }

    #[test]
    fn half_an_older_body_is_not_a_whole_one() {
        for len in 0..4 {
            assert!(rewritten(&[2, b'x', 2, 14][..len]).is_err(), "{len}");
        }
        assert!(rewritten(&[2, b'x', 2, 14, 0]).is_err());
        assert!(rewritten(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err(), "a length of 64 GiB");
    }

    #[test]
    fn every_kept_version_but_the_newest_can_be_read() {
        let versions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/versions");
        let mut kept = Vec::new();
        for folder in std::fs::read_dir(versions).unwrap() {
            let folder = folder.unwrap().path();
            let count = std::fs::read_dir(&folder).unwrap().count();
            let text = |n| std::fs::read_to_string(folder.join(format!("{n}.avsc"))).unwrap();
            kept.extend((1..count).map(text));
        }
        let mut older: Vec<_> = OLDER.iter().map(|older| older.schema.to_owned()).collect();
        kept.sort();
        older.sort();
        assert_eq!(older, kept, "OLDER must list every version but the newest");
        assert!(OLDER.iter().all(|older| pair(older).is_ok()));
    }
}
