//! Who knows what the ids of a schema registry name. A step says which id it needs; the processor
//! asks here, and the answer comes at once, even if it is that nobody knows yet.

use crate::step::{Poison, Step};
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
    let (Some(id), Some(schemas)) = (refused.needs, schemas) else {
        return Err(Refusal::Poison(refused));
    };
    match schemas.look_up(id) {
        Known::Schema(schema) => {
            let learnt = step.learn(id, &schema);
            learnt.and_then(|()| attempt(step)).map_err(Refusal::Poison)
        }
        Known::Nobody(reason) => Err(Refusal::Poison(Poison::new("schema", reason))),
        Known::NotYet(reason) => Err(Refusal::NotYet(reason)),
    }
}
