//! The sums that rows show, kept as the step's state: exact, and counted once whatever comes twice.

use rust_decimal::Decimal;
use tocsin_domain::Id;
use tocsin_stream::Poison;
use tocsin_stream::state::{State, Store};

/// The sums that a projection may look at and change.
pub type Totals<'a> = &'a mut Store<Total>;

/// The sums of one product, day and currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Exact.
    pub revenue: Decimal,
    /// Returns are subtracted.
    pub units: i64,
    /// The rows that are in the sums, by the first half of their ids; sorted.
    seen: Vec<u64>,
}

impl Total {
    /// No rows.
    pub const EMPTY: Total = Total { revenue: Decimal::ZERO, units: 0, seen: Vec::new() };

    /// How many rows are in the sums.
    pub fn rows(&self) -> i64 {
        self.seen.len() as i64
    }

    /// Whether a row is in the sums already. Ids are hashes, so half of one tells the rows of one
    /// product and day apart.
    pub fn has(&self, id: Id) -> bool {
        self.seen.binary_search(&half(id)).is_ok()
    }

    /// The sums with one more row. A [`Poison`] of class `value` if they would not be exact.
    pub fn plus(&self, price: Decimal, units: i64) -> Result<(Decimal, i64), Poison> {
        let revenue = price
            .checked_mul(units.into())
            .and_then(|amount| self.revenue.checked_add(amount))
            .zip(self.units.checked_add(units));
        revenue.ok_or_else(|| {
            let reason = format!(
                "cannot add {units} × {price} to the day's revenue {}: a sum has at most 28 digits",
                self.revenue
            );
            Poison::new("value", reason)
        })
    }

    /// Takes over what [`Total::plus`] found for the row `id`.
    pub fn take(&mut self, id: Id, (revenue, units): (Decimal, i64)) {
        (self.revenue, self.units) = (revenue, units);
        if let Err(at) = self.seen.binary_search(&half(id)) {
            self.seen.insert(at, half(id));
        }
    }
}

fn half(id: Id) -> u64 {
    let (half, _) = id.as_bytes().split_at(8);
    half.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// revenue (16) · units (8) · the halves (8 each), little endian.
impl State for Total {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.revenue.serialize());
        out.extend_from_slice(&self.units.to_le_bytes());
        self.seen.iter().for_each(|half| out.extend_from_slice(&half.to_le_bytes()));
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (revenue, rest) = bytes.split_first_chunk::<16>()?;
        let (units, rest) = rest.split_first_chunk::<8>()?;
        let (halves, left) = rest.as_chunks::<8>();
        left.is_empty().then(|| Total {
            revenue: Decimal::deserialize(*revenue),
            units: i64::from_le_bytes(*units),
            seen: halves.iter().map(|half| u64::from_le_bytes(*half)).collect(),
        })
    }

    fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_and_go_through_the_changelog() {
        let mut total = Total::default();
        for (row, price, units) in [("a", "0.1", 1), ("b", "0.2", 1), ("a", "0.1", 1)] {
            let id = Id::of("row", &[row.as_bytes()]);
            if !total.has(id) {
                let sums = total.plus(price.parse().unwrap(), units).unwrap();
                total.take(id, sums);
            }
        }
        assert_eq!((total.revenue.to_string(), total.units, total.rows()), ("0.3".into(), 2, 2));
        let mut bytes = Vec::new();
        total.encode(&mut bytes);
        assert_eq!(Total::decode(&bytes), Some(total.clone()));
        assert_eq!(Total::decode(&bytes[1..]), None);
        assert_eq!(total.plus(Decimal::MAX, 2).unwrap_err().class, "value");
    }
}
