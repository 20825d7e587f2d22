//! An alert: a fact from a detector, with its evidence.

use crate::{Id, Micros, Position};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an alert says about its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// It began to hold.
    Raised,
    /// It still holds, with news.
    Updated,
    /// It no longer holds.
    Cleared,
}

impl AlertState {
    /// `raised`, `updated` or `cleared`.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Raised => "raised",
            AlertState::Updated => "updated",
            AlertState::Cleared => "cleared",
        }
    }
}

/// Raised, updated or cleared. Key of its topic: `tenant/condition/subject`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// UUIDv5 of condition, version, subject, episode and what happened in it.
    pub id: Id,
    /// The namespace.
    pub tenant: String,
    /// The id that all facts from one raise to its clear share.
    pub episode: Id,
    /// Raised, updated or cleared.
    pub state: AlertState,
    /// The condition that was evaluated.
    pub condition: Id,
    /// What people call it.
    pub condition_name: String,
    /// The version of its parameters.
    pub condition_version: String,
    /// The kind of detector.
    pub detector: String,
    /// What it is about, as watches name it: the station, the listing, the product.
    pub subject: String,
    /// What was measured: `pm25`, `revenue`, …
    pub measure: String,
    /// A name to show instead of `subject`; empty if there is none.
    pub place: String,
    /// When it was so: the event time of the event that decided, or the start of the window.
    pub event_time: Micros,
    /// When the detector decided.
    pub detected_at: Micros,
    /// The value that decided, an exact decimal.
    pub value: String,
    /// Its unit or currency.
    pub unit: String,
    /// What it was held against, an exact decimal; empty if the detector has no single limit.
    pub limit: String,
    /// The band that the value lies in, for example `Unhealthy`; empty if the scale has none.
    pub band: String,
    /// Why.
    pub evidence: Evidence,
}

/// Why an alert is: enough to check it by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The records that decided, newest last; at most 16.
    pub positions: Vec<Position>,
    /// Figures that the detector found, by name: `expected-low`, `concentration`, `units`, …
    pub figures: BTreeMap<String, String>,
    /// The detector's state before, as JSON.
    pub before: String,
    /// The detector's state after, as JSON.
    pub after: String,
}

impl Alert {
    /// The key of its record.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.condition, self.subject)
    }

    /// The name to show: the place, or the subject if it has none.
    pub fn shown_subject(&self) -> &str {
        if self.place.is_empty() { &self.subject } else { &self.place }
    }

    /// What was measured, as people write it.
    pub fn shown_measure(&self) -> &str {
        crate::event::shown_measure(&self.measure)
    }
}
