//! Events: facts from upstream. They borrow from the buffer they were read from, because they are
//! the hot path; everything downstream of an alert owns its text.

use crate::{Id, Micros, Money};
use serde::Serialize;
use std::time::Duration;

/// One air-quality value of one subject. Key of its topic: `tenant/subject/measure`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reading<'a> {
    /// UUIDv5 of tenant, subject, measure and event time: a repeat has the same id.
    pub id: Id,
    /// The namespace.
    pub tenant: &'a str,
    /// The station or place, for example `Lahore`.
    pub subject: &'a str,
    /// What was measured, lower case: `pm25`, `co`, `no2`, `aqi`, …
    pub measure: &'a str,
    /// The number as printed upstream; never NaN or infinite.
    pub value: f64,
    /// `ug/m3`, `mg/m3`, `ppm`, `ppb`, `AQI-US`, …
    pub unit: &'a str,
    /// What the value is an average over, as ISO 8601 (`PT1H`, `PT8H`, `PT24H`); empty if unknown.
    pub averaging: &'a str,
    /// A name to show instead of `subject`; empty if there is none.
    pub place: &'a str,
    /// When it was so.
    pub event_time: Micros,
    /// When it reached us.
    pub arrival_time: Micros,
    /// The source's name in `tocsin.toml`.
    pub source: &'a str,
    /// Where in the source: `file.csv:123`; empty if there is nothing to say.
    pub origin: &'a str,
}

/// One observation of one product listing. Key: `tenant/listing`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing<'a> {
    /// UUIDv5 of tenant, listing, event time, price and units.
    pub id: Id,
    /// The namespace.
    pub tenant: &'a str,
    /// The upstream's id of the listing, for example `MLA869502067`.
    pub listing: &'a str,
    /// What is sold.
    pub title: &'a str,
    /// Asked for one unit.
    pub price: Money,
    /// Units sold so far, where the upstream tells.
    pub units_sold: Option<i64>,
    /// Units still on offer, where the upstream tells.
    pub units_available: Option<i64>,
    /// Its page; empty if unknown.
    pub url: &'a str,
    /// Who sells; empty if unknown.
    pub seller: &'a str,
    /// The searches that found it.
    pub searches: Vec<&'a str>,
    /// When it was so.
    pub event_time: Micros,
    /// When it reached us.
    pub arrival_time: Micros,
    /// The source's name in `tocsin.toml`.
    pub source: &'a str,
    /// Where in the source; empty if there is nothing to say.
    pub origin: &'a str,
}

/// One row of one order. Key: `tenant/subject`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OrderRow<'a> {
    /// UUIDv5 of tenant, source, and origin (file and line), or of the source's own row id.
    pub id: Id,
    /// The namespace.
    pub tenant: &'a str,
    /// The product or the seller.
    pub subject: &'a str,
    /// The order it belongs to; empty if unknown.
    pub order: &'a str,
    /// What was sold; empty if unknown.
    pub title: &'a str,
    /// Of one unit.
    pub price: Money,
    /// Negative for a return.
    pub units: i64,
    /// When it was so.
    pub event_time: Micros,
    /// When it reached us.
    pub arrival_time: Micros,
    /// The source's name in `tocsin.toml`.
    pub source: &'a str,
    /// Where in the source; empty if there is nothing to say.
    pub origin: &'a str,
}

/// One row of a data set that somebody uploads, or the note that it begins or ends.
/// Key: `tenant/dataset`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetRow<'a> {
    /// UUIDv5 of tenant, data set, file, line and kind.
    pub id: Id,
    /// The namespace.
    pub tenant: &'a str,
    /// The data set.
    pub dataset: &'a str,
    /// Opened, row or closed.
    pub kind: DatasetRowKind,
    /// The file it stands in; empty for opened and closed.
    pub file: &'a str,
    /// Its line, counted from 1; 0 for opened and closed.
    pub line: i64,
    /// Its fields, in the file's order, as text.
    pub fields: Vec<(&'a str, &'a str)>,
    /// When it was so.
    pub event_time: Micros,
    /// When it reached us.
    pub arrival_time: Micros,
    /// The source's name in `tocsin.toml`.
    pub source: &'a str,
}

/// What a [`DatasetRow`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetRowKind {
    /// The data set begins.
    Opened,
    /// One row of it.
    Row,
    /// It is complete.
    Closed,
}

/// One user's answer to another. Key: `tenant/` and the unordered pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Swipe<'a> {
    /// UUIDv5 of tenant, both users and event time.
    pub id: Id,
    /// The namespace.
    pub tenant: &'a str,
    /// Who swiped.
    pub from: &'a str,
    /// Whom.
    pub to: &'a str,
    /// Whether they liked what they saw.
    pub liked: bool,
    /// When it was so.
    pub event_time: Micros,
    /// When it reached us.
    pub arrival_time: Micros,
    /// The source's name in `tocsin.toml`.
    pub source: &'a str,
    /// Where in the source; empty if there is nothing to say.
    pub origin: &'a str,
}

/// Measures of air, and how people write them.
pub const AIR: [(&str, &str); 7] = [
    ("pm25", "PM2.5"),
    ("pm10", "PM10"),
    ("o3", "O3"),
    ("no2", "NO2"),
    ("so2", "SO2"),
    ("co", "CO"),
    ("aqi", "AQI"),
];

/// An event from further ahead is refused: it would make every other event of its subject late until
/// its date. A day leaves room for local times that were taken for UTC. Held against the arrival,
/// not the wall clock, so that a replay decides the same.
const FARTHEST_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// What is wrong with the time of an event that says when something was so, if it is from the future.
pub fn too_far_ahead(time: Micros, arrival: Micros) -> Option<String> {
    (time > arrival.plus(FARTHEST_AHEAD)).then(|| {
        format!(
            "the event time is {time} and it arrived at {arrival}: it may be at most 24 hours ahead, \
             or its subject would be silent until then; correct the source's clock or time zone"
        )
    })
}

/// A measure as people write it; itself if nobody writes it otherwise.
pub fn shown_measure(measure: &str) -> &str {
    AIR.iter().find(|(name, _)| *name == measure).map_or(measure, |(_, shown)| shown)
}

/// The key of a reading: `tenant/subject/measure`, written over `out`.
pub fn reading_key(out: &mut Vec<u8>, tenant: &str, subject: &str, measure: &str) {
    key(out, &[tenant, subject, measure]);
}

/// The key of anything else: `tenant/subject`, written over `out`.
pub fn subject_key(out: &mut Vec<u8>, tenant: &str, subject: &str) {
    key(out, &[tenant, subject]);
}

/// The key of a swipe: `tenant/` and both users, the lesser one first, so that both sides of a pair
/// have the same; written over `out`.
pub fn pair_key(out: &mut Vec<u8>, tenant: &str, one: &str, other: &str) {
    key(out, &[tenant, one.min(other), one.max(other)]);
}

fn key(out: &mut Vec<u8>, parts: &[&str]) {
    out.clear();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push(b'/');
        }
        out.extend_from_slice(part.as_bytes());
    }
}
