//! What could not be processed, what has become of it, and what came too late: nothing is lost.

mod group;
mod shown;

pub use group::{Group, shape};
pub use shown::{ascii_json, dump, escaped};

use crate::{Id, Micros, Position};
use serde::{Deserialize, Serialize};

/// An input that cannot be processed. Key of its topic: as the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// UUIDv5 of where it stood and who could not read it.
    pub id: Id,
    /// The topic it was in, or was meant for.
    pub topic: String,
    /// Where it stood in the log; `None` for what never got that far.
    pub position: Option<Position>,
    /// Where it stood before the log: `file.csv:123`; empty if it came from the log.
    pub origin: String,
    /// The original key.
    #[serde(with = "hex")]
    pub key: Vec<u8>,
    /// The original bytes.
    #[serde(with = "hex")]
    pub value: Vec<u8>,
    /// A word for the kind of fault: `framing`, `schema`, `decode`, `value`, `csv`, `json`, …
    pub class: String,
    /// What is wrong, where, and what is allowed.
    pub reason: String,
    /// Which service could not process it.
    pub service: String,
    /// When the log took it, or the source read it.
    pub at: Micros,
    /// The name of the source that read it; empty if it came from a topic of ours.
    #[serde(default)]
    pub source: String,
    /// What it cannot be read again without: the header of a CSV, or as JSON what a push or an upload
    /// said beside it.
    #[serde(with = "hex", default)]
    pub head: Vec<u8>,
    /// Whether only its first bytes are kept, because it was too long.
    #[serde(default)]
    pub cut: bool,
    /// Which search of an upstream it answers; empty if none was asked.
    #[serde(default)]
    pub search: String,
}

impl DeadLetter {
    /// Which group it belongs to: what is wrong, whoever it is wrong with.
    pub fn group(&self) -> Group {
        Group::new(&self.service, &self.topic, &self.class, &self.reason)
    }
}

/// What has become of a dead letter. Key of its topic: [`DeadDecision::key`]; the newest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadDecision {
    /// The dead letter's id.
    pub letter: Id,
    /// [`REDRIVEN`] and [`DROPPED`] end it; [`STILL_DEAD`] leaves it open.
    pub verdict: String,
    /// Why it was dropped, is still dead, or gives nothing.
    pub reason: String,
    /// Where its records went; empty if nothing was written.
    pub topic: String,
    /// The ids of the facts that were written with this decision.
    pub written: Vec<Id>,
    /// The ids of the facts that stood there already and were not written again.
    pub present: Vec<Id>,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Micros,
}

/// The letter was led through today's configuration and code, and is no longer dead.
pub const REDRIVEN: &str = "redriven";
/// So it was, and is dead all the same.
pub const STILL_DEAD: &str = "dead";
/// Somebody has decided that nothing shall come of it.
pub const DROPPED: &str = "dropped";

impl DeadDecision {
    /// The key of its record.
    pub fn key(&self) -> String {
        self.letter.to_string()
    }

    /// Whether nothing more is to be done about the letter.
    pub fn is_final(&self) -> bool {
        self.verdict != STILL_DEAD
    }
}

/// An event that came after its subject's watermark. Key of its topic: as the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateEvent {
    /// UUIDv5 of its position.
    pub id: Id,
    /// Where it stands.
    pub position: Position,
    /// The original bytes.
    #[serde(with = "hex")]
    pub value: Vec<u8>,
    /// When it was so.
    pub event_time: Micros,
    /// The watermark that had already passed.
    pub watermark: Micros,
    /// When the log took it.
    pub at: Micros,
}

/// Bytes in JSON: two hex digits each.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        let digit = |i: usize| text.get(i..i + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        (0..text.len())
            .step_by(2)
            .map(|i| digit(i).ok_or_else(|| serde::de::Error::custom("not hex digits")))
            .collect()
    }
}
