//! Which log and which store stand behind the services: the one place that knows all of them.
//! Everything else knows the contracts only.

use crate::exit::{Exit, Kind};
use crate::settings::{LogSettings, Settings, StoreSettings};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tocsin_domain::Micros;
use tocsin_domain::topics::Topics;
use tocsin_store::cql::CqlStore;
use tocsin_store::{SqliteStore, Store};
use tocsin_stream::embedded::{DirectoryLock, EmbeddedLog, Options, Sync};
use tocsin_stream::kafka::KafkaLog;
use tocsin_stream::{Log, LogError};

/// Retention, compaction, merging: what a log without servers of its own needs done to it.
pub type Clean = Box<dyn Fn(Micros) -> Result<(), LogError> + Send>;

/// What services run on.
pub struct Backend {
    /// Where the facts are.
    pub log: Arc<dyn Log>,
    /// Where the rows are; `None` where nobody needs them.
    pub store: Option<Arc<dyn Store>>,
    /// To be called every minute or so.
    pub clean: Option<Clean>,
    /// Snapshots, and mails that go nowhere; `None` for none.
    pub data: Option<PathBuf>,
    /// Held as long as it runs.
    pub lock: Option<DirectoryLock>,
}

impl Backend {
    /// For every service in one process: the data directory is this process's alone.
    ///
    /// # Errors
    /// A directory that is in use, a log or a store that does not answer; exit code 4.
    pub fn whole(settings: &Settings, data: &Path) -> anyhow::Result<Backend> {
        let lock = DirectoryLock::take(data).map_err(unreachable)?;
        let (log, clean) = match &settings.log {
            LogSettings::Embedded(sync) => {
                let log = open_embedded(data, *sync)?;
                let cleaned = log.clone();
                let clean: Clean = Box::new(move |now| cleaned.clean(now).map(drop));
                (log as Arc<dyn Log>, Some(clean))
            }
            LogSettings::Kafka(_) => (log(settings, data)?, None),
        };
        let (store, data) = (Some(store(settings, data)?), Some(data.to_owned()));
        Ok(Backend { log, store, clean, data, lock: Some(lock) })
    }

    /// For one service among others: log and tables must be where the others find them.
    ///
    /// # Errors
    /// A log or store that only one process can have (exit code 3), or that does not answer (4).
    pub fn shared(
        settings: &Settings,
        data: Option<&Path>,
        tables: bool,
    ) -> anyhow::Result<Backend> {
        if let LogSettings::Embedded(_) = settings.log {
            let text = "one service a process needs a cluster log: set [log] kind = \"kafka\", or run `tocsin up`";
            return Err(Exit::error(Kind::Configuration, text));
        }
        if tables && matches!(settings.store, StoreSettings::Embedded) {
            let text = "one service a process needs tables that others can reach: set [store] kind = \"cql\", or run `tocsin up`";
            return Err(Exit::error(Kind::Configuration, text));
        }
        // Neither of the two needs the directory.
        let nowhere = Path::new("");
        let log = log(settings, nowhere)?;
        let store = if tables { Some(store(settings, nowhere)?) } else { None };
        Ok(Backend { log, store, clean: None, data: data.map(Path::to_owned), lock: None })
    }
}

/// Where snapshots of this log's states are: those of another cluster say nothing about this one.
pub fn snapshots(log: &dyn Log, data: &Path) -> PathBuf {
    data.join("snapshots").join(log.name())
}

/// The log that the settings name, with every topic. Those of a cluster must be there already: who
/// may create them, and with how many copies, is not for a service to say.
///
/// # Errors
/// If it is not the one that the configuration means (exit code 3), or cannot be opened (4).
pub fn log(settings: &Settings, data: &Path) -> anyhow::Result<Arc<dyn Log>> {
    match &settings.log {
        LogSettings::Embedded(sync) => open_log(data, *sync),
        LogSettings::Kafka(options) => {
            let log = KafkaLog::connect(options.clone()).map_err(of_log)?;
            check_topics(&*log)?;
            Ok(log)
        }
    }
}

/// The same, for commands that only make sense where something has run before.
///
/// # Errors
/// If there is no log, or it cannot be opened; exit code 4.
pub fn existing_log(settings: &Settings, data: &Path) -> anyhow::Result<Arc<dyn Log>> {
    if matches!(settings.log, LogSettings::Embedded(_)) && !data.join("log.db").is_file() {
        let text = format!(
            "there is no Tocsin data in {}; name the directory with --data",
            data.display()
        );
        return Err(Exit::error(Kind::Unreachable, text));
    }
    log(settings, data)
}

/// The tables that the settings name.
///
/// # Errors
/// If they cannot be opened; exit code 4.
pub fn store(settings: &Settings, data: &Path) -> anyhow::Result<Arc<dyn Store>> {
    match &settings.store {
        StoreSettings::Embedded => open_store(data),
        StoreSettings::Cql(options) => Ok(Arc::new(CqlStore::open(options).map_err(unreachable)?)),
    }
}

/// A hold on the data directory, if something of it is a file that only one process may work on.
///
/// # Errors
/// If another process works on it; exit code 4.
pub fn lock(settings: &Settings, data: &Path) -> anyhow::Result<Option<DirectoryLock>> {
    match (&settings.log, &settings.store) {
        (LogSettings::Kafka(_), StoreSettings::Cql(_)) => Ok(None),
        _ => DirectoryLock::take(data).map(Some).map_err(unreachable),
    }
}

/// The embedded log of a data directory, with every topic.
///
/// # Errors
/// If it cannot be opened; exit code 4.
pub fn open_log(data: &Path, sync: Sync) -> anyhow::Result<Arc<dyn Log>> {
    Ok(open_embedded(data, sync)?)
}

/// The embedded tables of a data directory.
///
/// # Errors
/// If they cannot be opened; exit code 4.
pub fn open_store(data: &Path) -> anyhow::Result<Arc<dyn Store>> {
    match SqliteStore::open(data) {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(unreachable(error)),
    }
}

fn open_embedded(data: &Path, sync: Sync) -> anyhow::Result<Arc<EmbeddedLog>> {
    let options = Options { sync, ..Options::default() };
    let log = EmbeddedLog::open(data, options).map_err(unreachable)?;
    create_topics(&*log)?;
    Ok(log)
}

fn create_topics(log: &dyn Log) -> anyhow::Result<()> {
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).map_err(unreachable)
}

fn check_topics(log: &dyn Log) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for topic in Topics::builtin().iter() {
        match log.partitions(&topic.name) {
            Ok(found) if found == topic.partitions => {}
            Ok(found) => {
                let (topic, wanted) = (topic.name.clone(), topic.partitions);
                return Err(unreachable(LogError::Partitions { topic, found, wanted }));
            }
            Err(LogError::UnknownTopic(_)) => missing.push(topic.name.as_str()),
            Err(error) => return Err(unreachable(error)),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the Kafka cluster has not these topics, or no leader for them: {}; create them with `tocsin topics apply`, with the same --config",
        missing.join(", ")
    );
    Err(unreachable(text))
}

/// An error of a log, with its exit code: 3 if the configuration must change, else 4.
pub fn of_log(error: LogError) -> anyhow::Error {
    match error {
        LogError::Refused(text) => Exit::error(Kind::Configuration, text),
        error => unreachable(error),
    }
}

fn unreachable(error: impl std::fmt::Display) -> anyhow::Error {
    Exit::error(Kind::Unreachable, error)
}
