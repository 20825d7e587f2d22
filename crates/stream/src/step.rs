//! A step: `(state, input, now) → effects`. No clock, no randomness, no I/O; so it can be simulated,
//! replayed and back-tested.

use crate::effects::Effects;
use crate::record::Record;
use crate::state::{Clock, State, Store};
use tocsin_domain::Micros;
use tocsin_domain::wire::WireError;

/// What a service does with its inputs.
pub trait Step: Send {
    /// What it keeps for a key; `()` for nothing.
    type State: State;
    /// What it writes to the projection store; `()` for nothing.
    type Write: Send;

    /// One record of an input. A step that answers [`Poison`] has changed nothing.
    fn on_record(
        &mut self,
        record: &Record<'_>,
        now: Micros,
        store: &mut Store<Self::State>,
        effects: &mut Effects<Self::Write>,
    ) -> Result<(), Poison>;

    /// A record was processed, and whether it became a dead letter. What a step does here is committed
    /// with the record.
    fn on_end(
        &mut self,
        _record: &Record<'_>,
        _is_dead: bool,
        _now: Micros,
        _effects: &mut Effects<Self::Write>,
    ) {
    }

    /// A key's [`State::wake`] has come. It must move the wake on, or it rings again.
    fn on_wake(
        &mut self,
        _wake: Ring<'_>,
        _store: &mut Store<Self::State>,
        _effects: &mut Effects<Self::Write>,
    ) {
    }

    /// A registry's id names this schema. Told before a record is given again that asked for it.
    fn learn(&mut self, _id: u32, _schema: &str) -> Result<(), Poison> {
        Ok(())
    }

    /// One record of a table: a new value, or `None` for a key that was deleted.
    fn on_table(&mut self, _table: &str, _key: &[u8], _value: Option<&[u8]>) -> Result<(), Poison> {
        Ok(())
    }
}

/// A wake that has come.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    /// Whose.
    pub key: &'a [u8],
    /// Which clock.
    pub clock: Clock,
    /// How far event time is known to have come for the key; [`Micros::MAX`] when its input ended.
    pub event_time: Micros,
    /// The wall clock.
    pub now: Micros,
}

/// What a record waits for that cannot be processed as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The schema that the registry's id names, which the step does not know. Who knows it calls
    /// [`Step::learn`] and gives the record again; it is poison only if nobody can ever know.
    Schema(u32),
    /// A person: its source is paused. It is given again until the step takes it.
    Resume,
}

/// Why a record can never be processed, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {reason}")]
pub struct Poison {
    /// One word for the kind of fault.
    pub class: &'static str,
    /// What is wrong and what is allowed.
    pub reason: String,
    /// What would help; `None` if nothing can.
    pub needs: Option<Need>,
}

impl Poison {
    /// A poison of `class`.
    pub fn new(class: &'static str, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), needs: None }
    }

    /// No poison at all: the source is paused, and why.
    pub fn paused(reason: impl Into<String>) -> Self {
        Self { needs: Some(Need::Resume), ..Self::new("paused", reason) }
    }
}

impl From<WireError> for Poison {
    fn from(error: WireError) -> Self {
        Self { class: error.class, reason: error.reason, needs: error.needs.map(Need::Schema) }
    }
}
