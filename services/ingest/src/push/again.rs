//! A pushed event that is a dead letter, read again: by who has pushed it, as they may push today,
//! under the keys that it came with. So it has the id that it would have had. It writes nothing.

use super::form::{Form, Place, Shape};
use super::lot::Lot;
use super::producers::Producers;
use super::read::{Reader, Sent, object};
use super::settings::{PushSettings, Pushed};
use super::take::Put;
use crate::redrive::{Made, Outcome};
use crate::settings::SourceConfig;
use serde::{Deserialize, Serialize};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::{Id, wire};

/// What an event is read with, beside its bytes: it stands in its dead letter, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case")]
pub(super) enum Head {
    /// The bytes are all of a CloudEvent.
    Cloudevent,
    /// They are the data of one.
    Data { attributes: Vec<(String, String)> },
    /// They are an object of plain JSON.
    Plain { source: String, place: Place },
}

impl Head {
    /// Of the events of a request.
    pub(super) fn of(form: &Form, body: Id) -> Head {
        match form.shape {
            Shape::Structured | Shape::Batch => Head::Cloudevent,
            Shape::Binary => Head::Data { attributes: form.attributes.clone() },
            Shape::Json | Shape::Lines => {
                let source = form.source.clone().unwrap_or_default();
                Head::Plain { source, place: form.place(body) }
            }
        }
    }

    /// As it stands in a dead letter.
    pub(super) fn bytes(&self) -> Vec<u8> {
        // Texts only: it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Knows who may push, and the mappings.
pub(crate) struct Again {
    producers: Producers,
    reader: Reader,
}

impl Again {
    /// As configured today.
    ///
    /// # Errors
    /// What is configured wrong.
    pub(crate) fn new(settings: &PushSettings, sources: &[SourceConfig]) -> Result<Again, String> {
        let reader = Reader::new(sources, settings.limits.max_events)?;
        Ok(Again { producers: Producers::new(settings, sources)?, reader })
    }

    /// What would come of the letter; `index` is its place in its request.
    pub(crate) fn reread(&self, letter: &DeadLetter, index: u64) -> Outcome {
        match self.read(letter, index) {
            Ok((lot, left_out)) => {
                let events = lot.records().map(|ready| Made {
                    id: wire::id_of(ready.value).unwrap_or_default(),
                    topic: Pushed::ALL[ready.topic].topic(),
                    key: ready.key.to_vec(),
                    value: ready.value.to_vec(),
                    is_put_back: false,
                });
                let nothing = match left_out {
                    0 => "",
                    _ => "it has no value, or the mapping leaves it out (`only`)",
                };
                Outcome { events: events.collect(), nothing, ..Outcome::default() }.checked()
            }
            Err(reason) => Outcome::dead(reason),
        }
    }

    /// Its records, and how much of it is left out.
    fn read(&self, letter: &DeadLetter, index: u64) -> Result<(Lot, usize), String> {
        let whose = String::from_utf8_lossy(&letter.key);
        let producer = self.producers.called(&whose).ok_or_else(|| {
            format!(
                "no producer is called {whose:?} any more: name it in [[producers]] again, or drop it"
            )
        })?;
        if letter.head.is_empty() {
            return Err("it was kept without what it came with: its producer sends it again, and \
                        then drop this"
                .to_owned());
        }
        let head: Head = serde_json::from_slice(&letter.head)
            .map_err(|error| format!("what it came with cannot be read: {error}"))?;
        let raw = std::str::from_utf8(&letter.value).map_err(|error| error.to_string())?;
        let index = usize::try_from(index).unwrap_or_default();
        let sent = Sent { producer, index, now: letter.at };
        let mut lot = Lot::default();
        let mut put = Put::new(producer, &mut lot);
        let read = match head {
            Head::Cloudevent => self.reader.structured(raw, sent, &mut put),
            Head::Data { attributes } => self.reader.binary(&attributes, raw, sent, &mut put),
            Head::Plain { source, place } => {
                let mapped = self.reader.mapped(&source, &producer.tenant);
                let mapped = mapped.map_err(|refusal| refusal.detail)?;
                object(mapped, (&place, raw), sent, &mut put)
            }
        };
        let left_out = put.left_out;
        read.map_err(|fault| fault.reason())?;
        Ok((lot, left_out))
    }
}
