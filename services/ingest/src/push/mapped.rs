//! Events that a `[[sources]]` entry maps: templates over the data of a CloudEvent and its attributes
//! (`{ce.region}`), or over plain JSON. The mapping is the very one that files go through.

use super::cloud::Envelope;
use super::json::{Fault, strict, token};
use super::settings::Pushed;
use super::take::Put;
use crate::mapping::{Mapping, Origin, RowError};
use crate::settings::SourceConfig;
use crate::source::{IngestError, Item};
use crate::sources::json_lines::write_text;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use tocsin_domain::Micros;

/// What an event is called, where its own keys are its identity.
const KEY: &str = "push.key";
/// Its time, where the mapping names none.
const TIME: &str = "push.time";

/// An entry of `[[sources]]`.
pub(super) struct Mapped {
    pub(super) config: SourceConfig,
    /// For events that have keys of their own.
    keyed: Pool,
    /// For those whose identity is what the mapping makes of them.
    plain: Pool,
}

/// Mappings that nobody uses at the moment: each is for one thread at a time.
struct Pool {
    config: SourceConfig,
    idle: Mutex<Vec<Mapping>>,
}

/// Where a mapped event comes from.
pub(super) struct Whence<'a> {
    /// What tells it from all others of the producer, if it has that.
    pub(super) key: Option<String>,
    /// Stands for its file.
    pub(super) file: &'a str,
    pub(super) origin: &'a str,
    pub(super) index: usize,
    /// When it was so, if the mapping does not say.
    pub(super) time: Micros,
    pub(super) now: Micros,
}

impl Mapped {
    /// Nothing for sources that are not of JSON.
    pub(super) fn new(config: &SourceConfig) -> Result<Option<Mapped>, String> {
        if config.rows.is_some() && config.event_type.is_some() {
            return Err("`rows` makes rows of documents, and a pushed event is one row: give the \
                        pushed events a source of their own, without `rows`"
                .into());
        }
        if config.kind != "json-lines" || config.rows.is_some() {
            return Ok(None);
        }
        let mut keyed = config.clone();
        keyed.id.get_or_insert_with(|| format!("{{{KEY}}}"));
        keyed.time.get_or_insert_with(|| format!("{{{TIME}}}"));
        Ok(Some(Mapped {
            config: config.clone(),
            keyed: Pool::new(keyed)?,
            plain: Pool::new(config.clone())?,
        }))
    }

    /// A CloudEvent of the type that this entry maps.
    pub(super) fn cloud(
        &self,
        envelope: &Envelope<'_>,
        whence: &Whence<'_>,
        put: &mut Put<'_>,
    ) -> Result<(), Fault> {
        let whole = envelope.value()?;
        let data = whole.get("data").unwrap_or(&Value::Null);
        self.map(data, Some(&whole), whence, put)
    }

    /// An object of plain JSON.
    pub(super) fn plain(
        &self,
        raw: &str,
        whence: &Whence<'_>,
        put: &mut Put<'_>,
    ) -> Result<(), Fault> {
        let data = strict(raw).map_err(|reason| Fault::of("json", reason))?;
        self.map(&data, None, whence, put)
    }

    fn map(
        &self,
        data: &Value,
        attributes: Option<&Value>,
        whence: &Whence<'_>,
        put: &mut Put<'_>,
    ) -> Result<(), Fault> {
        put.meant = Some(Pushed::from(self.config.event.unwrap_or_default()));
        let line = whence.index as u64 + 1;
        let at = Origin { file: whence.file, line, text: whence.origin, now: whence.now };
        let known = |name: &str, text: &mut String| whence.write(name, attributes, text);
        let mut refused = None;
        let mut sink = |item: Item| {
            match item {
                Item::Event(event) => {
                    return put.event(&event).map_err(|fault| {
                        refused = Some(fault);
                        IngestError::Stopped
                    });
                }
                Item::Skipped(_) => put.left_out(),
                _ => {}
            }
            Ok(())
        };
        let pool = if whence.key.is_some() { &self.keyed } else { &self.plain };
        let cloud = attributes.is_some();
        let mapped = pool.with(|mapping| {
            let mapped = mapping.object_and(data, &known, &at, &mut sink);
            mapped.map_err(|error| {
                let (fault, slot) = match error {
                    RowError::Fault(fault) => (Fault::of(fault.class, fault.reason), fault.slot),
                    RowError::Sink(error) => (Fault::of("value", error.to_string()), None),
                };
                let name = slot.and_then(|slot| mapping.names().get(slot));
                Fault { pointer: pointer(name.map(String::as_str), cloud), ..fault }
            })
        })?;
        match refused {
            Some(fault) => Err(Fault { pointer: pointer(None, cloud), ..fault }),
            None => mapped,
        }
    }
}

/// Where in the event a field is, as a JSON pointer: of several, the first.
fn pointer(name: Option<&str>, cloud: bool) -> String {
    let all = if cloud { "/data" } else { "" };
    let Some(name) = name.filter(|name| ![KEY, TIME].contains(name)) else { return all.into() };
    let name = name.split('|').next().unwrap_or_default().trim();
    let (of, path) = match name.strip_prefix("ce.").filter(|_| cloud) {
        Some(attribute) => ("", attribute),
        None => (all, name),
    };
    format!("{of}/{}", token(path).replace('.', "/"))
}

impl Whence<'_> {
    /// Writes what a template names, unless it is of the data: the key and the time of an event that
    /// has a key, and `{ce.region}`, an attribute of a CloudEvent.
    fn write(&self, name: &str, attributes: Option<&Value>, text: &mut String) -> bool {
        match (name, &self.key) {
            (KEY, Some(key)) => text.push_str(key),
            (TIME, Some(_)) => text.push_str(&self.time.to_string()),
            _ => match (attributes, name.strip_prefix("ce.")) {
                (Some(attributes), Some(name)) => {
                    write_text(attributes.get(name).unwrap_or(&Value::Null), text);
                }
                _ => return false,
            },
        }
        true
    }
}

impl Pool {
    fn new(config: SourceConfig) -> Result<Pool, String> {
        let idle = Mutex::new(vec![Mapping::compile(&config)?]);
        Ok(Pool { config, idle })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Mapping) -> T) -> Result<T, Fault> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle().pop();
        // It was compiled once, so it can be compiled again.
        let mut mapping = found
            .map_or_else(|| Mapping::compile(&self.config), Ok)
            .map_err(|reason| Fault::of("value", reason))?;
        let done = work(&mut mapping);
        idle().push(mapping);
        Ok(done)
    }
}
