//! High-volume sales: a listing whose price times units has passed a limit, or a product whose sale
//! rows pass it within a window of event time. Money is exact; nothing is converted.

mod listing;
mod window;

use super::{boxed, parameters};
use crate::detector::{Detector, Kind};
use crate::exact::Exact;
use crate::windows::{Length, Zone};
use rust_decimal::Decimal;
use serde::Deserialize;
use tocsin_domain::Currency;

/// The kind.
pub const KIND: Kind = Kind {
    name: "high-volume-sales",
    does: "a listing or a product that sells more than a limit",
    build,
};

/// Its parameters.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase", deny_unknown_fields)]
enum Config {
    Listing {
        limit: Exact,
        #[serde(default)]
        compare: Compare,
        /// Listings in another currency are not this condition's.
        currency: Option<Currency>,
        #[serde(default)]
        units: Units,
    },
    Window {
        limit: Exact,
        #[serde(default)]
        compare: Compare,
        currency: Option<Currency>,
        window: Length,
        #[serde(default)]
        time_zone: Zone,
        #[serde(default)]
        measure: Measure,
    },
}

/// How a value is held against the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Compare {
    #[default]
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
}

/// Which units of a listing count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Units {
    #[default]
    Sold,
    Available,
}

/// What is summed over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Measure {
    #[default]
    Revenue,
    Units,
}

/// A limit and how it is compared.
#[derive(Clone, Copy, Debug)]
struct Limit {
    value: Decimal,
    compare: Compare,
}

impl Limit {
    fn is_passed(self, value: Decimal) -> bool {
        match self.compare {
            Compare::Above => value > self.value,
            Compare::AtLeast => value >= self.value,
        }
    }
}

fn build(params: serde_json::Value) -> Result<Box<dyn Detector>, String> {
    Ok(match parameters(params)? {
        Config::Listing { limit, compare, currency, units } => {
            boxed(listing::Listings { limit: Limit { value: limit.0, compare }, currency, units })
        }
        Config::Window { limit, compare, currency, window, time_zone, measure } => {
            if measure == Measure::Revenue && currency.is_none() {
                return Err("missing field `currency`: a revenue needs an ISO 4217 code such as \
                            \"GBP\""
                    .to_owned());
            }
            let limit = Limit { value: limit.0, compare };
            boxed(window::Windows { limit, currency, length: window, zone: time_zone, measure })
        }
    })
}
