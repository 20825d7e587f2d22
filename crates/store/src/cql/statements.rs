//! CQL from table values. The key has columns of its own; everything else of a row is one value, a
//! frozen type with named fields, so that of two rows never a part of each can stand. Names come
//! from the program and never from input; values are always bound.

use super::options::{CqlOptions, Dialect, Replication};
use super::slices::{Range, Slice};
use crate::table::{Order, TableSpec};
use crate::value::Type;
use std::fmt::Write as _;

/// The column that holds everything that is not in the key.
pub(super) const ROW: &str = "row_";
/// Its first field: the second number of the version. At equal timestamps the greater bytes stand,
/// and these come first.
pub(super) const THEN: &str = "then_";

pub(super) fn create_keyspace(options: &CqlOptions) -> String {
    let replication = match &options.replication {
        Replication::Simple(copies) => {
            format!("'class': 'SimpleStrategy', 'replication_factor': {copies}")
        }
        Replication::Datacenters(list) => {
            list.iter().fold("'class': 'NetworkTopologyStrategy'".to_owned(), |text, (name, n)| {
                format!("{text}, '{name}': {n}")
            })
        }
    };
    let tablets = match options.dialect {
        Dialect::Cassandra => "",
        Dialect::Scylla => " AND tablets = {'enabled': false}",
    };
    let name = &options.keyspace;
    format!(
        "CREATE KEYSPACE IF NOT EXISTS \"{name}\" WITH replication = {{{replication}}}{tablets}"
    )
}

/// The name of the type of [`ROW`].
pub(super) fn row_type(table: &TableSpec) -> String {
    format!("{}_row", table.name)
}

/// The fields of [`ROW`] with their types.
pub(super) fn fields(table: &TableSpec) -> impl Iterator<Item = (&'static str, &'static str)> {
    let key: Vec<&str> = table.key().collect();
    let rest = table.columns.iter().filter(move |(name, _)| !key.contains(name));
    [(THEN, "bigint")].into_iter().chain(rest.map(|(name, kind)| (*name, type_name(*kind))))
}

pub(super) fn create_type(keyspace: &str, table: &TableSpec) -> String {
    let fields: Vec<String> =
        fields(table).map(|(name, kind)| format!("\"{name}\" {kind}")).collect();
    format!(
        "CREATE TYPE IF NOT EXISTS \"{keyspace}\".\"{}\" ({})",
        row_type(table),
        fields.join(", ")
    )
}

pub(super) fn add_field(keyspace: &str, table: &TableSpec, name: &str, kind: &str) -> String {
    format!("ALTER TYPE \"{keyspace}\".\"{}\" ADD \"{name}\" {kind}", row_type(table))
}

pub(super) fn create_table(keyspace: &str, table: &TableSpec) -> String {
    let mut cql = format!("CREATE TABLE IF NOT EXISTS \"{keyspace}\".\"{}\" (", table.name);
    for name in table.key() {
        let kind = table.columns.iter().find(|(column, _)| *column == name);
        let _ = write!(cql, "\"{name}\" {}, ", kind.map_or("text", |(_, kind)| type_name(*kind)));
    }
    let _ = write!(cql, "\"{ROW}\" frozen<\"{}\">, ", row_type(table));
    let clustering = table.clustering_key.iter().map(|(name, _)| format!(", \"{name}\""));
    let clustering: String = clustering.collect();
    let partition = quoted(table.partition_key.iter().copied());
    let _ = write!(cql, "PRIMARY KEY (({partition}){clustering}))");
    if !table.clustering_key.is_empty() {
        let _ = write!(cql, " WITH CLUSTERING ORDER BY ({})", order_by(table, false));
    }
    cql
}

/// Binds the key, [`ROW`] and the timestamp.
pub(super) fn insert(keyspace: &str, table: &TableSpec) -> String {
    let marks = "?, ".repeat(table.key().count());
    format!(
        "INSERT INTO \"{keyspace}\".\"{}\" ({}) VALUES ({marks}?) USING TIMESTAMP ?",
        table.name,
        quoted(table.key().chain([ROW])),
    )
}

