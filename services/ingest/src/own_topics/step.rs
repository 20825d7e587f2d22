//! The step: a record of a topic that somebody else writes in, events and dead letters out. It keeps
//! nothing, so that a record gives the same whenever it is read; while its source is paused, it takes
//! none.

use super::Format;
use crate::mapping::Origin;
use crate::pause::{Counted, Guard};
use crate::settings::SourceConfig;
use crate::source::{Event, Item};
use std::sync::Arc;
use tocsin_domain::Micros;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_stream::state::Store;
use tocsin_stream::{Effects, Poison, Record, Step};

/// The outputs of the topology: events, and the fact that the source is paused.
const EVENTS: usize = 0;
const PAUSES: usize = 1;

/// Records to events.
pub struct OwnTopicStep {
    format: Format,
    file: String,
    text: String,
    key: Vec<u8>,
    guard: Arc<Guard>,
}

impl OwnTopicStep {
    /// The step of a source, and who stands before it.
    ///
    /// # Errors
    /// What is wrong with the source.
    pub fn new(config: &SourceConfig, guard: Arc<Guard>) -> Result<OwnTopicStep, String> {
        let (file, text) = (String::new(), String::new());
        Ok(OwnTopicStep { format: Format::of(config)?, file, text, key: Vec::new(), guard })
    }
}

impl Step for OwnTopicStep {
    type State = ();
    type Write = ();

    fn on_record(
        &mut self,
        record: &Record<'_>,
        now: Micros,
        _: &mut Store<()>,
        effects: &mut Effects,
    ) -> Result<(), Poison> {
        if let Some(reason) = self.guard.shut() {
            return Err(Poison::paused(&*reason));
        }
        // A tombstone says that a key is gone, and no event of ours can be taken back.
        let Some(value) = record.value else {
            effects.filtered();
            return Ok(());
        };
        self.file = format!("{}/{}", record.topic, record.partition);
        self.text = format!("{}/{}", self.file, record.offset);
        let arrival = if record.time > Micros(0) { record.time } else { now };
        let (file, text) = (self.file.as_str(), self.text.as_str());
        let at = Origin { file, line: record.offset, text, now: arrival };
        let (key, mut is_filtered) = (&mut self.key, true);
        self.format.read(value, &at, &mut |item| {
            match item {
                Item::Event(event) => publish(&event, key, effects),
                Item::DeadLetter(letter) => bury(&letter, text, record, effects),
                Item::Skipped(_) | Item::RowEnd(_) | Item::OpenEnd => return Ok(()),
            }
            is_filtered = false;
            Ok(())
        })?;
        if is_filtered {
            effects.filtered();
        }
        Ok(())
    }

    /// The record that is too much is committed with its letter, and none after it.
    fn on_end(&mut self, record: &Record<'_>, is_dead: bool, now: Micros, effects: &mut Effects) {
        let (dead, at): (&[usize], String) = match is_dead {
            true => (&[0], record.position().to_string()),
            false => (&[], String::new()),
        };
        let Counted::Over(_, pause) = self.guard.count(1, dead, (&at, now)) else { return };
        match self.guard.whom().record(&pause) {
            Ok((key, value)) => effects.put(PAUSES, &key, &value),
            Err(reason) => tracing::error!(reason, "the pause is not written"),
        }
    }

    fn learn(&mut self, id: u32, schema: &str) -> Result<(), Poison> {
        Ok(self.format.learn(id, schema)?)
    }
}

fn publish(event: &Event<'_>, key: &mut Vec<u8>, effects: &mut Effects) {
    event.key(key);
    effects.saw(event.event_time());
    match event {
        Event::Reading(event) => effects.publish(EVENTS, key, event),
        Event::Listing(event) => effects.publish(EVENTS, key, event),
        Event::OrderRow(event) => effects.publish(EVENTS, key, event),
        Event::DatasetRow(event) => effects.publish(EVENTS, key, event),
        Event::Swipe(event) => effects.publish(EVENTS, key, event),
    }
}

/// A row at fault: where the record stands, with the record's own key and bytes; a row among others
/// with its own bytes.
fn bury(letter: &DeadLetter, whole: &str, record: &Record<'_>, effects: &mut Effects) {
    let (origin, class, reason) = (&letter.origin, &letter.class, &letter.reason);
    match origin == whole {
        true => effects.dead_letter(record, class, reason),
        false => {
            let row = Record { value: Some(&letter.value), ..*record };
            effects.dead_part(&row, (origin, letter.cut), class, reason);
        }
    }
}
