//! The part of `ingest` that reads topics which somebody else writes: a processor for each of them, so
//! that one that is missing, or waits for a schema, holds up no other.

use crate::exit::{Exit, Kind};
use crate::facts;
use crate::service::Host;
use crate::settings::LogSettings;
use crate::vitals::Vitals;
use std::sync::Arc;
use std::time::Duration;
use tocsin_ingest::SourceConfig;
use tocsin_ingest::own_topics::{self, OwnTopicStep, is_topic};
use tocsin_ingest::pause::Guard;
use tocsin_ingest::settings::Format;
use tocsin_service::{Stop, health};
use tocsin_stream::{Log, LogError};

/// How often it is looked whether a topic is there by now.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Starts a loop for each source that is a topic; gives who stands before each of them.
///
/// # Errors
/// What is wrong with their configuration; exit code 3.
pub fn start(host: &mut Host) -> anyhow::Result<Vec<Arc<Guard>>> {
    let sources = host.settings.sources.iter().filter(|source| is_topic(source));
    let sources: Vec<SourceConfig> = sources.cloned().collect();
    let start = |source| {
        start_one(host, source).map_err(|text| {
            let text = format!("in sources.{}: {text}", source.name);
            Exit::error(Kind::Configuration, text)
        })
    };
    sources.iter().map(start).collect()
}

fn start_one(host: &mut Host, source: &SourceConfig) -> Result<Arc<Guard>, String> {
    check(host, source)?;
    let topology = own_topics::topology(source)?;
    let guard = own_topics::guard(source)?;
    let step = OwnTopicStep::new(source, guard.clone())?;
    let before = guard.clone();
    let (log, vitals, stop) = (host.log(), host.vitals.clone(), host.stop.clone());
    let (part, topic) = (topology.service, topology.inputs.concat());
    let wait = move || until_there(&*log, (part, &topic, &before), &vitals, &stop);
    host.run_after(wait, topology, step, Box::new(())).map_err(|error| error.to_string())?;
    Ok(guard)
}

fn check(host: &Host, source: &SourceConfig) -> Result<(), String> {
    if matches!(host.settings.log, LogSettings::Embedded(_)) {
        return Err("a source of kind `topic` reads what somebody else writes to a Kafka cluster, and nobody but this process writes to the embedded log: set [log] kind = \"kafka\", or read the events from a folder".to_owned());
    }
    let avro = source.format == Some(Format::Avro);
    if avro && host.settings.registry.is_none() && source.schemas.is_none() {
        return Err("nobody would know the schemas of its values: name the schema registry, `registry` in [schema], or for single-object encoding the schemas' files, `schemas`".to_owned());
    }
    Ok(())
}

/// Waits until the topic is there, and it is known whether its source is paused; `false` if the process
/// ends before.
fn until_there(
    log: &dyn Log,
    (part, topic, guard): (&'static str, &str, &Guard),
    vitals: &Vitals,
    stop: &Stop,
) -> Result<bool, LogError> {
    let mut said = false;
    loop {
        let found = log.partitions(topic).and_then(|_| guard.look(log, facts::now()));
        let reason = match found {
            Ok(()) => {
                vitals.metrics.partitions_waiting(part, 0);
                return Ok(true);
            }
            Err(LogError::UnknownTopic(_)) => {
                format!(
                    "there is no topic {topic:?} yet: see `topic` of the source, and that this process may read it"
                )
            }
            Err(LogError::Unavailable(reason)) => reason,
            Err(error) => return Err(error),
        };
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(service = part, reason, "waiting");
        }
        vitals.turned(part);
        // It stands still alone: what is pushed, and what other topics hold, is taken meanwhile.
        vitals.metrics.partitions_waiting(part, 1);
        let waiting = Some(reason);
        vitals.health.set(part, health::State::Ready { partitions: Some(0), waiting });
        if stop.sleep(LOOK_EVERY) {
            return Ok(false);
        }
    }
}