/// Binds the partition key, the values of the slice in their order, and the limit.
pub(super) fn select(keyspace: &str, table: &TableSpec, slice: &Slice, reversed: bool) -> String {
    let mut cql = dump(keyspace, table);
    let keys: Vec<&str> = table.clustering_key.iter().map(|(name, _)| *name).collect();
    let equal = table.partition_key.iter().chain(&keys[..slice.equal.len()]);
    let mut conditions: Vec<String> = equal.map(|name| format!("\"{name}\" = ?")).collect();
    for (Range { included, .. }, sign) in slice.bounds() {
        let equal = if *included { "=" } else { "" };
        conditions.push(format!("\"{}\" {sign}{equal} ?", keys[slice.equal.len()]));
    }
    let _ = write!(cql, " WHERE {}", conditions.join(" AND "));
    if !keys.is_empty() {
        let _ = write!(cql, " ORDER BY {}", order_by(table, reversed));
    }
    cql.push_str(" LIMIT ?");
    cql
}

/// Every column of every row, in no order.
pub(super) fn dump(keyspace: &str, table: &TableSpec) -> String {
    let is_key = |name: &str| table.key().any(|key| key == name);
    let column = |(name, _): &(&str, Type)| {
        if is_key(name) { format!("\"{name}\"") } else { format!("\"{ROW}\".\"{name}\"") }
    };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    format!("SELECT {} FROM \"{keyspace}\".\"{}\"", columns.join(", "), table.name)
}

/// Times are whole microseconds, which CQL's own `timestamp` cannot hold.
pub(super) fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Text => "text",
        Type::Int | Type::Time => "bigint",
        Type::Bool => "boolean",
    }
}

pub(super) fn order_name(order: Order) -> &'static str {
    if order == Order::Asc { "asc" } else { "desc" }
}

fn order_by(table: &TableSpec, reversed: bool) -> String {
    let by = |(name, order): &(&str, Order)| {
        let order = if reversed { order.reversed() } else { *order };
        format!("\"{name}\" {}", order_name(order))
    };
    table.clustering_key.iter().map(by).collect::<Vec<_>>().join(", ")
}

fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    static T: TableSpec = TableSpec {
        name: "t",
        columns: &[("v", Type::Bool), ("k", Type::Text), ("a", Type::Time), ("b", Type::Int)],
        partition_key: &["k"],
        clustering_key: &[("a", Order::Desc), ("b", Order::Asc)],
    };

    #[test]
    fn statements_are_as_they_should_be() {
        let slice = Slice {
            equal: vec![Value::Int(1)],
            lower: Some(Range { value: 2.into(), included: true }),
            upper: Some(Range { value: 3.into(), included: false }),
        };
        let cases = [
            (
                create_type("x", &T),
                r#"CREATE TYPE IF NOT EXISTS "x"."t_row" ("then_" bigint, "v" boolean)"#,
            ),
            (
                create_table("x", &T),
                r#"CREATE TABLE IF NOT EXISTS "x"."t" ("k" text, "a" bigint, "b" bigint, "row_" frozen<"t_row">, PRIMARY KEY (("k"), "a", "b")) WITH CLUSTERING ORDER BY ("a" desc, "b" asc)"#,
            ),
            (
                insert("x", &T),
                r#"INSERT INTO "x"."t" ("k", "a", "b", "row_") VALUES (?, ?, ?, ?) USING TIMESTAMP ?"#,
            ),
            (
                select("x", &T, &slice, true),
                r#"SELECT "row_"."v", "k", "a", "b" FROM "x"."t" WHERE "k" = ? AND "a" = ? AND "b" >= ? AND "b" < ? ORDER BY "a" asc, "b" desc LIMIT ?"#,
            ),
            (add_field("x", &T, "n", "text"), r#"ALTER TYPE "x"."t_row" ADD "n" text"#),
        ];
        for (found, wanted) in cases {
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_keyspace_is_made_as_the_dialect_wants_it() {
        let simple = CqlOptions::new("h:1", "x");
        let wide = CqlOptions {
            dialect: Dialect::Scylla,
            replication: Replication::Datacenters(vec![("eu".into(), 3), ("us".into(), 2)]),
            ..simple.clone()
        };
        assert_eq!(
            create_keyspace(&simple),
            "CREATE KEYSPACE IF NOT EXISTS \"x\" WITH replication = \
             {'class': 'SimpleStrategy', 'replication_factor': 1}"
        );
        assert_eq!(
            create_keyspace(&wide),
            "CREATE KEYSPACE IF NOT EXISTS \"x\" WITH replication = \
             {'class': 'NetworkTopologyStrategy', 'eu': 3, 'us': 2} AND tablets = {'enabled': false}"
        );
    }
}
