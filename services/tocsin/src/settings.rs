//! `tocsin.toml`, whole: each section is read by the crate it belongs to, and everything that is
//! wrong is said at once.

mod log;
mod schema;
mod store;

pub use log::LogSettings;
pub use schema::{RegistryOptions, registry_url};
pub use store::StoreSettings;

use crate::exit::{Exit, Kind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;
use tocsin_domain::condition::Condition;
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::topics::Topics;
use tocsin_domain::watch::Watch;
use tocsin_domain::wire::SchemaIds;
use tocsin_domain::{DEFAULT_TENANT, Micros};
use tocsin_ingest::SourceConfig;
use tocsin_ingest::datasets::DatasetConfig;
use tocsin_ingest::poll::asks;
use tocsin_ingest::push::{self, PushSettings};
use tocsin_notify::channels::ChannelsSection;
use tocsin_notify::watches::{WatchEntry, watch_facts};
use tocsin_service::config::{ConfigError, Document, duration};
use tocsin_stream::embedded::Sync;

/// The sections that there are.
const SECTIONS: [&str; 12] = [
    "tenant",
    "log",
    "store",
    "schema",
    "topics",
    "channels",
    "sources",
    "datasets",
    "push",
    "producers",
    "detectors",
    "watches",
];

/// What `tocsin.toml` says, checked.
#[derive(Debug)]
pub struct Settings {
    /// The namespace.
    pub tenant: String,
    /// Which log stands behind the services.
    pub log: LogSettings,
    /// Whether a process keeps copies of the state that others of its service have.
    pub standby: bool,
    /// Where the tables are.
    pub store: StoreSettings,
    /// How long each topic waits for events that come late.
    pub lateness: BTreeMap<String, Duration>,
    /// Schemas by the ids of a registry.
    pub schema_ids: SchemaIds,
    /// The registry, if one is named.
    pub registry: Option<RegistryOptions>,
    /// How messages leave.
    pub channels: ChannelsSection,
    /// Where events come from.
    pub sources: Vec<SourceConfig>,
    /// Sets of files that are uploaded together.
    pub datasets: Vec<DatasetConfig>,
    /// Who may push events, and where.
    pub push: PushSettings,
    /// What is detected.
    pub conditions: Vec<Condition>,
    /// Who wants to know.
    pub watches: Vec<(Subscriber, Watch)>,
}

/// Addresses: one text with commas between them, or an array of texts.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected addresses: a text with commas, or an array of texts")]
enum Addresses {
    Text(String),
    List(Vec<String>),
}

impl Addresses {
    fn all(&self) -> Vec<String> {
        let parts: Vec<&str> = match self {
            Addresses::Text(text) => text.split(',').collect(),
            Addresses::List(list) => list.iter().map(String::as_str).collect(),
        };
        parts
            .into_iter()
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicSection {
    #[serde(deserialize_with = "duration::deserialize")]
    allowed_lateness: Duration,
}

impl Settings {
    /// Reads the file, the environment over it.
    ///
    /// # Errors
    /// Everything that is wrong with it; exit code 3.
    pub fn load(path: &Path, now: Micros) -> anyhow::Result<Settings> {
        let read = Document::load(Some(path), std::env::vars());
        read.and_then(|document| Settings::of(&document, now))
            .map_err(|error| Exit::error(Kind::Configuration, error))
    }

    /// Reads the file if one is named; without one, log and tables are in the data directory.
    ///
    /// # Errors
    /// Everything that is wrong with it; exit code 3.
    pub fn if_any(path: Option<&Path>, now: Micros) -> anyhow::Result<Settings> {
        match path {
            Some(path) => Settings::load(path, now),
            None => Settings::parse("", "no configuration file", now),
        }
    }

    /// Reads a text that is part of the program.
    ///
    /// # Errors
    /// Everything that is wrong with it; exit code 3.
    pub fn parse(text: &str, name: &str, now: Micros) -> anyhow::Result<Settings> {
        let read = Document::parse(text, name);
        read.and_then(|document| Settings::of(&document, now))
            .map_err(|error| Exit::error(Kind::Configuration, error))
    }

    fn of(document: &Document, now: Micros) -> Result<Settings, ConfigError> {
        let mut errors = Errors::default();
        errors.of(document.finish(&SECTIONS));
        let tenant: String = errors.of(document.section("tenant")).unwrap_or_default();
        let tenant = if tenant.is_empty() { DEFAULT_TENANT.to_owned() } else { tenant };
        let log = errors.of(log::read(document)).unwrap_or(LogSettings::Embedded(Sync::Full));
        let store = errors.of(store::read(document)).unwrap_or(StoreSettings::Embedded);
        let (schema_ids, registry) = errors.of(schema::read(document)).unwrap_or_default();
        let conditions = errors.of(conditions(document, &tenant));
        let sources = errors.of(tocsin_ingest::section(document));
        // Without its detectors and sources, every watch would seem wrong.
        let known = conditions.as_ref().zip(sources.as_ref());
        let watches = known.map(|known| watches(document, &tenant, known, now));
        let watches = watches.and_then(|watches| errors.of(watches)).unwrap_or_default();
        let conditions = conditions.unwrap_or_default();
        let settings = Settings {
            log,
            // What is wrong with the section was said already.
            standby: log::standby(document).unwrap_or_default(),
            store,
            lateness: errors.of(lateness(document)).unwrap_or_default(),
            schema_ids,
            registry,
            channels: errors.of(document.section("channels")).unwrap_or_default(),
            sources: sources.unwrap_or_default(),
            datasets: errors.of(tocsin_ingest::datasets::section(document)).unwrap_or_default(),
            push: errors.of(push::section(document)).unwrap_or_default(),
            tenant,
            conditions,
            watches,
        };
        errors.0.or_ok(settings)
    }

    /// The source of that name.
    ///
    /// # Errors
    /// If there is none; says which there are; exit code 3.
    pub fn source(&self, name: &str) -> anyhow::Result<&SourceConfig> {
        self.sources.iter().find(|source| source.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
            let text = format!("there is no source {name:?}; configured are: {}", names.join(", "));
            Exit::error(Kind::Configuration, text)
        })
    }
}

impl Settings {
    /// The data set of that name.
    ///
    /// # Errors
    /// If there is none; says which there are; exit code 3.
    pub fn dataset(&self, name: &str) -> anyhow::Result<&DatasetConfig> {
        self.datasets.iter().find(|set| set.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.datasets.iter().map(|set| set.name.as_str()).collect();
            let text =
                format!("there is no data set {name:?}; configured are: {}", names.join(", "));
            Exit::error(Kind::Configuration, text)
        })
    }
}

/// The word by `kind` of a section, which says what other keys it has.
fn kind<K: DeserializeOwned + Default>(
    document: &Document,
    section: &str,
) -> Result<K, ConfigError> {
    #[derive(Default, Deserialize)]
    struct Section<K> {
        kind: Option<K>,
    }
    Ok(document.section::<Section<K>>(section)?.kind.unwrap_or_default())
}

/// What a section says, unless something is wrong with it.
fn unless<T>(
    problems: impl IntoIterator<Item = impl Display>,
    document: &Document,
    section: &str,
    value: T,
) -> Result<T, ConfigError> {
    let problem = |text| document.problem(section, "", format!("in {section}: {text}"));
    let errors = problems.into_iter().map(problem);
    errors.fold(ConfigError::default(), ConfigError::and).or_ok(value)
}

/// Collects what is wrong, so that all of it is said at once.
#[derive(Default)]
struct Errors(ConfigError);

impl Errors {
    fn of<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        result.map_err(|error| self.0 = std::mem::take(&mut self.0).and(error)).ok()
    }
}

