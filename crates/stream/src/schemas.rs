//! Who knows what the ids of a schema registry name. A step says which id it needs; the processor
//! asks here, and the answer comes at once, even if it is that nobody knows yet.

use crate::step::{Need, Poison, Step};
use std::fmt::Debug;
use std::sync::Arc;

/// What is known of a schema id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The schema's text.
    Schema(Arc<str>),
    /// There is no such schema, and why that is certain.
    Nobody(String),
    /// Nobody knows yet, and why.
    NotYet(String),
}

/// Knows schemas by their id.
pub trait Schemas: Debug + Send + Sync {
    /// What is known now. Returns at once; what is not known is found out meanwhile.
    fn look_up(&self, id: u32) -> Known;
}

/// Why a record was not processed.
pub(crate) enum Refusal {
    /// It never can be.
    Poison(Poison),
    /// A schema must be known first, and nobody knows it yet.
    NotYet(String),
    /// Its source is paused.
    Paused(String),
}

impl From<Poison> for Refusal {
    fn from(poison: Poison) -> Refusal {
        match poison.needs {
            Some(Need::Resume) => Refusal::Paused(poison.reason),
            _ => Refusal::Poison(poison),
        }
    }
}

/// Lets a step process something; what it needs to know for that, it is told.
pub(crate) fn knowing<S: Step>(
    step: &mut S,
    schemas: Option<&Arc<dyn Schemas>>,
    mut attempt: impl FnMut(&mut S) -> Result<(), Poison>,
) -> Result<(), Refusal> {
    let refused = match attempt(step) {
        Ok(()) => return Ok(()),
        Err(poison) => poison,
    };
    let (id, schemas) = match (refused.needs, schemas) {
        (Some(Need::Schema(id)), Some(schemas)) => (id, schemas),
        _ => return Err(refused.into()),
    };
    match schemas.look_up(id) {
        Known::Schema(schema) => {
            let learnt = step.learn(id, &schema);
            learnt.and_then(|()| attempt(step)).map_err(Refusal::from)
        }
        Known::Nobody(reason) => Err(Refusal::Poison(Poison::new("schema", reason))),
        Known::NotYet(reason) => Err(Refusal::NotYet(reason)),
    }
}
