//! What a request asks: the parts of its path and its query, checked. Nothing is guessed: an
//! unknown parameter or a limit that is too high is refused.

use crate::answer::Fault;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use std::collections::BTreeMap;
use std::convert::Infallible;
use tocsin_domain::Micros;
use tocsin_store::{TableSpec, Type, Value};

/// The most items of one answer.
pub(crate) const MAX_LIMIT: usize = 500;
/// The items of an answer when nobody says otherwise.
const LIMIT: usize = 50;
/// The longest value of a parameter, in bytes.
const MAX_VALUE: usize = 1024;

type Words = BTreeMap<String, String>;

/// A request without its body.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    path: Words,
    query: Words,
    fault: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Ask, Infallible> {
        let path = Path::<Words>::from_request_parts(parts, state).await;
        let query = Query::<Words>::from_request_parts(parts, state).await;
        let fault = match (&path, &query) {
            (Err(error), _) => Some(error.to_string()),
            (_, Err(error)) => Some(error.to_string()),
            _ => None,
        };
        let path = path.map(|Path(words)| words).unwrap_or_default();
        let query = query.map(|Query(words)| words).unwrap_or_default();
        Ok(Ask { path, query, fault })
    }
}

impl Ask {
    /// Refuses what could not be read, what is too long, and parameters other than these.
    pub fn check(&self, allowed: &[&str]) -> Result<(), Fault> {
        if let Some(fault) = &self.fault {
            return Err(Fault::Bad(fault.clone()));
        }
        let words = self.path.iter().chain(&self.query);
        if let Some((name, _)) = words.into_iter().find(|(_, value)| value.len() > MAX_VALUE) {
            return Err(Fault::Bad(format!("{name} is longer than {MAX_VALUE} bytes")));
        }
        match self.query.keys().find(|name| !allowed.contains(&name.as_str())) {
            Some(name) if allowed.is_empty() => {
                Err(Fault::Bad(format!("there is no parameter {name:?} here, and no other")))
            }
            Some(name) => Err(Fault::Bad(format!(
                "there is no parameter {name:?} here, there is {}",
                allowed.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// A part of the path; empty if the route has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A parameter; `None` if it is absent or empty.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// How many items: 1 to [`MAX_LIMIT`].
    pub fn limit(&self) -> Result<usize, Fault> {
        let Some(text) = self.query("limit") else { return Ok(LIMIT) };
        match text.parse() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            _ => Err(Fault::Bad(format!("limit is {text:?}, it must be 1 to {MAX_LIMIT}"))),
        }
    }

    /// A number from 0; 0 if nothing is said.
    pub fn number(&self, name: &str) -> Result<usize, Fault> {
        let text = self.query(name).unwrap_or("0");
        text.parse()
            .map_err(|_| Fault::Bad(format!("{name} is {text:?}, it must be a number from 0")))
    }

    /// A time or a date (its first moment in UTC).
    pub fn time(&self, name: &str) -> Result<Option<Micros>, Fault> {
        let Some(text) = self.query(name) else { return Ok(None) };
        let time = Micros::parse(text).or_else(|| Micros::parse(&format!("{text}T00:00:00Z")));
        time.map(Some).ok_or_else(|| {
            Fault::Bad(format!(
                "{name} is {text:?}, it must be a date such as 2023-06-07 or a time such as \
                 2023-06-07T12:00:00Z"
            ))
        })
    }

    /// A UTC date.
    pub fn day(&self, name: &str) -> Result<Option<String>, Fault> {
        Ok(self.time(name)?.map(Micros::date))
    }

    /// Where a list goes on: what the answer before this one said in `next`.
    pub fn after(&self, table: &TableSpec) -> Result<Vec<Value>, Fault> {
        let Some(text) = self.query("after") else { return Ok(Vec::new()) };
        read_cursor(table, text)
            .ok_or_else(|| Fault::Bad(format!("after is {text:?}, it must be what `next` said")))
    }
}

/// A place in a list as text.
pub(crate) fn cursor(values: &[Value]) -> String {
    let plain = |value: &Value| match value {
        Value::Time(time) => time.0.into(),
        other => other.json(),
    };
    serde_json::Value::from_iter(values.iter().map(plain)).to_string()
}

fn read_cursor(table: &TableSpec, text: &str) -> Option<Vec<Value>> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    if values.is_empty() || values.len() != table.clustering_key.len() {
        return None;
    }
    let value = |((name, _), value): (&(&str, _), &serde_json::Value)| {
        let (_, kind) = table.columns.get(table.column(name)?)?;
        match kind {
            Type::Text => Some(value.as_str()?.into()),
            Type::Int => Some(value.as_i64()?.into()),
            Type::Bool => Some(value.as_bool()?.into()),
            Type::Time => Some(Micros(value.as_i64()?).into()),
        }
    };
    table.clustering_key.iter().zip(&values).map(value).collect()
}
