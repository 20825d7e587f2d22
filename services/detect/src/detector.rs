//! The contract of a detector: what it is given, what it may remember, what it answers. A detector
//! is pure; it publishes nothing and reads no clock.

use std::collections::BTreeMap;
use tocsin_domain::alert::AlertState;
use tocsin_domain::event::{Listing, OrderRow};
use tocsin_domain::wire::RawReading;
use tocsin_domain::wire::avro::Text;
use tocsin_domain::{Id, Micros};

/// A kind of detector, as `kind` in `[[detectors]]` names it.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What it looks for, in a few words.
    pub does: &'static str,
    /// Reads the parameters. Errors say which parameter, what was found, what is allowed.
    pub build: fn(serde_json::Value) -> Result<Box<dyn Detector>, String>,
}

/// Which events a detector looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Readings, of one measure.
    Readings,
    /// Listings.
    Listings,
    /// Order rows.
    OrderRows,
}

/// An event of one of the inputs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A reading.
    Reading(RawReading<'a>),
    /// A listing.
    Listing(Listing<'a>),
    /// An order row.
    OrderRow(OrderRow<'a>),
}

impl<'a> Event<'a> {
    /// Its id and its event time.
    pub fn identity(&self) -> (Micros, Id) {
        match self {
            Event::Reading(e) => (e.event_time, e.id),
            Event::Listing(e) => (e.event_time, e.id),
            Event::OrderRow(e) => (e.event_time, e.id),
        }
    }

    /// When it reached us.
    pub fn arrival(&self) -> Micros {
        match self {
            Event::Reading(e) => e.arrival_time,
            Event::Listing(e) => e.arrival_time,
            Event::OrderRow(e) => e.arrival_time,
        }
    }

    /// Tenant, subject and measure; the measure is empty for all but readings.
    pub fn names(&self) -> [Text<'a>; 3] {
        match self {
            Event::Reading(e) => [e.tenant, e.subject, e.measure],
            Event::Listing(e) => [e.tenant.into(), e.listing.into(), "".into()],
            Event::OrderRow(e) => [e.tenant.into(), e.subject.into(), "".into()],
        }
    }
}

/// An event and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The event.
    pub event: &'a Event<'a>,
    /// Its offset.
    pub offset: u64,
}

/// One condition's rule: built from its parameters, shared by every subject.
///
/// `memory` is what it remembers of one subject, in its own encoding: empty at first, kept and
/// restored with the subject's state.
pub trait Detector: Send + Sync {
    /// Which events it looks at.
    fn input(&self) -> Input;

    /// The measure of the readings that it looks at; empty for other inputs.
    fn measure(&self) -> &str {
        ""
    }

    /// Whether the event finds nothing and leaves the memory as it is, where that is seen at a
    /// glance: then it is not observed.
    fn passes_by(&self, _event: &Event<'_>, _memory: &[u8]) -> bool {
        false
    }

    /// Takes in one event; events come in the order of their event time, once each. An error says
    /// why the event's value cannot be used; the memory is then as it was.
    fn observe(
        &self,
        seen: Seen<'_>,
        memory: &mut Vec<u8>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), String>;

    /// Whether the memory is one that this version of the detector can go on with. Asked when a
    /// subject is restored; if it cannot, the condition begins anew.
    fn reads(&self, memory: &[u8]) -> bool;

    /// The end of its open window, in event time; [`Micros::MAX`] if there is none.
    fn due(&self, _memory: &[u8]) -> Micros {
        Micros::MAX
    }

    /// [`Detector::due`] has come: no more events of the window will.
    fn close(&self, _memory: &mut Vec<u8>, _findings: &mut Vec<Finding>) {}
}

/// What a detector found: an alert without the names that everybody else knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Raised, updated or cleared.
    pub state: AlertState,
    /// When the episode began: the event time of the raise, or the start of the window.
    pub began: Micros,
    /// When it was so.
    pub event_time: Micros,
    /// What was measured.
    pub measure: String,
    /// A name to show; empty if there is none.
    pub place: String,
    /// The value that decided.
    pub value: String,
    /// Its unit or currency.
    pub unit: String,
    /// What it was held against.
    pub limit: String,
    /// The band of the value; empty if the scale has none.
    pub band: &'static str,
    /// The offsets of the events that decided, newest last.
    pub offsets: Vec<u64>,
    /// What was found, by name.
    pub figures: BTreeMap<String, String>,
    /// The memory before, for people, as JSON.
    pub before: String,
    /// The memory after, for people, as JSON.
    pub after: String,
}

/// The figures of a finding; those without a value are left out.
pub(crate) fn figures<const N: usize>(
    all: [(&str, Option<String>); N],
) -> BTreeMap<String, String> {
    all.into_iter().filter_map(|(name, figure)| Some((name.to_owned(), figure?))).collect()
}
