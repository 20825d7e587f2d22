//! Why somebody got a mail: from the mail over the delivery, the notice, the alert and the rule down
//! to the bytes of the raw events. Reads rows and records; explains only what is still there, and
//! says what is not.

mod text;

use crate::answer::Fault;
use crate::{read, records};
use serde::Serialize;
use serde_json::Value as Json;
use tocsin_domain::alert::Alert;
use tocsin_domain::condition::Condition;
use tocsin_domain::notice::Notice;
use tocsin_domain::watch::Watch;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, Micros, Position, TopicPartition, topics};
use tocsin_project::tables::DELIVERIES_LOG;
use tocsin_store::{Row, Store};
use tocsin_stream::{Log, LogError, Record};

/// The whole chain of one mail.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// Without angle brackets.
    pub message_id: String,
    /// Who is told.
    pub subscriber: Id,
    /// Where to.
    pub address: String,
    /// Everything that happened to the delivery, in order.
    pub facts: Vec<Happened>,
    /// What the mail tells; a digest has several.
    pub because: Vec<Because>,
}

/// One fact about a delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Happened {
    /// When.
    pub at: Micros,
    /// `requested`, `attempt`, `sent`, …
    pub state: String,
    /// Which attempt, counted from 1.
    pub attempt: i64,
    /// The server's words; empty if there are none.
    pub reason: String,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Micros>,
}

/// Why one thing was told.
#[derive(Clone, Debug, Serialize)]
pub struct Because {
    /// The notice.
    pub notice: Id,
    /// When the alert met the watch.
    pub matched_at: Micros,
    /// The watch's id.
    pub watch_id: Id,
    /// The watch as it is today; `None` if it is gone.
    pub watch: Option<Watch>,
    /// The alert. Its state before and after are in `before` and `after`.
    pub alert: Alert,
    /// The rule: in the alert's version if the log still has it, or as it is today.
    pub rule: Option<Condition>,
    /// Whether `rule` is the version that decided.
    pub rule_decided: bool,
    /// The detector's state before.
    pub before: Json,
    /// The detector's state after.
    pub after: Json,
    /// The records that decided, in the evidence's order.
    pub events: Vec<RawEvent>,
}

/// A record that decided.
#[derive(Clone, Debug, Serialize)]
pub struct RawEvent {
    /// `topic/partition/offset`.
    pub position: String,
    /// What stands there.
    #[serde(flatten)]
    pub found: Found,
}

/// What stands at a position.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Found {
    /// The record.
    Record {
        /// When the log took it.
        taken_at: Micros,
        /// Its key.
        key: String,
        /// Where in the source: `file.csv:123`; empty if it is not known.
        origin: String,
        /// The decoded value, or what is wrong with it.
        value: Json,
        /// The bytes of the value, two hex digits each.
        hex: String,
    },
    /// No record, and why.
    Gone {
        /// What happened to it.
        gone: String,
    },
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// No such mail.
    #[error(
        "there is no mail with the Message-ID {0:?}; it is in the mail's header of that name, and in the inbox"
    )]
    Unknown(String),
    /// The store or the log does not answer.
    #[error("cannot look up why: {0}")]
    Unavailable(String),
}

impl From<Fault> for WhyError {
    fn from(fault: Fault) -> WhyError {
        let (Fault::NotFound(reason) | Fault::Bad(reason) | Fault::Internal(reason)) = fault;
        WhyError::Unavailable(reason)
    }
}

impl From<LogError> for WhyError {
    fn from(error: LogError) -> WhyError {
        WhyError::Unavailable(error.to_string())
    }
}

impl From<WhyError> for Fault {
    fn from(error: WhyError) -> Fault {
        match error {
            WhyError::Unknown(_) => Fault::NotFound(error.to_string()),
            WhyError::Unavailable(reason) => Fault::Internal(reason),
        }
    }
}

