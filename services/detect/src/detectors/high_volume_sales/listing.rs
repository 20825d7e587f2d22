//! A listing that has earned more than a limit: price times units, judged anew with every
//! observation. No memory but whether it has.

use super::{Limit, Units};
use crate::detector::{Detector, Event, Finding, Input, Seen, figures};
use crate::memory::{put_micros, take_micros};
use rust_decimal::Decimal;
use tocsin_domain::alert::AlertState;
use tocsin_domain::decimal::plain;
use tocsin_domain::event::Listing;
use tocsin_domain::{Currency, Micros};

/// The rule.
pub struct Listings {
    pub limit: Limit,
    pub currency: Option<Currency>,
    pub units: Units,
}

impl Detector for Listings {
    fn input(&self) -> Input {
        Input::Listings
    }

    /// A listing that does not tell its units says nothing either way.
    fn observe(
        &self,
        seen: Seen<'_>,
        memory: &mut Vec<u8>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), String> {
        let Event::Listing(listing) = seen.event else { return Ok(()) };
        let units = match self.units {
            Units::Sold => listing.units_sold,
            Units::Available => listing.units_available,
        };
        let Some(units) = units else { return Ok(()) };
        if self.currency.is_some_and(|wanted| wanted != listing.price.currency) {
            return Ok(());
        }
        let earned = listing.price.amount.checked_mul(Decimal::from(units)).ok_or_else(|| {
            format!("{} times {units} units is more than 28 digits hold", listing.price)
        })?;
        // The memory is empty, or when the listing passed the limit.
        let since = take_micros(&mut memory.as_slice());
        let state = match (since, self.limit.is_passed(earned)) {
            (None, true) => AlertState::Raised,
            (Some(_), false) => AlertState::Cleared,
            _ => return Ok(()),
        };
        let began = since.unwrap_or(listing.event_time);
        memory.clear();
        if state == AlertState::Raised {
            put_micros(memory, began);
        }
        let mut finding = self.finding(listing, earned, units, (state, began));
        finding.offsets.push(seen.offset);
        findings.push(finding);
        Ok(())
    }

    fn reads(&self, memory: &[u8]) -> bool {
        matches!(memory.len(), 0 | 8)
    }
}

impl Listings {
    fn finding(
        &self,
        listing: &Listing<'_>,
        earned: Decimal,
        units: i64,
        (state, began): (AlertState, Micros),
    ) -> Finding {
        let raised = state == AlertState::Raised;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Finding {
            state,
            began,
            event_time: listing.event_time,
            measure: "revenue".to_owned(),
            place: listing.title.to_owned(),
            value: plain(earned).to_string(),
            unit: listing.price.currency.to_string(),
            limit: plain(self.limit.value).to_string(),
            band: "",
            offsets: Vec::new(),
            figures: figures([
                ("price", Some(plain(listing.price.amount).to_string())),
                ("units", Some(units.to_string())),
                ("earned", Some(plain(earned).to_string())),
                ("seller", text(listing.seller)),
                ("url", text(listing.url)),
            ]),
            before: format!("{{\"raised\":{}}}", !raised),
            after: format!("{{\"raised\":{raised}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{built, found, listings, refusal};
    use serde_json::json;

    #[test]
    fn earnings_over_the_limit_are_raised_and_cleared() {
        let detector = built("high-volume-sales", json!({"by": "listing", "limit": "7000000"}));
        for (seen, says) in [
            (&[("70000", Some(100))][..], ""),
            (&[("70000.01", Some(100))], "raised 7000001"),
            (
                &[("70000", Some(101)), ("70000", Some(200)), ("10", Some(200))],
                "raised 7070000 · cleared 2000",
            ),
            (&[("70000", Some(101)), ("1", None)], "raised 7070000"),
        ] {
            assert_eq!(found(&*detector, &listings(seen)), says, "{seen:?}");
        }
    }

    #[test]
    fn parameters_choose_comparison_currency_and_units() {
        let seen = listings(&[("10", Some(2))]);
        for (params, says) in [
            (json!({"by": "listing", "limit": 20, "compare": ">="}), "raised 20"),
            (json!({"by": "listing", "limit": 20}), ""),
            (json!({"by": "listing", "limit": 1, "currency": "ARS"}), "raised 20"),
            (json!({"by": "listing", "limit": 1, "currency": "GBP"}), ""),
            (json!({"by": "listing", "limit": 1, "units": "available"}), "raised 70"),
        ] {
            let detector = built("high-volume-sales", params.clone());
            assert_eq!(found(&*detector, &seen), says, "{params}");
        }
        assert!(
            refusal("high-volume-sales", json!({"by": "seller", "limit": 1})).contains("seller")
        );
        assert!(refusal("high-volume-sales", json!({"by": "listing"})).contains("limit"));
    }
}
