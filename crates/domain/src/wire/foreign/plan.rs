//! A schema as a list of nodes that name each other by number: every reference is resolved once,
//! and types that hold themselves need no special care.

use super::text::Unit;
use crate::wire::WireError;
use crate::wire::canonical::parse;
use apache_avro::Schema;
use apache_avro::schema::{FixedSchema, InnerDecimalSchema, Name, UuidSchema};
use std::collections::HashMap;

/// The longest text of a schema, in bytes.
const MAX_SCHEMA: usize = 1 << 20;

/// A schema, compiled.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
    /// What it is called in errors.
    pub(super) name: String,
}

/// One type. Numbers are places in [`Plan::nodes`].
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    String,
    Bytes(As),
    Fixed(usize, As),
    Time(Time),
    Enum(Vec<String>),
    Union(Vec<usize>),
    Array(usize),
    Map(usize),
    Record(Vec<(String, usize)>),
}

/// What bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) enum As {
    Bytes,
    Decimal(i64),
    BigDecimal,
    Uuid,
    Duration,
}

/// A number that is a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    OfInt(Unit),
    OfLong(Unit),
}

impl Plan {
    pub(super) fn of(text: &str) -> Result<Plan, WireError> {
        if text.len() > MAX_SCHEMA {
            return Err(fault(format!("it has {} bytes; allowed: {MAX_SCHEMA}", text.len())));
        }
        let schema = parse(text)?;
        let name = schema.name().map_or_else(|| "a value".to_owned(), |name| name.fullname(None));
        let mut compiler = Compiler::default();
        let root = compiler.node(&schema, None)?;
        Ok(Plan { nodes: compiler.nodes, root, name })
    }
}

#[derive(Default)]
struct Compiler {
    nodes: Vec<Node>,
    names: HashMap<String, usize>,
}

impl Compiler {
    fn put(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Makes room for a named type, so that what is inside can refer to it.
    fn named(&mut self, name: &Name, within: Option<&str>) -> usize {
        let place = self.put(Node::Null);
        self.names.insert(name.fullname(within), place);
        place
    }

    fn fixed(&mut self, fixed: &FixedSchema, how: As, within: Option<&str>) -> usize {
        let place = self.named(&fixed.name, within);
        self.nodes[place] = Node::Fixed(fixed.size, how);
        place
    }

    /// The place of `schema`, which stands in the namespace `within`.
    fn node(&mut self, schema: &Schema, within: Option<&str>) -> Result<usize, WireError> {
        let node = match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int => Node::Int,
            Schema::Long => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes => Node::Bytes(As::Bytes),
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::String,
            Schema::Uuid(UuidSchema::Bytes) => Node::Bytes(As::Uuid),
            Schema::BigDecimal => Node::Bytes(As::BigDecimal),
            Schema::Date => Node::Time(Time::OfInt(Unit::Days)),
            Schema::TimeMillis => Node::Time(Time::OfInt(Unit::OfDay(1_000))),
            Schema::TimeMicros => Node::Time(Time::OfLong(Unit::OfDay(1_000_000))),
            Schema::TimestampMillis => Node::Time(Time::OfLong(Unit::Instant(1_000))),
            Schema::TimestampMicros => Node::Time(Time::OfLong(Unit::Instant(1_000_000))),
            Schema::TimestampNanos => Node::Time(Time::OfLong(Unit::Instant(1_000_000_000))),
            Schema::LocalTimestampMillis => Node::Time(Time::OfLong(Unit::Local(1_000))),
            Schema::LocalTimestampMicros => Node::Time(Time::OfLong(Unit::Local(1_000_000))),
            Schema::LocalTimestampNanos => Node::Time(Time::OfLong(Unit::Local(1_000_000_000))),
            Schema::Array(array) => Node::Array(self.node(&array.items, within)?),
            Schema::Map(map) => Node::Map(self.node(&map.types, within)?),
            _ => return self.larger(schema, within),
        };
        Ok(self.put(node))
    }

    /// Types with names, and those that hold several.
    fn larger(&mut self, schema: &Schema, within: Option<&str>) -> Result<usize, WireError> {
        match schema {
            Schema::Fixed(fixed) => Ok(self.fixed(fixed, As::Bytes, within)),
            Schema::Uuid(UuidSchema::Fixed(fixed)) => Ok(self.fixed(fixed, As::Uuid, within)),
            Schema::Duration(fixed) => Ok(self.fixed(fixed, As::Duration, within)),
            Schema::Decimal(decimal) => {
                let scale = i64::try_from(decimal.scale).unwrap_or(i64::MAX);
                Ok(match &decimal.inner {
                    InnerDecimalSchema::Bytes => self.put(Node::Bytes(As::Decimal(scale))),
                    InnerDecimalSchema::Fixed(fixed) => {
                        self.fixed(fixed, As::Decimal(scale), within)
                    }
                })
            }
            Schema::Enum(symbols) if !symbols.symbols.is_empty() => {
                let place = self.named(&symbols.name, within);
                self.nodes[place] = Node::Enum(symbols.symbols.clone());
                Ok(place)
            }
            Schema::Union(union) if !union.variants().is_empty() => {
                let branches = union.variants().iter().map(|branch| self.node(branch, within));
                let branches = branches.collect::<Result<_, _>>()?;
                Ok(self.put(Node::Union(branches)))
            }
            Schema::Record(record) => {
                let place = self.named(&record.name, within);
                let full = record.name.fully_qualified_name(within).into_owned();
                let fields = record.fields.iter().map(|field| {
                    let node = self.node(&field.schema, full.namespace())?;
                    Ok((field.name.clone(), node))
                });
                self.nodes[place] = Node::Record(fields.collect::<Result<_, WireError>>()?);
                Ok(place)
            }
            Schema::Ref { name } => {
                let name = name.fullname(within);
                self.names.get(&name).copied().ok_or_else(|| {
                    fault(format!("it refers to {name:?}, which it does not hold itself"))
                })
            }
            _ => Err(fault("an enum or a union in it has nothing to choose from".to_owned())),
        }
    }
}

fn fault(reason: String) -> WireError {
    WireError::new("schema", format!("the schema cannot be read with: {reason}"))
}