fn conditions(document: &Document, tenant: &str) -> Result<Vec<Condition>, ConfigError> {
    let entries: Vec<serde_json::Value> = document.list("detectors")?;
    tocsin_detect::section(tenant, &entries).map_err(|problems| {
        let problem =
            |p: tocsin_detect::Problem| document.problem("detectors", &p.detector, with_hint(&p));
        problems.into_iter().map(problem).fold(ConfigError::default(), ConfigError::and)
    })
}

/// The problem, with a suggestion where a key is not known.
fn with_hint(problem: &tocsin_detect::Problem) -> String {
    let mut problem = problem.clone();
    problem.reason = tocsin_service::config::with_hint(&problem.reason);
    problem.to_string()
}

fn watches(
    document: &Document,
    tenant: &str,
    (conditions, sources): (&Vec<Condition>, &Vec<SourceConfig>),
    now: Micros,
) -> Result<Vec<(Subscriber, Watch)>, ConfigError> {
    let (mut facts, mut errors) = (Vec::new(), Errors::default());
    for entry in document.list::<WatchEntry>("watches")? {
        let fault =
            |fault: String| ConfigError::new(&format!("[[watches]] of {:?}", entry.email), fault);
        let said = watch_facts(tenant, &entry, conditions, now)
            .and_then(|said| asks::check(sources, &said.1).map(|()| said).map_err(fault));
        facts.extend(errors.of(said));
    }
    errors.0.or_ok(facts)
}

fn lateness(document: &Document) -> Result<BTreeMap<String, Duration>, ConfigError> {
    let mut all: BTreeMap<String, Duration> =
        Topics::builtin().iter().map(|t| (t.name.clone(), t.allowed_lateness)).collect();
    for (topic, section) in document.section::<BTreeMap<String, TopicSection>>("topics")? {
        if all.insert(topic.clone(), section.allowed_lateness).is_none() {
            let names: Vec<&str> = Topics::builtin().iter().map(|t| t.name.as_str()).collect();
            let text = format!("there is no topic {topic:?}; allowed: {}", names.join(", "));
            return Err(document.problem("topics", &topic, text));
        }
    }
    Ok(all)
}
