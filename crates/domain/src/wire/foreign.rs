//! Avro records that somebody else's schema describes, as JSON, so that fields can be named by path.
//! apache-avro says what a schema means; the bodies are read by our own bounded reader, so that what
//! they claim costs nothing. Slower than the codecs of our own facts.

mod plan;
mod text;

use super::avro::{MAX_BODY, Reader};
use super::canonical::{fingerprint, own_fingerprint};
use super::{Fingerprint, WireError, Writer, unframe};
use plan::{As, Node, Plan, Time};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How deep values may be nested.
const MAX_DEPTH: usize = 64;
/// What one body may take up as JSON, in bytes: about sixteen times as much as the longest body.
const ROOM: usize = 16 << 20;
/// What a value takes up, beside its text.
const VALUE: usize = 64;

/// A schema that bodies can be read with.
#[derive(Debug)]
pub struct Foreign(Plan);

/// The schemas that values are read with: by the ids of a registry, and by their fingerprints.
#[derive(Clone, Debug, Default)]
pub struct Foreigners {
    by_id: BTreeMap<u32, Arc<Foreign>>,
    by_fingerprint: BTreeMap<Fingerprint, Arc<Foreign>>,
}

impl Foreigners {
    /// Values in single-object encoding may be written with this schema.
    ///
    /// # Errors
    /// Of class `schema` if it is none that can be read.
    pub fn add(&mut self, schema: &str) -> Result<(), WireError> {
        let foreign = Arc::new(Foreign::parse(schema)?);
        let own = own_fingerprint(schema)?;
        for name in [fingerprint(schema)?, own] {
            self.by_fingerprint.insert(name, foreign.clone());
        }
        Ok(())
    }

    /// A registry's id names this schema.
    ///
    /// # Errors
    /// As [`Foreigners::add`].
    pub fn learn(&mut self, id: u32, schema: &str) -> Result<(), WireError> {
        self.by_id.insert(id, Arc::new(Foreign::parse(schema)?));
        Ok(())
    }

    /// A framed value as JSON.
    ///
    /// # Errors
    /// Of class `framing`, `schema`, `decode` or `limit`. If only the id is not known,
    /// [`WireError::needs`] says which.
    pub fn read(&self, bytes: &[u8]) -> Result<Value, WireError> {
        let (writer, body) = unframe(bytes)?;
        let foreign = match writer {
            Writer::Id(id) => self.by_id.get(&id).ok_or_else(|| {
                let reason = format!(
                    "the value names schema id {id}, which is not known: name the registry in [schema]"
                );
                WireError::unknown(id, reason)
            })?,
            Writer::Fingerprint(writer) => self.by_fingerprint.get(&writer).ok_or_else(|| {
                let (found, known) = (u64::from_le_bytes(writer), self.by_fingerprint.len());
                let reason = format!(
                    "the value was written with schema {found:016x}, which is none of the {known} fingerprints that are known: add the schema's file to `schemas` of the source"
                );
                WireError::new("schema", reason)
            })?,
        };
        foreign.read(body)
    }
}

impl Foreign {
    /// Reads a schema.
    ///
    /// # Errors
    /// Of class `schema` if it is none, or refers to types that it does not hold.
    pub fn parse(schema: &str) -> Result<Foreign, WireError> {
        Plan::of(schema).map(Foreign)
    }

    /// A body as JSON: records and maps as objects, enums as their symbols, unions as what they hold.
    /// Decimals, times and UUIDs are text, exactly; bytes are text if they are UTF-8, and else
    /// `base64:` and their base64.
    ///
    /// # Errors
    /// Of class `decode` or `limit`.
    pub fn read(&self, body: &[u8]) -> Result<Value, WireError> {
        let name = self.0.name.as_str();
        super::whole(body, MAX_BODY, name, |reader| {
            let mut walk = Walk { plan: &self.0, room: ROOM };
            walk.value(reader, self.0.root, 0)
        })
    }
}

/// One reading of a body.
struct Walk<'p> {
    plan: &'p Plan,
    /// How much more may be made of it.
    room: usize,
}

impl Walk<'_> {
    fn charge(&mut self, bytes: usize) -> Result<(), WireError> {
        self.room = self.room.checked_sub(bytes).ok_or_else(|| {
            WireError::new("limit", format!("the record would take up more than {ROOM} bytes"))
        })?;
        Ok(())
    }

    fn value(&mut self, r: &mut Reader<'_>, at: usize, depth: usize) -> Result<Value, WireError> {
        self.charge(VALUE)?;
        if depth > MAX_DEPTH {
            let reason = format!("the record is nested deeper than {MAX_DEPTH}");
            return Err(WireError::new("limit", reason));
        }
        let plan = self.plan;
        Ok(match &plan.nodes[at] {
            Node::Null => Value::Null,
            Node::Boolean => r.boolean()?.into(),
            Node::Int => r.int()?.into(),
            Node::Long => r.long()?.into(),
            Node::Float => float(r.fixed().map(f32::from_le_bytes)?),
            Node::Double => number(f64::from_le_bytes(r.fixed()?)),
            Node::String => self.text(r.str()?)?.into(),
            Node::Bytes(how) => self.bytes(r.bytes()?, *how)?,
            Node::Fixed(size, how) => self.bytes(r.take(*size, "the fixed value")?, *how)?,
            Node::Time(Time::OfInt(unit)) => unit.show(r.int()?.into()),
            Node::Time(Time::OfLong(unit)) => unit.show(r.long()?),
            Node::Enum(symbols) => self.text(&symbols[r.index(symbols.len())?])?.into(),
            Node::Union(branches) => {
                let branch = branches[r.index(branches.len())?];
                self.value(r, branch, depth + 1)?
            }
            Node::Array(item) => r.items(|r| self.value(r, *item, depth + 1)).map(Value::Array)?,
            Node::Map(value) => {
                let entries = r.items(|r| {
                    let key = self.text(r.str()?)?;
                    Ok((key, self.value(r, *value, depth + 1)?))
                })?;
                Value::Object(entries.into_iter().collect())
            }
            Node::Record(fields) => {
                let mut object = Map::new();
                for (name, field) in fields {
                    let value = self.value(r, *field, depth + 1)?;
                    object.insert(self.text(name)?, value);
                }
                Value::Object(object)
            }
        })
    }

    fn text(&mut self, text: &str) -> Result<String, WireError> {
        self.charge(text.len())?;
        Ok(text.to_owned())
    }

    fn bytes(&mut self, bytes: &[u8], how: As) -> Result<Value, WireError> {
        self.charge(2 * bytes.len())?;
        let text = match how {
            As::Bytes => text::bytes(bytes),
            As::Decimal(scale) => text::decimal(bytes, scale)?,
            As::BigDecimal => {
                let mut inner = Reader::new(bytes, MAX_BODY)?;
                let (unscaled, scale) = (inner.bytes()?, inner.long()?);
                inner.finish()?;
                text::decimal(unscaled, scale)?
            }
            As::Uuid => text::uuid(bytes)?,
            As::Duration => text::duration(bytes)?,
        };
        self.charge(text.len())?;
        Ok(text.into())
    }
}

/// What is no number in JSON is its name.
fn number(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

/// With the digits of the float, not those that a double would add.
fn float(value: f32) -> Value {
    number(value.to_string().parse().unwrap_or(f64::from(value)))
}

#[cfg(test)]
mod tests;
