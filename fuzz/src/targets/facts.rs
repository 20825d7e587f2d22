//! Values in Tocsin's topics: any bytes as a fact of any schema, behind both frames and as a bare body.
//! What can be read can be written, and is then the same; what cannot says why.

use crate::target::Target;
use tocsin_domain::alert::Alert;
use tocsin_domain::condition::Condition;
use tocsin_domain::dead_letter::{DeadDecision, DeadLetter, LateEvent};
use tocsin_domain::delivery::Delivery;
use tocsin_domain::event::{DatasetRow, Listing, OrderRow, Reading, Swipe};
use tocsin_domain::notice::Notice;
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::watch::Watch;
use tocsin_domain::wire::catalogue::FACTS;
use tocsin_domain::wire::{self, Fact, RawReading, SchemaIds, WireError};

/// The classes of what cannot be read.
const CLASSES: [&str; 4] = ["framing", "schema", "decode", "limit"];
/// The longest reason: it may name every schema.
const REASON: usize = 2_000;

/// Reads a body and writes what was read, behind a frame.
type Codec = fn(&[u8]) -> Result<Vec<u8>, WireError>;

/// In the order of [`FACTS`].
const CODECS: [Codec; FACTS.len()] = [
    |body| Ok(framed(&Reading::decode(body)?)),
    |body| Ok(framed(&Listing::decode(body)?)),
    |body| Ok(framed(&OrderRow::decode(body)?)),
    |body| Ok(framed(&DatasetRow::decode(body)?)),
    |body| Ok(framed(&Swipe::decode(body)?)),
    |body| Ok(framed(&Subscriber::decode(body)?)),
    |body| Ok(framed(&Watch::decode(body)?)),
    |body| Ok(framed(&Condition::decode(body)?)),
    |body| Ok(framed(&Alert::decode(body)?)),
    |body| Ok(framed(&Notice::decode(body)?)),
    |body| Ok(framed(&Delivery::decode(body)?)),
    |body| Ok(framed(&DeadLetter::decode(body)?)),
    |body| Ok(framed(&DeadDecision::decode(body)?)),
    |body| Ok(framed(&LateEvent::decode(body)?)),
];

fn framed<'a, F: Fact<'a>>(fact: &F) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write(fact, &mut bytes);
    bytes
}

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "facts", open }]
}

/// A registry's ids name the schemas in their order, from 1.
fn open(_: &str) -> crate::Suffer {
    let mut ids = SchemaIds::default();
    for (id, fact) in (1..).zip(&FACTS) {
        ids.insert(id, fact.fingerprint);
    }
    Box::new(move |bytes| suffer(bytes, &ids))
}

fn suffer(bytes: &[u8], ids: &SchemaIds) {
    _ = wire::id_of(bytes);
    if let Err(error) = wire::to_json(bytes, ids) {
        refused(&error);
    }
    // The schema is the first byte's: easily found by whoever invents bytes.
    let Some((first, body)) = bytes.split_first() else { return };
    let which = usize::from(*first) % CODECS.len();
    assert_eq!(RawReading::decode(body).is_ok(), Reading::decode(body).is_ok());
    match CODECS[which](body) {
        Ok(written) => holds(&written, which, ids),
        Err(error) => refused(&error),
    }
}

/// What was written is read, and written like that again.
fn holds(written: &[u8], which: usize, ids: &SchemaIds) {
    let (frame, body) = written.split_at(10);
    assert_eq!(frame[2..], FACTS[which].fingerprint);
    assert_eq!(CODECS[which](body).as_deref(), Ok(written));
    let shown = wire::to_json(written, ids);
    assert!(shown.is_ok(), "{shown:?}");
}

fn refused(error: &WireError) {
    assert!(CLASSES.contains(&error.class), "{error}");
    assert!(!error.reason.is_empty() && error.reason.len() < REASON, "{error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_facts_of_every_schema() {
        let mut names: Vec<String> = Vec::new();
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/facts");
        for entry in std::fs::read_dir(corpus).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let shown = wire::to_json(&bytes, &SchemaIds::default()).unwrap_or_default();
            names.extend(shown["schema"].as_str().map(str::to_owned));
        }
        let without = FACTS.map(|fact| fact.name.to_owned());
        let without = without.iter().filter(|name| !names.contains(name)).collect::<Vec<_>>();
        assert!(without.is_empty(), "there is no seed of {without:?}");
    }
}
