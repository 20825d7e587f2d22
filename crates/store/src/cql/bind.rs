//! Values as bytes on the wire, and back. Writes are laid out by hand from the borrowed row: no
//! copy of a row is made before it is sent.

use crate::newest::Layout;
use crate::store::Write;
use crate::table::TableSpec;
use crate::value::{Row, Type, Value};
use scylla::frame::response::result::{ColumnType, NativeType};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, RowWriter, WrittenCellProof};
use scylla::value::CqlValue;
use tocsin_domain::Micros;

/// Two hundred years. ScyllaDB refuses timestamps that lie days ahead, so one station with a wrong
/// clock would stop all that follows. Only their order counts, so all of them stand in the past.
const BACK: i64 = 200 * 366 * 86_400_000_000;

/// A write as the values of its INSERT: the key, the rest as one value, the timestamp.
#[derive(Clone, Copy)]
pub(super) struct Bound<'w> {
    pub(super) layout: &'w Layout,
    pub(super) write: &'w Write,
}

impl Bound<'_> {
    /// About how many bytes it takes on the wire.
    pub(super) fn size(&self) -> usize {
        let size = |value: &Value| if let Value::Text(text) = value { text.len() + 4 } else { 12 };
        self.write.row.iter().map(size).sum::<usize>() + 24
    }
}

impl SerializeRow for Bound<'_> {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let Write { row, version, .. } = self.write;
        for at in &self.layout.key {
            put(&row[*at], writer.make_cell_writer())?;
        }
        let mut whole = writer.make_cell_writer().into_value_builder();
        put(&Value::Int(version.then), whole.make_sub_writer())?;
        for at in &self.layout.rest {
            put(&row[*at], whole.make_sub_writer())?;
        }
        whole.finish().map_err(SerializationError::new)?;
        put(&Value::Int(version.first.saturating_sub(BACK)), writer.make_cell_writer())?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// A value that is asked for.
pub(super) struct Asked(pub(super) Value);

impl SerializeValue for Asked {
    fn serialize<'b>(
        &self,
        kind: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        // The limit is the only number of 32 bits.
        match (&self.0, kind) {
            (Value::Int(limit), ColumnType::Native(NativeType::Int)) => {
                let limit = i32::try_from(*limit).unwrap_or(i32::MAX);
                writer.set_value(&limit.to_be_bytes()).map_err(SerializationError::new)
            }
            (value, _) => put(value, writer),
        }
    }
}

fn put<'b>(
    value: &Value,
    writer: CellWriter<'b>,
) -> Result<WrittenCellProof<'b>, SerializationError> {
    let written = match value {
        Value::Null => return Ok(writer.set_null()),
        Value::Text(text) => writer.set_value(text.as_bytes()),
        Value::Int(number) | Value::Time(Micros(number)) => writer.set_value(&number.to_be_bytes()),
        Value::Bool(truth) => writer.set_value(&[u8::from(*truth)]),
    };
    written.map_err(SerializationError::new)
}

/// A row of the answer, whose columns are those of the table.
pub(super) fn row(table: &TableSpec, columns: Vec<Option<CqlValue>>) -> Row {
    let kinds = table.columns.iter().map(|(_, kind)| *kind);
    kinds.zip(columns).map(|(kind, value)| from_cql(value, kind)).collect()
}

fn from_cql(value: Option<CqlValue>, kind: Type) -> Value {
    match value {
        Some(CqlValue::Text(text) | CqlValue::Ascii(text)) => Value::Text(text),
        Some(CqlValue::BigInt(number)) if kind == Type::Time => Value::Time(Micros(number)),
        Some(CqlValue::BigInt(number)) => Value::Int(number),
        Some(CqlValue::Boolean(truth)) => Value::Bool(truth),
        // An empty text may come as an empty value.
        Some(CqlValue::Empty) if kind == Type::Text => Value::Text(String::new()),
        _ => Value::Null,
    }
}
