//! Listings → what is known of each, and its prices over time.

use crate::projection::Projection;
use crate::tables::{LISTING_PRICES, LISTINGS_LATEST};
use crate::totals::Totals;
use tocsin_domain::decimal::plain;
use tocsin_domain::event::Listing;
use tocsin_domain::topics::MARKET_LISTINGS;
use tocsin_domain::wire::{Fact, SchemaIds, open};
use tocsin_store::{TableSpec, Write};
use tocsin_stream::Poison;

/// See the module.
#[derive(Debug)]
pub struct Listings;

impl Projection for Listings {
    fn topic(&self) -> &'static str {
        MARKET_LISTINGS
    }

    fn tables(&self) -> &'static [&'static TableSpec] {
        const { &[&LISTINGS_LATEST, &LISTING_PRICES] }
    }

    fn project(
        &self,
        fact: &[u8],
        ids: &SchemaIds,
        _totals: Totals<'_>,
        out: &mut Vec<Write>,
    ) -> Result<(), Poison> {
        let body = open::<Listing>(fact, ids)?;
        let seen = Listing::decode(&body)?;
        let (price, currency) = (plain(seen.price.amount).to_string(), seen.price.currency);
        let (price, at) = (price.as_str(), seen.event_time);
        let latest = [
            seen.tenant.into(),
            seen.listing.into(),
            seen.title.into(),
            price.into(),
            currency.as_str().into(),
            seen.units_sold.into(),
            seen.units_available.into(),
            seen.url.into(),
            seen.seller.into(),
            at.into(),
        ];
        let then = [
            seen.tenant.into(),
            seen.listing.into(),
            at.into(),
            seen.id.to_string().into(),
            price.into(),
            currency.as_str().into(),
            seen.units_sold.into(),
            seen.units_available.into(),
        ];
        out.push(Write::new(&LISTINGS_LATEST, (at.0, seen.arrival_time.0), latest));
        out.push(Write::new(&LISTING_PRICES, seen.arrival_time.0, then));
        Ok(())
    }
}
