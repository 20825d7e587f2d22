//! Sources that are paused, because too many of their rows could not be read: a fact beside the
//! cursors, committed with the last rows. It stands until somebody resumes the source, or its
//! configuration changes; a restart alone does not read on into a flood.

use crate::cursor;
use crate::settings::SourceConfig;
use serde::{Deserialize, Serialize};
use tocsin_domain::partition::partition_of;
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::{CommitError, Log, LogError, Transaction, WorkerSpec};

/// That a source is paused, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: Micros,
    /// What is wrong.
    pub reason: String,
    /// The file, or the like, in which it was so.
    pub file: String,
    /// Of which configuration this is said: [`fingerprint`].
    pub config: Id,
    /// Who has ended it, and when; `None` as long as it stands.
    pub resumed: Option<(String, Micros)>,
}

impl Pause {
    /// A source, as it is configured, is paused now, with the reason and the file.
    pub fn of(config: &SourceConfig, (reason, file): (String, &str), at: Micros) -> Pause {
        let (file, config) = (file.to_owned(), fingerprint(config));
        Pause { at, reason, file, config, resumed: None }
    }

    /// Puts it into a transaction in which the cursors' topic has this number.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn write(
        &self,
        config: &SourceConfig,
        work: &mut Transaction,
        topic: usize,
    ) -> Result<(), String> {
        let value = serde_json::to_vec(self);
        let value = value.map_err(|e| format!("the pause cannot be written: {e}"))?;
        let key = key(config);
        work.to(topic, &key).push(&key, Some(&value));
        Ok(())
    }
}

/// Whether a source is paused, as it was found last: looked up at the start, and as long as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// `None` if nobody has looked yet.
    paused: Option<bool>,
}

impl Standing {
    /// Whether it is paused now; `tell` hears why, or that it is not, when that is news.
    ///
    /// # Errors
    /// Those of the log, but that it does not answer: then nothing is read.
    pub fn look(
        &mut self,
        log: &dyn Log,
        config: &SourceConfig,
        tell: &mut dyn FnMut(Option<&str>),
    ) -> Result<bool, LogError> {
        if self.paused == Some(false) {
            return Ok(false);
        }
        let found = match find(log, config) {
            Err(LogError::Unavailable(reason)) => {
                tracing::warn!(reason, "the log does not answer");
                return Ok(true);
            }
            found => found?,
        };
        if self.paused != Some(found.is_some()) {
            let source = config.name.as_str();
            tell(found.as_ref().map(|pause| pause.reason.as_str()));
            if let Some(Pause { reason, at, file, .. }) = &found {
                tracing::error!(source, %at, file, reason, "the source is paused until `tocsin dlq resume`, or until its configuration changes");
            } else if self.paused.is_some() {
                tracing::info!(source, "the source goes on");
            }
        }
        self.paused = Some(found.is_some());
        Ok(found.is_some())
    }

    /// It was paused by whoever asks: look again.
    pub fn forget(&mut self) {
        self.paused = None;
    }
}

/// What tells one configuration of a source from another.
pub fn fingerprint(config: &SourceConfig) -> Id {
    Id::of("source", &[format!("{config:?}").as_bytes()])
}

/// The key of the fact. No cursor has it: theirs has a whole path behind the source.
pub fn key(config: &SourceConfig) -> Vec<u8> {
    format!("pause/{}/{}", config.tenant(), config.name).into_bytes()
}

/// The pause that stands for the source as it is configured now.
///
/// # Errors
/// Those of the log.
pub fn find(log: &dyn Log, config: &SourceConfig) -> Result<Option<Pause>, LogError> {
    let latest = latest(log, config)?;
    let mine = fingerprint(config);
    Ok(latest.filter(|pause| pause.resumed.is_none() && pause.config == mine))
}

fn latest(log: &dyn Log, config: &SourceConfig) -> Result<Option<Pause>, LogError> {
    let key = key(config);
    let number = partition_of(&key, log.partitions(cursor::TOPIC)?);
    let mut latest = None;
    log.scan_all(&TopicPartition::new(cursor::TOPIC, number), |record| {
        if record.key == key {
            latest = record.value.and_then(|value| serde_json::from_slice(value).ok());
        }
        Ok::<(), LogError>(())
    })?;
    Ok(latest)
}

/// Ends the pause of a source; `None` if it was not paused.
///
/// # Errors
/// Those of the log.
pub fn resume(
    log: &dyn Log,
    config: &SourceConfig,
    (by, now): (&str, Micros),
) -> Result<Option<Pause>, CommitError> {
    let unknown = |error: LogError| CommitError::Fatal(error.to_string());
    let Some(pause) = find(log, config).map_err(unknown)? else { return Ok(None) };
    let ended = Pause { resumed: Some((by.to_owned(), now)), ..pause };
    let mut work = Transaction::default();
    work.time = now;
    let topic = work.register(cursor::TOPIC, log.partitions(cursor::TOPIC).map_err(unknown)?);
    ended.write(config, &mut work, topic).map_err(CommitError::Fatal)?;
    let spec = WorkerSpec { id: "resume".to_owned(), ..WorkerSpec::default() };
    log.worker(&spec).map_err(unknown)?.commit(&mut work)?;
    Ok(Some(ended))
}
