//! Which of many writes stand: one for each row, table by table, in the order of the key. Between
//! the caller and a store. Pure; the order of the writes decides nothing.

use crate::store::{StoreError, Write};
use crate::table::TableSpec;
use crate::value::Value;
use std::cmp::Ordering;

/// Where the columns of a table stand in its rows.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) table: &'static TableSpec,
    /// The columns of the whole key; those of the partition key come first.
    pub(crate) key: Vec<usize>,
    /// How many of them are the partition key.
    pub(crate) partition: usize,
    /// All other columns.
    pub(crate) rest: Vec<usize>,
}

impl Layout {
    pub(crate) fn of(table: &'static TableSpec) -> Layout {
        let key: Vec<usize> = table.key().filter_map(|name| table.column(name)).collect();
        let rest = (0..table.columns.len()).filter(|at| !key.contains(at)).collect();
        Layout { table, key, partition: table.partition_key.len(), rest }
    }

    /// Whether two writes are to the same partition.
    pub(crate) fn together(&self, one: &Write, other: &Write) -> bool {
        self.key[..self.partition].iter().all(|at| one.row[*at] == other.row[*at])
    }

    fn compare_keys(&self, one: &Write, other: &Write) -> Ordering {
        first_difference(&self.key, |at| one.row[at].cmp(&other.row[at]))
    }

    /// Which of two writes to one row stands: the greater version, else the greater row.
    fn compare_age(&self, one: &Write, other: &Write) -> Ordering {
        let rows = || first_difference(&self.rest, |at| weigh(&one.row[at], &other.row[at]));
        one.version.cmp(&other.version).then_with(rows)
    }
}

fn first_difference(columns: &[usize], compare: impl Fn(usize) -> Ordering) -> Ordering {
    let mut compared = columns.iter().map(|at| compare(*at));
    compared.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Which of two values is the greater one where versions do not decide. It is how a CQL database
/// compares a value's bytes: null is the greatest, then the longer text; numbers are unsigned.
fn weigh(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Null, _) | (_, Value::Null) => (*one == Value::Null).cmp(&(*other == Value::Null)),
        (Value::Text(one), Value::Text(other)) => {
            one.len().cmp(&other.len()).then_with(|| one.cmp(other))
        }
        (Value::Int(one), Value::Int(other)) => (*one as u64).cmp(&(*other as u64)),
        (Value::Time(one), Value::Time(other)) => (one.0 as u64).cmp(&(other.0 as u64)),
        _ => one.cmp(other),
    }
}

/// What stands in the end, table by table. Refuses all if one row does not fit.
pub(crate) fn newest(writes: &[Write]) -> Result<Vec<(Layout, Vec<&Write>)>, StoreError> {
    let mut tables: Vec<(Layout, Vec<&Write>)> = Vec::new();
    for write in writes {
        let table = write.table;
        if let Some(reason) = table.fault(&write.row) {
            return Err(StoreError::Refused {
                table: table.name,
                reason: format!("a row {reason}"),
            });
        }
        let same = |(layout, _): &(Layout, _)| layout.table.name == table.name;
        match tables.iter_mut().find(|known| same(known)) {
            Some((_, rows)) => rows.push(write),
            None => tables.push((Layout::of(table), vec![write])),
        }
    }
    for (layout, rows) in &mut tables {
        let newest_first = |one: &&Write, other: &&Write| {
            layout.compare_keys(one, other).then_with(|| layout.compare_age(other, one))
        };
        rows.sort_by(newest_first);
        rows.dedup_by(|next, kept| layout.compare_keys(kept, next).is_eq());
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Order;
    use crate::value::Type;
    use tocsin_domain::Micros;

    static T: TableSpec = TableSpec {
        name: "t",
        columns: &[("a", Type::Text), ("v", Type::Text), ("n", Type::Int), ("k", Type::Int)],
        partition_key: &["k"],
        clustering_key: &[("a", Order::Desc)],
    };

    fn write(key: (i64, &str), version: (i64, i64), v: Value, n: Value) -> Write {
        Write::new(&T, version, [key.1.into(), v, n, key.0.into()])
    }

    #[test]
    fn of_two_writes_the_same_one_stands_in_either_order() {
        let text = |text: &str| Value::from(text);
        let cases = [
            ("the first number", (2, 0, text("a"), 1.into()), (1, 9, text("b"), 2.into())),
            ("the second number", (1, 2, text("a"), 1.into()), (1, 1, text("b"), 2.into())),
            ("null is greatest", (1, 1, Value::Null, 1.into()), (1, 1, text("zz"), 2.into())),
            ("then the longer", (1, 1, text("aa"), 1.into()), (1, 1, text("b"), 2.into())),
            ("then the bytes", (1, 1, text("b"), 1.into()), (1, 1, text("a"), 2.into())),
            ("unsigned", (1, 1, text("a"), (-1).into()), (1, 1, text("a"), 2.into())),
        ];
        for (name, greater, less) in cases {
            let [greater, less] = [greater, less].map(|(f, t, v, n)| write((1, "x"), (f, t), v, n));
            for writes in [[&greater, &less], [&less, &greater]] {
                let writes = writes.map(Clone::clone);
                let standing = newest(&writes).unwrap();
                assert_eq!(standing[0].1, [&greater], "{name}");
            }
        }
        assert!(weigh(&Value::Time(Micros(-1)), &Value::Time(Micros(1))).is_gt());
        assert!(weigh(&true.into(), &false.into()).is_gt());
    }

    #[test]
    fn rows_stand_in_the_order_of_the_key_and_partitions_together() {
        let keys = [(2, "x"), (1, "y"), (2, "a"), (1, "x"), (2, "x")];
        let writes = keys.map(|key| write(key, (1, 0), Value::Null, Value::Null));
        let standing = newest(&writes).unwrap();
        let (layout, rows) = &standing[0];
        let found: Vec<_> =
            rows.iter().map(|w| (w.row[3].int().unwrap(), w.row[0].text())).collect();
        assert_eq!(found, [(1, "x"), (1, "y"), (2, "a"), (2, "x")]);
        assert!(layout.together(rows[0], rows[1]) && !layout.together(rows[1], rows[2]));
    }
}
