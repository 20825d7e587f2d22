//! The contract of a projection: one topic in, rows out. It is pure: what it needs of the past is
//! in its totals, and nothing else is remembered.

use crate::totals::Totals;
use tocsin_domain::wire::SchemaIds;
use tocsin_store::{TableSpec, Write};
use tocsin_stream::Poison;

/// Turns the facts of one topic into rows.
pub trait Projection: Send + Sync {
    /// The topic whose facts it reads. No two projections read the same one.
    fn topic(&self) -> &'static str;

    /// The tables that only it writes. All of them may note their days in [`crate::tables::DAYS`].
    fn tables(&self) -> &'static [&'static TableSpec];

    /// Appends the rows of one fact to `out`. A fact that cannot be read, or cannot be summed, is a
    /// [`Poison`], and nothing is appended.
    fn project(
        &self,
        fact: &[u8],
        ids: &SchemaIds,
        totals: Totals<'_>,
        out: &mut Vec<Write>,
    ) -> Result<(), Poison>;
}
