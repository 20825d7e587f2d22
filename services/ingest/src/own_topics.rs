//! Topics that somebody else writes: each record becomes events by the mapping of its source, exactly
//! once, in the transaction that also says how far the topic was read. Nothing is written to them.
//!
//! Read in this order: [`format`] says what a record's value says, the step makes events of it, and
//! `again` does so with what is a dead letter.

mod again;
pub mod format;
mod step;

pub(crate) use again::Again;
pub use again::source_of;
pub use format::Format;
pub use step::OwnTopicStep;

use crate::cursor;
use crate::pause::{Guard, Whom};
use crate::poison::Rate;
use crate::settings::SourceConfig;
use std::sync::Arc;
use tocsin_domain::topics::Topics;
use tocsin_stream::Topology;

/// Whom topics.yaml knows as the writer of events.
const WRITER: &str = "ingest";
/// What the groups begin with, so that no source takes the group of a service.
const GROUP: &str = "topic-";

/// Whether a source is a topic that somebody else writes.
pub fn is_topic(config: &SourceConfig) -> bool {
    config.kind == "topic"
}

/// What the loop over a source's topic reads and writes. Its group is `topic-<source>`.
///
/// A process has one for each such source of its configuration, as long as it runs: so their names may
/// live as long as the process.
///
/// # Errors
/// If the source names no topic, or one of ours.
pub fn topology(config: &SourceConfig) -> Result<Topology, String> {
    Ok(Topology {
        service: for_good(format!("{GROUP}{}", config.name)),
        does: "makes events of what somebody else writes",
        inputs: vec![for_good(topic(config)?.to_owned())],
        tables: Vec::new(),
        changelog: None,
        outputs: vec![config.event_topic(), cursor::TOPIC],
        foreign: Some(WRITER),
    })
}

/// Who stands before a source.
///
/// # Errors
/// If its `pause_above` is no share.
pub fn guard(config: &SourceConfig) -> Result<Arc<Guard>, String> {
    let rate = Rate::of(config.pause_above.as_deref())?;
    Ok(Arc::new(Guard::new(Whom::source(config), rate)))
}

/// The topic of a source.
fn topic(config: &SourceConfig) -> Result<&str, String> {
    let topic = config.topic.as_deref().unwrap_or_default();
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if topic.is_empty() || topic.len() > 249 || !topic.chars().all(is_legal) {
        return Err(format!(
            "`topic` is {topic:?}; it must be the name of a Kafka topic, of at most 249 letters, digits, dots, underscores and hyphens"
        ));
    }
    if Topics::builtin().get(topic).is_some() {
        return Err(format!(
            "`topic` is {topic:?}, which is a topic of Tocsin itself; write events there as schemas/README.md says, or name a topic of your own"
        ));
    }
    Ok(topic)
}

fn for_good(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[cfg(test)]
mod tests;
