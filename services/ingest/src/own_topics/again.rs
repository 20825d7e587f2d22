//! A record of somebody else's topic that is a dead letter, or a row of one, read again as the source
//! reads today: at the record's place, so that its events have the ids that they would have had.
//! Nothing goes back to the topic.

use super::{Format, GROUP, is_topic};
use crate::mapping::Origin;
use crate::redrive::Outcome;
use crate::settings::SourceConfig;
use crate::source::{Again as Row, Sink};
use std::collections::HashMap;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_stream::{Known, Need, Poison, Schemas};

/// The source whose records a service reads, if it reads those of somebody else.
pub fn source_of(service: &str) -> Option<&str> {
    service.strip_prefix(GROUP)
}

/// Knows the sources that are topics.
pub(crate) struct Again(HashMap<String, (SourceConfig, Format)>);

impl Again {
    /// As configured today.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(crate) fn new(sources: &[SourceConfig]) -> Result<Again, String> {
        let topics = sources.iter().filter(|config| is_topic(config));
        let read =
            topics.map(|config| Ok((config.name.clone(), (config.clone(), Format::of(config)?))));
        Ok(Again(read.collect::<Result<_, String>>()?))
    }

    /// What would come of the letter; `row` is its place in its record, if it is a part of one.
    pub(crate) fn reread(
        &mut self,
        (letter, (file, row)): (&DeadLetter, (&str, u64)),
        source: &str,
        schemas: Option<&dyn Schemas>,
    ) -> Outcome {
        let Some((config, format)) = self.0.get_mut(source) else {
            return Outcome::dead(format!(
                "no source of kind `topic` is called {source:?} any more; configure it again, or drop it"
            ));
        };
        let Some(position) = &letter.position else {
            return Outcome::dead("it does not say where its record stands".to_owned());
        };
        if config.topic.as_ref() != Some(&position.topic) {
            let (now, then) = (config.topic.as_deref().unwrap_or_default(), &position.topic);
            return Outcome::dead(format!(
                "the source {source:?} reads {now:?} now, and this came from {then:?}: let a source \
                 of that name read {then:?} again, or drop it"
            ));
        }
        let (bytes, mut found) = (letter.value.as_slice(), Outcome::default());
        if !letter.origin.is_empty() {
            let at = Origin { file, line: row, text: &letter.origin, now: letter.at };
            let row = Row { head: &[], bytes, at };
            let read = format.row(row, &mut |item| {
                found.take(item);
                Ok(())
            });
            return found.ended(read);
        }
        let (file, text) =
            (format!("{}/{}", position.topic, position.partition), position.to_string());
        let at = Origin { file: &file, line: position.offset, text: &text, now: letter.at };
        let read = knowing(format, schemas, |format| {
            found = Outcome::default();
            let sink: &mut Sink<'_> = &mut |item| {
                found.take(item);
                Ok(())
            };
            format.read(bytes, &at, sink)
        });
        match read {
            Ok(()) => found.checked(),
            Err(reason) => Outcome::dead(reason),
        }
    }
}

/// Reads, and if a schema must be known for that, asks for it.
fn knowing(
    format: &mut Format,
    schemas: Option<&dyn Schemas>,
    mut read: impl FnMut(&mut Format) -> Result<(), Poison>,
) -> Result<(), String> {
    let refused = match read(format) {
        Ok(()) => return Ok(()),
        Err(refused) => refused,
    };
    let (Some(Need::Schema(id)), Some(schemas)) = (refused.needs, schemas) else {
        return Err(refused.reason);
    };
    match schemas.look_up(id) {
        Known::Schema(schema) => {
            format.learn(id, &schema).map_err(|error| error.reason)?;
            read(format).map_err(|refused| refused.reason)
        }
        Known::Nobody(reason) | Known::NotYet(reason) => Err(reason),
    }
}
