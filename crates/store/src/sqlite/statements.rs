//! SQL from table values. Names come from the program and never from input; values are always
//! bound.

use super::refused;
use crate::store::{Query, StoreError};
use crate::table::{Order, TableSpec};
use crate::value::{Type, Value};
use std::fmt::Write as _;

/// The hidden columns: no older version replaces the row.
const VERSION: [&str; 2] = ["version_", "then_"];

pub(super) fn create(table: &TableSpec) -> String {
    let mut sql = format!("CREATE TABLE IF NOT EXISTS \"{}\" (", table.name);
    for (name, kind) in table.columns {
        let kind = if *kind == Type::Text { "TEXT" } else { "INTEGER" };
        let null = if table.key().any(|key| key == *name) { " NOT NULL" } else { "" };
        let _ = write!(sql, "\"{name}\" {kind}{null}, ");
    }
    let partition = table.partition_key.iter().map(|name| format!("\"{name}\""));
    let clustering = table.clustering_key.iter().map(|(name, order)| by(name, *order));
    let key: Vec<String> = partition.chain(clustering).collect();
    let key = key.join(", ");
    for name in VERSION {
        let _ = write!(sql, "{name} INTEGER NOT NULL, ");
    }
    let _ = write!(sql, "PRIMARY KEY ({key})) STRICT, WITHOUT ROWID");
    sql
}

pub(super) fn upsert(table: &TableSpec) -> String {
    let marks = vec!["?"; table.columns.len() + VERSION.len()].join(", ");
    let key = quoted(table.key());
    let is_key = |name: &str| table.key().any(|key| key == name);
    let rest: Vec<_> = table.columns.iter().filter(|(name, _)| !is_key(name)).collect();
    let names = rest.iter().map(|(name, _)| *name).chain(VERSION);
    let set: Vec<String> = names.map(|name| format!("\"{name}\" = excluded.\"{name}\"")).collect();
    let weights = |row: &str| {
        let version = VERSION.iter().map(|name| format!("{row}.{name}"));
        let weights = rest.iter().map(|(name, kind)| weight(&format!("{row}.\"{name}\""), *kind));
        version.chain(weights).collect::<Vec<_>>().join(", ")
    };
    format!(
        "INSERT INTO \"{0}\" VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {1} \
         WHERE ({2}) > ({3})",
        table.name,
        set.join(", "),
        weights("excluded"),
        weights(&format!("\"{}\"", table.name)),
    )
}

/// Expressions that compare as the values weigh where versions do not decide; none of them is null.
fn weight(column: &str, kind: Type) -> String {
    match kind {
        Type::Text => {
            let (size, text) = (format!("octet_length({column})"), format!("ifnull({column}, '')"));
            format!("{column} IS NULL, ifnull({size}, 0), {text}")
        }
        _ => format!("{column} IS NULL, ifnull({column} < 0, 0), ifnull({column}, 0)"),
    }
}

pub(super) fn dump(table: &TableSpec) -> String {
    format!("{} ORDER BY {}", columns(table), quoted(table.key()))
}

/// The statement and the values that are bound to it, in order.
pub(super) fn select(query: &Query<'_>) -> Result<(String, Vec<Value>), StoreError> {
    let table = query.table;
    if let Some(reason) = query.fault() {
        return refused(table.name, reason);
    }
    let keys = table.clustering_key.iter();
    let order = |order: Order| if query.reversed { order.reversed() } else { order };
    let keys: Vec<_> = keys.map(|(name, by)| (*name, order(*by))).collect();
    let mut values = query.partition.to_vec();
    let mut conditions: Vec<String> =
        table.partition_key.iter().map(|name| format!("\"{name}\" = ?")).collect();
    for (bound, sign) in [(&query.from, ">="), (&query.until, "<")] {
        if let (Some(bound), Some((name, _))) = (bound, keys.first()) {
            conditions.push(format!("\"{name}\" {sign} ?"));
            values.push(bound.clone());
        }
    }
    if !query.after.is_empty() {
        conditions.push(after(&keys, &query.after, &mut values));
    }
    let mut sql = format!("{} WHERE {}", columns(table), conditions.join(" AND "));
    let order: Vec<String> = keys.iter().map(|(name, order)| by(name, *order)).collect();
    if !order.is_empty() {
        let _ = write!(sql, " ORDER BY {}", order.join(", "));
    }
    let _ = write!(sql, " LIMIT {}", i64::try_from(query.limit).unwrap_or(i64::MAX));
    Ok((sql, values))
}

/// `a > ? OR (a = ? AND b < ?)`: row values cannot be compared where the orders differ.
fn after(keys: &[(&str, Order)], cursor: &[Value], values: &mut Vec<Value>) -> String {
    let mut ways = Vec::new();
    for (at, ((name, order), value)) in keys.iter().zip(cursor).enumerate() {
        let mut way: Vec<String> =
            keys[..at].iter().map(|(name, _)| format!("\"{name}\" = ?")).collect();
        way.push(format!("\"{name}\" {} ?", if *order == Order::Asc { ">" } else { "<" }));
        values.extend(cursor[..at].iter().chain([value]).cloned());
        ways.push(way.join(" AND "));
    }
    format!("(({}))", ways.join(") OR ("))
}

fn columns(table: &TableSpec) -> String {
    format!(
        "SELECT {} FROM \"{}\"",
        quoted(table.columns.iter().map(|(name, _)| *name)),
        table.name
    )
}

fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn by(name: &str, order: Order) -> String {
    format!("\"{name}\" {}", if order == Order::Asc { "ASC" } else { "DESC" })
}
