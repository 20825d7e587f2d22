//! A query as slices of its partition, to be read one after the other. CQL knows no OR, so what
//! comes after a cursor of several columns is: the rest of the innermost group, then the rest of
//! the group around it, and so on. Pure.

use crate::store::Query;
use crate::table::Order;
use crate::value::Value;

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) value: Value,
    pub(super) included: bool,
}

/// Rows that stand beside each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// The first clustering columns are these.
    pub(super) equal: Vec<Value>,
    /// The clustering column after them begins here, by value.
    pub(super) lower: Option<Range>,
    /// And ends here.
    pub(super) upper: Option<Range>,
}

impl Slice {
    /// The ends that there are, each with its sign, in the order in which they are bound.
    pub(super) fn bounds(&self) -> impl Iterator<Item = (&Range, char)> {
        let lower = self.lower.iter().map(|range| (range, '>'));
        lower.chain(self.upper.iter().map(|range| (range, '<')))
    }

    /// The values in the order in which they are bound.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.equal.iter().chain(self.bounds().map(|(range, _)| &range.value))
    }

    /// Whether no value can be between its ends.
    fn is_empty(&self) -> bool {
        let (Some(lower), Some(upper)) = (&self.lower, &self.upper) else { return false };
        let touch = lower.included && upper.included;
        lower.value > upper.value || (lower.value == upper.value && !touch)
    }

    /// Narrows the slice at one end of its column.
    fn cut(&mut self, greater: bool, value: &Value, included: bool) {
        let end = if greater { &mut self.lower } else { &mut self.upper };
        let tighter = |old: &Range| {
            let inside = if greater { *value > old.value } else { *value < old.value };
            inside || (*value == old.value && !included)
        };
        if end.as_ref().is_none_or(tighter) {
            *end = Some(Range { value: value.clone(), included });
        }
    }
}

/// What a query asks for, in its order. The query has no [`Query::fault`].
pub(super) fn slices(query: &Query<'_>) -> Vec<Slice> {
    let mut slices = Vec::new();
    for depth in (0..query.after.len()).rev() {
        let (cursor, value) = (&query.after[..depth], &query.after[depth]);
        let ascending = (query.table.clustering_key[depth].1 == Order::Asc) != query.reversed;
        let mut slice = Slice { equal: cursor.to_vec(), ..Slice::default() };
        slice.cut(ascending, value, false);
        if depth == 0 {
            slices.push(within(query, slice));
        } else if cursor.first().is_some_and(|first| asked_for(query, first)) {
            slices.push(slice);
        }
    }
    if query.after.is_empty() {
        slices.push(within(query, Slice::default()));
    }
    slices.retain(|slice| !slice.is_empty());
    slices
}

fn within(query: &Query<'_>, mut slice: Slice) -> Slice {
    query.from.iter().for_each(|from| slice.cut(true, from, true));
    query.until.iter().for_each(|until| slice.cut(false, until, false));
    slice
}

/// Whether rows whose first clustering column is this are between `from` and `until`.
fn asked_for(query: &Query<'_>, first: &Value) -> bool {
    let begun = query.from.as_ref().is_none_or(|from| first >= from);
    begun && query.until.as_ref().is_none_or(|until| first < until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableSpec;
    use crate::value::Type;

    static T: TableSpec = TableSpec {
        name: "t",
        columns: &[("k", Type::Int), ("a", Type::Int), ("b", Type::Int), ("c", Type::Int)],
        partition_key: &["k"],
        clustering_key: &[("a", Order::Desc), ("b", Order::Asc), ("c", Order::Asc)],
    };

    /// `=1,2 >3 <=4`
    fn show(slices: &[Slice]) -> Vec<String> {
        let number = |value: &Value| value.int().unwrap().to_string();
        let show = |slice: &Slice| {
            let equal: Vec<String> = slice.equal.iter().map(number).collect();
            let ends = slice.bounds().map(|(range, sign)| {
                format!(" {sign}{}{}", if range.included { "=" } else { "" }, number(&range.value))
            });
            format!("={}{}", equal.join(","), ends.collect::<String>())
        };
        slices.iter().map(show).collect()
    }

    #[test]
    fn what_comes_after_a_cursor_is_read_from_the_inside_outwards() {
        type Case<'c> = (&'c [i64], Option<i64>, Option<i64>, bool, &'c [&'c str]);
        let cases: [Case<'_>; 9] = [
            (&[], None, None, false, &["="]),
            (&[], Some(1), Some(5), true, &["= >=1 <5"]),
            (&[3], None, None, false, &["= <3"]),
            (&[3], None, None, true, &["= >3"]),
            (&[3, 4, 5], None, None, false, &["=3,4 >5", "=3 >4", "= <3"]),
            (&[3, 4, 5], None, None, true, &["=3,4 <5", "=3 <4", "= >3"]),
            (&[3, 4], Some(1), Some(9), false, &["=3 >4", "= >=1 <3"]),
            // The cursor stands outside of what is asked for.
            (&[9, 4], Some(1), Some(9), false, &["= >=1 <9"]),
            (&[0, 4], Some(1), None, false, &[]),
        ];
        for (after, from, until, reversed, wanted) in cases {
            let query = Query {
                after: after.iter().map(|n| (*n).into()).collect(),
                from: from.map(Value::Int),
                until: until.map(Value::Int),
                reversed,
                ..Query::of(&T, &[Value::Null], 9)
            };
            assert_eq!(show(&slices(&query)), wanted, "{query:?}");
        }
    }
}
