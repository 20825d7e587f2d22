//! Dead letters → by day, whole, so that somebody can look and decide.

use crate::projection::Projection;
use crate::tables::DEAD_LETTERS_BY_DAY;
use crate::totals::Totals;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::topics::DEAD_LETTERS;
use tocsin_domain::wire::{SchemaIds, read_owned};
use tocsin_store::{TableSpec, Write};
use tocsin_stream::Poison;

/// See the module.
#[derive(Debug)]
pub struct DeadLetters;

impl Projection for DeadLetters {
    fn topic(&self) -> &'static str {
        DEAD_LETTERS
    }

    fn tables(&self) -> &'static [&'static TableSpec] {
        const { &[&DEAD_LETTERS_BY_DAY] }
    }

    fn project(
        &self,
        fact: &[u8],
        ids: &SchemaIds,
        _totals: Totals<'_>,
        out: &mut Vec<Write>,
    ) -> Result<(), Poison> {
        let letter: DeadLetter = read_owned(fact, ids)?;
        let json = super::json(&letter)?;
        let row = [
            letter.at.date().into(),
            letter.at.into(),
            letter.id.to_string().into(),
            letter.topic.into(),
            letter.class.into(),
            letter.reason.into(),
            letter.service.into(),
            json.into(),
        ];
        out.push(Write::new(&DEAD_LETTERS_BY_DAY, letter.at.0, row));
        Ok(())
    }
}