/// Explains the mail with that Message-ID, with or without angle brackets.
pub fn explain(
    message_id: &str,
    store: &dyn Store,
    log: &dyn Log,
    ids: &SchemaIds,
) -> Result<Why, WhyError> {
    let mail = read::mail(store, message_id)?
        .ok_or_else(|| WhyError::Unknown(read::bare(message_id).to_owned()))?;
    let facts = read::facts(store, message_id)?;
    let because = mail.delivery.notices.into_iter().map(|notice| trace(notice, log, ids));
    Ok(Why {
        message_id: mail.delivery.message_id,
        subscriber: mail.delivery.subscriber,
        address: mail.delivery.address,
        facts: facts.iter().map(happened).collect(),
        because: because.collect::<Result<_, WhyError>>()?,
    })
}

fn happened(row: &Row) -> Happened {
    let get = |column| DELIVERIES_LOG.get(row, column);
    Happened {
        at: get("at").time().unwrap_or_default(),
        state: get("state").text().to_owned(),
        attempt: get("attempt").int().unwrap_or_default(),
        reason: get("reason").text().to_owned(),
        next_attempt_at: get("next_attempt_at").time(),
    }
}

fn trace(notice: Notice, log: &dyn Log, ids: &SchemaIds) -> Result<Because, WhyError> {
    let alert = notice.alert;
    let watch = watch(log, ids, &alert.tenant, notice.watch)?;
    let (rule, rule_decided) = rule(log, ids, &alert)?;
    let events = alert.evidence.positions.iter().map(|position| raw(log, ids, position));
    Ok(Because {
        notice: notice.id,
        matched_at: notice.at,
        watch_id: notice.watch,
        watch,
        rule,
        rule_decided,
        before: json(&alert.evidence.before),
        after: json(&alert.evidence.after),
        events: events.collect::<Result<_, LogError>>()?,
        alert,
    })
}

/// The watch as the log says today; `None` if it says nothing that can be read.
pub(crate) fn watch(
    log: &dyn Log,
    ids: &SchemaIds,
    tenant: &str,
    id: Id,
) -> Result<Option<Watch>, LogError> {
    let said = records::history(log, topics::WATCHES, format!("{tenant}/{id}").as_bytes())?;
    Ok(said.last().and_then(|bytes| wire::read_owned(bytes, ids).ok()))
}

/// The condition in the version that decided, if the log still has it.
fn rule(
    log: &dyn Log,
    ids: &SchemaIds,
    alert: &Alert,
) -> Result<(Option<Condition>, bool), LogError> {
    let key = format!("{}/{}", alert.tenant, alert.condition);
    let said = records::history(log, topics::CONDITIONS, key.as_bytes())?;
    let mut rules: Vec<Condition> =
        said.iter().filter_map(|bytes| wire::read_owned(bytes, ids).ok()).collect();
    match rules.iter().rposition(|rule| rule.version == alert.condition_version) {
        Some(at) => Ok((Some(rules.swap_remove(at)), true)),
        None => Ok((rules.pop(), false)),
    }
}

fn raw(log: &dyn Log, ids: &SchemaIds, position: &Position) -> Result<RawEvent, LogError> {
    let found = records::at(log, position, |record| found(record, ids))?;
    let found = found.map_or_else(|| gone(log, position), Ok)?;
    Ok(RawEvent { position: position.to_string(), found })
}

fn gone(log: &dyn Log, position: &Position) -> Result<Found, LogError> {
    let span = log.span(&TopicPartition::new(&position.topic, position.partition))?;
    let gone = if position.offset < span.start {
        "the log no longer has this record: retention deleted it when its time was over"
    } else {
        "the log has no record here: the alert was made from another log, or a newer record of the \
         same key took its place"
    };
    Ok(Found::Gone { gone: gone.to_owned() })
}

fn found(record: &Record<'_>, ids: &SchemaIds) -> Found {
    let bytes = record.value.unwrap_or_default();
    let value = wire::to_json(bytes, ids).unwrap_or_else(|error| error.to_string().into());
    let origin = value["fact"]["origin"].as_str().unwrap_or_default().to_owned();
    Found::Record {
        taken_at: record.time,
        key: String::from_utf8_lossy(record.key).into_owned(),
        origin,
        value,
        hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A state as it was written down; text that is not JSON is shown as text.
fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
