//! Sources that are paused, because too many of their rows could not be read: a fact beside the
//! cursors, committed with the last rows. It stands until somebody resumes the source, or its
//! configuration changes; a restart alone does not read on into a flood.

mod guard;

pub use guard::{Counted, Guard, keep_looking};

use crate::cursor;
use crate::settings::SourceConfig;
use std::fmt::Debug;
use std::time::Duration;
use tocsin_domain::partition::partition_of;
use tocsin_domain::upstream::Pause;
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::{CommitError, Log, LogError, Transaction, WorkerSpec};

/// How often it is looked whether a source is paused, or goes on: others may have said so.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Whose rows are counted, as it is configured now: a source, or a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whom {
    /// What `tocsin dlq` calls it.
    pub name: String,
    key: Vec<u8>,
    config: Id,
}

impl Whom {
    /// A source.
    pub fn source(config: &SourceConfig) -> Whom {
        Whom::of(config.name.clone(), config.tenant(), &config.said())
    }

    /// Whoever has this name in the namespace; with another `config` it is somebody else.
    pub fn of(name: String, tenant: &str, config: &impl Debug) -> Whom {
        let key = Pause::key(tenant, &name).into_bytes();
        Whom { name, key, config: Id::of("source", &[format!("{config:?}").as_bytes()]) }
    }

    /// That they are paused now, with the reason and the file.
    pub fn pause(&self, (reason, file): (String, &str), at: Micros) -> Pause {
        Pause { at, reason, file: file.to_owned(), config: self.config, resumed: None }
    }

    /// The record that says so: its key and its value.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn record(&self, pause: &Pause) -> Result<(Vec<u8>, Vec<u8>), String> {
        let value = serde_json::to_vec(pause);
        let value = value.map_err(|e| format!("the pause cannot be written: {e}"))?;
        Ok((self.key.clone(), value))
    }

    /// Puts it into a transaction in which the cursors' topic has this number.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn write(&self, pause: &Pause, work: &mut Transaction, topic: usize) -> Result<(), String> {
        let (key, value) = self.record(pause)?;
        work.to(topic, &key).push(&key, Some(&value));
        Ok(())
    }

    /// Whether it stands for them as they are configured now.
    fn minds(&self, pause: &Pause) -> bool {
        pause.resumed.is_none() && pause.config == self.config
    }
}

/// Whether a source is paused: read along, so that nobody has to be told by whom it was.
#[derive(Clone, Debug)]
pub struct Standing {
    whom: Whom,
    /// What is known of the topic, and up to where.
    latest: Option<Pause>,
    next: u64,
    /// As it was found last, and when; `None` if nobody has looked yet.
    paused: Option<bool>,
    looked: Micros,
}

impl Standing {
    /// Nobody has looked yet.
    pub fn new(whom: Whom) -> Standing {
        Standing { whom, latest: None, next: 0, paused: None, looked: Micros::MIN }
    }

    /// Whether it is paused now, as far as it is known after a look every few seconds; `tell` hears
    /// why, or that it is not, when that is news.
    ///
    /// # Errors
    /// Those of the log, but that it does not answer: then nothing is read.
    pub fn look(
        &mut self,
        log: &dyn Log,
        now: Micros,
        tell: &mut dyn FnMut(Option<&str>),
    ) -> Result<bool, LogError> {
        if let Some(paused) = self.paused
            && now.since(self.looked) < LOOK_EVERY
        {
            return Ok(paused);
        }
        match self.read_on(log) {
            Err(LogError::Unavailable(reason)) => {
                tracing::warn!(reason, "the log does not answer");
                return Ok(true);
            }
            read => read?,
        }
        let found = self.latest.as_ref().filter(|pause| self.whom.minds(pause));
        if self.paused != Some(found.is_some()) {
            let source = self.whom.name.as_str();
            tell(found.map(|pause| pause.reason.as_str()));
            if let Some(Pause { reason, at, file, .. }) = found {
                tracing::error!(source, %at, file, reason, "the source is paused until `tocsin dlq resume`, or until its configuration changes");
            } else if self.paused.is_some() {
                tracing::info!(source, "the source goes on");
            }
        }
        (self.paused, self.looked) = (Some(found.is_some()), now);
        Ok(found.is_some())
    }

    /// It was paused by whoever asks: look again.
    pub fn forget(&mut self) {
        self.looked = Micros::MIN;
    }

    fn read_on(&mut self, log: &dyn Log) -> Result<(), LogError> {
        let (whom, latest) = (&self.whom, &mut self.latest);
        let at = whom.place(log)?;
        let from = log.span(&at)?.start.max(self.next);
        self.next = log.scan(&at, from, |record| {
            if record.key == whom.key {
                *latest = record.value.and_then(|value| serde_json::from_slice(value).ok());
            }
            Ok::<(), LogError>(())
        })?;
        Ok(())
    }
}

impl Whom {
    fn place(&self, log: &dyn Log) -> Result<TopicPartition, LogError> {
        let number = partition_of(&self.key, log.partitions(cursor::TOPIC)?);
        Ok(TopicPartition::new(cursor::TOPIC, number))
    }
}

/// The pause that stands for a source as it is configured now.
///
/// # Errors
/// Those of the log.
pub fn find(log: &dyn Log, whom: &Whom) -> Result<Option<Pause>, LogError> {
    let mut standing = Standing::new(whom.clone());
    standing.read_on(log)?;
    Ok(standing.latest.filter(|pause| whom.minds(pause)))
}

/// Ends the pause of a source; `None` if it was not paused.
///
/// # Errors
/// Those of the log.
pub fn resume(
    log: &dyn Log,
    whom: &Whom,
    (by, now): (&str, Micros),
) -> Result<Option<Pause>, CommitError> {
    let unknown = |error: LogError| CommitError::Fatal(error.to_string());
    let Some(pause) = find(log, whom).map_err(unknown)? else { return Ok(None) };
    let ended = Pause { resumed: Some((by.to_owned(), now)), ..pause };
    let mut work = Transaction::default();
    work.time = now;
    let topic = work.register(cursor::TOPIC, log.partitions(cursor::TOPIC).map_err(unknown)?);
    whom.write(&ended, &mut work, topic).map_err(CommitError::Fatal)?;
    let spec = WorkerSpec { id: "resume".to_owned(), ..WorkerSpec::default() };
    log.worker(&spec).map_err(unknown)?.commit(&mut work)?;
    Ok(Some(ended))
}
