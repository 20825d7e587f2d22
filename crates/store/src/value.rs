//! What stands in a column, and the row that columns make.

use tocsin_domain::Micros;

/// The type of a column. Exact decimals are text: no store changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// UTF-8.
    Text,
    /// 64 bits, signed.
    Int,
    /// True or false.
    Bool,
    /// UTC microseconds.
    Time,
}

/// What stands in a column of one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Nothing; not allowed in a key.
    Null,
    /// UTF-8.
    Text(String),
    /// 64 bits, signed.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// UTC microseconds.
    Time(Micros),
}

/// Values in the order of their table's columns.
pub type Row = Vec<Value>;

impl Value {
    /// Whether it may stand in a column of that type; null may stand in every column.
    pub fn fits(&self, kind: Type) -> bool {
        match self {
            Value::Null => true,
            Value::Text(_) => kind == Type::Text,
            Value::Int(_) => kind == Type::Int,
            Value::Bool(_) => kind == Type::Bool,
            Value::Time(_) => kind == Type::Time,
        }
    }

    /// How many bytes the text has; `None` if it is not one.
    pub(crate) fn text_size(&self) -> Option<usize> {
        if let Value::Text(text) = self { Some(text.len()) } else { None }
    }

    /// The text; empty if it is not one.
    pub fn text(&self) -> &str {
        if let Value::Text(text) = self { text } else { "" }
    }

    /// The number; `None` if it is not one.
    pub fn int(&self) -> Option<i64> {
        if let Value::Int(number) = self { Some(*number) } else { None }
    }

    /// The time; `None` if it is not one.
    pub fn time(&self) -> Option<Micros> {
        if let Value::Time(time) = self { Some(*time) } else { None }
    }

    /// As JSON; times are RFC 3339.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
            Value::Int(number) => (*number).into(),
            Value::Bool(truth) => (*truth).into(),
            Value::Time(time) => time.to_string().into(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<Micros> for Value {
    fn from(time: Micros) -> Value {
        Value::Time(time)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}
