//! The detectors there are. To add one: a file in `detectors/`, and two lines here.

mod anomaly;
mod high_volume_sales;
mod threshold;

use crate::detector::{Detector, Kind};
use serde::de::DeserializeOwned;

/// Every kind of detector.
pub const KINDS: &[Kind] = &[anomaly::KIND, high_volume_sales::KIND, threshold::KIND];

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Reads a detector's parameters; a missing, unknown or wrong one is named in the error.
fn parameters<C: DeserializeOwned>(params: serde_json::Value) -> Result<C, String> {
    serde_json::from_value(params).map_err(|error| error.to_string())
}

/// Builds the detector that a kind's `checked` parameters describe.
fn boxed<D: Detector + 'static>(detector: D) -> Box<dyn Detector> {
    Box::new(detector)
}

#[cfg(test)]
mod tests;
