//! Every fact that can stand in a topic, by name and by fingerprint, for whoever does not know
//! beforehand what a record holds: the why page, the tap, the dead letters. Not for the hot path.

use super::{Fact, Fingerprint, SchemaIds, WireError, resolve, split};
use crate::alert::Alert;
use crate::condition::Condition;
use crate::dead_letter::{DeadDecision, DeadLetter, LateEvent};
use crate::delivery::Delivery;
use crate::event::{DatasetRow, Listing, OrderRow, Reading, Swipe};
use crate::notice::Notice;
use crate::subscriber::Subscriber;
use crate::watch::Watch;
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// One fact's schema and how to show it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its file under `schemas/`, `reading.avsc`.
    pub file: &'static str,
    /// Its full name, `tocsin.Reading`.
    pub name: &'static str,
    /// Today's schema.
    pub schema: &'static str,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The longest body in bytes.
    pub max_body: usize,
    show: fn(&[u8]) -> Result<Value, WireError>,
}

/// Every fact. A schema file that is not here is one that nobody can read; a test holds it.
pub const FACTS: [Known; 14] = [
    known::<Reading>("reading.avsc", |body| shown(Reading::decode(body)?)),
    known::<Listing>("listing.avsc", |body| shown(Listing::decode(body)?)),
    known::<OrderRow>("order_row.avsc", |body| shown(OrderRow::decode(body)?)),
    known::<DatasetRow>("dataset_row.avsc", |body| shown(DatasetRow::decode(body)?)),
    known::<Swipe>("swipe.avsc", |body| shown(Swipe::decode(body)?)),
    known::<Subscriber>("subscriber.avsc", |body| shown(Subscriber::decode(body)?)),
    known::<Watch>("watch.avsc", |body| shown(Watch::decode(body)?)),
    known::<Condition>("condition.avsc", |body| shown(Condition::decode(body)?)),
    known::<Alert>("alert.avsc", |body| shown(Alert::decode(body)?)),
    known::<Notice>("notice.avsc", |body| shown(Notice::decode(body)?)),
    known::<Delivery>("delivery.avsc", |body| shown(Delivery::decode(body)?)),
    known::<DeadLetter>("dead_letter.avsc", |body| shown(DeadLetter::decode(body)?)),
    known::<DeadDecision>("dead_decision.avsc", |body| shown(DeadDecision::decode(body)?)),
    known::<LateEvent>("late_event.avsc", |body| shown(LateEvent::decode(body)?)),
];

impl Known {
    /// The texts of all versions that were ever kept, oldest first; the last is today's.
    pub fn versions(&self) -> Vec<&'static str> {
        resolve::older(self.name).chain([self.schema]).collect()
    }
}

const fn known<'a, F: Fact<'a>>(
    file: &'static str,
    show: fn(&[u8]) -> Result<Value, WireError>,
) -> Known {
    Known {
        file,
        name: F::NAME,
        schema: F::SCHEMA,
        fingerprint: F::FINGERPRINT,
        max_body: F::MAX_BODY,
        show,
    }
}

fn shown(fact: impl Serialize) -> Result<Value, WireError> {
    serde_json::to_value(fact)
        .map_err(|error| WireError::new("decode", format!("cannot show the fact as JSON: {error}")))
}

/// The fact of that full name; an error of class `schema` that lists the names if there is none.
pub fn by_name(name: &str) -> Result<&'static Known, WireError> {
    FACTS.iter().find(|fact| fact.name == name).ok_or_else(|| {
        let names = FACTS.map(|fact| fact.name).join(", ");
        WireError::new("schema", format!("there is no schema {name:?}, the schemas are {names}"))
    })
}

/// The fact of that file under `schemas/`; an error of class `schema` that lists the files if there is
/// none.
pub fn by_file(file: &str) -> Result<&'static Known, WireError> {
    FACTS.iter().find(|fact| fact.file == file).ok_or_else(|| {
        let files = FACTS.map(|fact| fact.file).join(", ");
        WireError::new("schema", format!("there is no schema {file:?}, the files are {files}"))
    })
}

/// Any framed fact as JSON: `{"schema": "tocsin.Reading", "fact": {…}}`. Errors as
/// [`super::read`].
pub fn to_json(bytes: &[u8], ids: &SchemaIds) -> Result<Value, WireError> {
    let (writer, body) = split(bytes, ids)?;
    let current = FACTS.iter().find(|fact| fact.fingerprint == writer);
    let (fact, body) = match current {
        Some(fact) => (fact, Cow::Borrowed(body)),
        None => {
            let fact = by_name(resolve::name_of(writer)?)?;
            (fact, resolve::modernise(body, writer, fact.name, fact.max_body)?.into())
        }
    };
    Ok(json!({ "schema": fact.name, "fact": (fact.show)(&body)? }))
}
