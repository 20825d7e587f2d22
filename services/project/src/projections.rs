//! Every projection. To add one: a file beside these, its module and its place in the list.

mod alerts;
mod dead_letters;
mod deliveries;
mod listings;
mod readings;
mod sales;

use crate::projection::Projection;
use crate::tables::DAYS;
use serde::Serialize;
use tocsin_store::TableSpec;
use tocsin_stream::Poison;

/// Every projection, in the order of the topics.
pub static PROJECTIONS: [&dyn Projection; 6] = [
    &readings::Readings,
    &listings::Listings,
    &sales::Sales,
    &alerts::Alerts,
    &deliveries::Deliveries,
    &dead_letters::DeadLetters,
];

/// Every table of every projection.
pub fn all_tables() -> Vec<&'static TableSpec> {
    let own = PROJECTIONS.iter().flat_map(|projection| projection.tables());
    own.copied().chain([&DAYS]).collect()
}

/// A whole fact in one column.
fn json(fact: &impl Serialize) -> Result<String, Poison> {
    serde_json::to_string(fact)
        .map_err(|error| Poison::new("value", format!("cannot write the fact as JSON: {error}")))
}

#[cfg(test)]
mod tests;
