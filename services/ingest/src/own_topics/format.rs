//! What a record's value says: Avro and JSON are one row, CSV is one or several. Pure: schemas that
//! are not known are asked for by their id.

use super::topic;
use crate::mapping::{Mapping, Origin, RowError};
use crate::poll::settings::Format as Kind;
use crate::settings::SourceConfig;
use crate::source::{Again, Event, File, IngestError, Item, Mark, Sink, Source};
use crate::sources;
use serde_json::Value;
use tocsin_domain::event::{DatasetRow, DatasetRowKind};
use tocsin_domain::wire::WireError;
use tocsin_domain::wire::foreign::Foreigners;
use tocsin_stream::Poison;

/// The longest value that is read as JSON or CSV, in bytes; Avro has its own limit.
const MAX_VALUE: usize = 1 << 20;

/// How the values of a source's topic are read.
pub struct Format(Reads);

enum Reads {
    Avro(Box<Mapping>, Foreigners),
    Json(Box<Mapping>),
    Csv(Box<dyn Source>),
}

impl Format {
    /// As `config` says, its schema files read.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn of(config: &SourceConfig) -> Result<Format, String> {
        topic(config)?;
        let format = config.format.ok_or("`format` is missing; allowed: `avro`, `json`, `csv`")?;
        let only = |wanted: Kind, keys: &[&str]| match keys
            .iter()
            .find(|key| format != wanted && config.given(key))
        {
            Some(key) => Err(format!("`{key}` means nothing for values of this format")),
            None => Ok(()),
        };
        only(Kind::Avro, &["schemas"])?;
        only(Kind::Csv, &["delimiter", "columns", "encoding", "comment"])?;
        let mapping = || Mapping::compile(config).map(Box::new);
        let columns = config.columns.as_deref().unwrap_or_default();
        Ok(Format(match format {
            Kind::Avro => Reads::Avro(mapping()?, schemas(config)?),
            Kind::Json => Reads::Json(mapping()?),
            Kind::Rss => return Err("`format` must be `avro`, `json` or `csv`".to_owned()),
            Kind::Csv if columns.is_empty() => {
                return Err("`columns` is missing: it names the columns of the values".to_owned());
            }
            Kind::Csv => {
                let compiled = mapping()?;
                if let Some(name) = compiled.names().iter().find(|name| !columns.contains(name)) {
                    let columns = columns.join("`, `");
                    return Err(format!(
                        "the mapping names a column `{name}`; `columns` are `{columns}`"
                    ));
                }
                Reads::Csv(sources::topic::rows(config)?)
            }
        }))
    }

    /// Gives every item of `value` to `sink`. A row that is at fault is a dead letter among them.
    ///
    /// # Errors
    /// If the value as a whole says nothing that can be read; `sink` has been given nothing then.
    pub(super) fn read(
        &mut self,
        value: &[u8],
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Poison> {
        match &mut self.0 {
            Reads::Avro(mapping, schemas) => object(mapping, &schemas.read(value)?, at, sink),
            Reads::Json(mapping) => {
                check_length(value)?;
                let bare = value.strip_prefix("\u{feff}".as_bytes()).unwrap_or(value);
                let object_of: Value = serde_json::from_slice(bare).map_err(|error| {
                    Poison::new("json", format!("the value is not JSON: {error}"))
                })?;
                object(mapping, &object_of, at, sink)
            }
            Reads::Csv(rows) => {
                check_length(value)?;
                let (mut content, now) = (value, at.now);
                let from = Mark::default();
                let file = File { content: &mut content, name: at.text, from, now: &|| now };
                rows.read(file, &mut |item| match item {
                    // A record is no file: nothing begins or ends with it.
                    Item::Event(Event::DatasetRow(DatasetRow { kind, .. }))
                        if kind != DatasetRowKind::Row =>
                    {
                        Ok(())
                    }
                    item => sink(item),
                })
                .map_err(|error| Poison::new("csv", error.to_string()))
            }
        }
    }

    /// The same of one row of a value that has several.
    ///
    /// # Errors
    /// If values have no rows any more, or this cannot be one.
    pub(super) fn row(&mut self, row: Again<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        match &mut self.0 {
            Reads::Csv(rows) => rows.reread(row, sink),
            Reads::Avro(..) | Reads::Json(_) => {
                let (name, file) = (String::new(), row.at.text.to_owned());
                let reason = "it is a row of CSV, and `format` of the source says otherwise now";
                Err(IngestError::Read { name, file, reason: reason.to_owned() })
            }
        }
    }

    /// A registry's id names this schema.
    pub(super) fn learn(&mut self, id: u32, schema: &str) -> Result<(), WireError> {
        match &mut self.0 {
            Reads::Avro(_, schemas) => schemas.learn(id, schema),
            _ => Ok(()),
        }
    }
}

fn object(
    mapping: &mut Mapping,
    object: &Value,
    at: &Origin<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Poison> {
    let read = match mapping.object(object, at, sink) {
        // The record has the bytes.
        Err(RowError::Fault(fault)) => sink(Item::DeadLetter(mapping.dead_letter(fault, &[], at))),
        Err(RowError::Sink(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    read.map_err(|error: IngestError| Poison::new("value", error.to_string()))
}

fn check_length(value: &[u8]) -> Result<(), Poison> {
    match value.len() > MAX_VALUE {
        true => {
            let reason = format!("the value has {} bytes; allowed: {MAX_VALUE}", value.len());
            Err(Poison::new("limit", reason))
        }
        false => Ok(()),
    }
}

/// The schemas of the files that the source names.
fn schemas(config: &SourceConfig) -> Result<Foreigners, String> {
    let mut known = Foreigners::default();
    for path in config.schemas.iter().flatten() {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("`schemas`: cannot read {shown}: {error}"))?;
        known.add(&text).map_err(|error| format!("`schemas`: {shown}: {}", error.reason))?;
    }
    Ok(known)
}
