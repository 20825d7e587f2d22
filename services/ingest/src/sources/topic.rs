//! A topic that somebody else writes: its records are read by [`crate::own_topics`], as long as the
//! service runs. A file of such records can be imported, or be judged beforehand in a backtest.

use super::{csv, json_lines};
use crate::own_topics::Format;
use crate::poll::settings::Format as Kind;
use crate::settings::SourceConfig;
use crate::source::{File, IngestError, Sink, Source};

pub(super) const KIND: super::Kind = super::Kind {
    name: "topic",
    keys: &["topic", "format", "schemas", "delimiter", "columns", "encoding", "comment"],
    preset: "",
    open,
    upstream: None,
};

/// Avro values stand in no file.
struct NoFile(String);

impl Source for NoFile {
    fn read(&mut self, file: File<'_>, _: &mut Sink<'_>) -> Result<(), IngestError> {
        let reason = "the source is a topic of Avro values, and reads no files; name a source of another kind".to_owned();
        Err(IngestError::Read { name: self.0.clone(), file: file.name.to_owned(), reason })
    }
}

fn open(config: &SourceConfig) -> Result<Box<dyn Source>, String> {
    Format::of(config)?;
    match config.format {
        Some(Kind::Json) => (json_lines::KIND.open)(config),
        Some(Kind::Csv) => rows(config),
        _ => Ok(Box::new(NoFile(config.name.clone()))),
    }
}

/// The rows of values in CSV, which have no header.
pub(crate) fn rows(config: &SourceConfig) -> Result<Box<dyn Source>, String> {
    (csv::KIND.open)(&SourceConfig { header: Some(false), ..config.clone() })
}
