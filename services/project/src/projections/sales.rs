//! Order rows → revenue and units of each product and day, one sum a currency. A row that comes
//! twice is counted once.

use crate::projection::Projection;
use crate::tables::{SALES_BY_DAY, SALES_BY_PRODUCT};
use crate::totals::{Total, Totals};
use tocsin_domain::decimal::plain;
use tocsin_domain::event::OrderRow;
use tocsin_domain::topics::ORDERS_ROWS;
use tocsin_domain::wire::{Fact, SchemaIds, open};
use tocsin_store::{TableSpec, Write};
use tocsin_stream::Poison;

/// What is summed before the first row.
static NOTHING: Total = Total::EMPTY;

/// See the module.
#[derive(Debug)]
pub struct Sales;

impl Projection for Sales {
    fn topic(&self) -> &'static str {
        ORDERS_ROWS
    }

    fn tables(&self) -> &'static [&'static TableSpec] {
        const { &[&SALES_BY_PRODUCT, &SALES_BY_DAY] }
    }

    fn project(
        &self,
        fact: &[u8],
        ids: &SchemaIds,
        totals: Totals<'_>,
        out: &mut Vec<Write>,
    ) -> Result<(), Poison> {
        let body = open::<OrderRow>(fact, ids)?;
        let row = OrderRow::decode(&body)?;
        let (day, currency) = (row.event_time.date(), row.price.currency.as_str());
        let key = [row.tenant, row.subject, &day, currency].join("\0");
        let before = totals.get(key.as_bytes()).unwrap_or(&NOTHING);
        if before.has(row.id) {
            return Ok(());
        }
        let sums = before.plus(row.price.amount, row.units)?;
        let total = totals.change(key.as_bytes());
        total.take(row.id, sums);
        for table in [&SALES_BY_PRODUCT, &SALES_BY_DAY] {
            let values = [
                row.tenant.into(),
                row.subject.into(),
                day.as_str().into(),
                currency.into(),
                plain(total.revenue).to_string().into(),
                total.units.into(),
                total.rows().into(),
            ];
            // Sums have no time of their own: the one with more rows in it is the newer one.
            out.push(Write::new(table, total.rows(), values));
        }
        Ok(())
    }
}
