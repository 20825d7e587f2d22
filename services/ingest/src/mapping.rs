//! How a row becomes events. Compiled once from a source's configuration; then pure: fields and
//! the row's place in, events or a fault out.

mod check;
mod events;
mod filter;
mod names;
mod object;

pub(crate) use check::unread;

use crate::IngestError;
use crate::moment::Moments;
use crate::number::Numbers;
use crate::rows::ROW_CAP;
use crate::settings::{DecimalMark, EventKind, OneOrMany, SourceConfig};
use crate::source::{Item, Sink};
use crate::template::{Row, Slots, Template};
use events::Values;
pub(crate) use events::key_part;
use filter::Filter;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::{Id, Micros};

/// The most bytes of a bad row that a dead letter keeps.
pub const DEAD_LETTER_CAP: usize = 256 << 10;

/// What dead letters name as their service.
const SERVICE: &str = "ingest";

/// A source's mapping, compiled.
pub struct Mapping {
    tenant: String,
    source: String,
    event: EventKind,
    slots: Slots,
    only: Vec<Filter>,
    id: Option<Template>,
    subject: Template,
    time: Option<Template>,
    texts: Texts,
    values: Values,
    numbers: Numbers,
    moments: Moments,
}

/// The texts that an event may carry along; constant and empty where nothing is said.
struct Texts {
    place: Template,
    title: Template,
    url: Template,
    seller: Template,
    search: Template,
    order: Template,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The file.
    pub file: &'a str,
    /// Its line.
    pub line: u64,
    /// Both, as `file.csv:123`.
    pub text: &'a str,
    /// When it reached us.
    pub now: Micros,
}

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `csv`, `json`, `value`, `time` or `limit`.
    pub class: &'static str,
    /// What is wrong and what is allowed.
    pub reason: String,
    /// The first field of the value that is wrong, as a place in [`Mapping::names`].
    pub slot: Option<usize>,
}

/// Why nothing more comes of a row.
#[derive(Debug)]
pub enum RowError {
    /// The row is at fault: a dead letter.
    Fault(Fault),
    /// The sink takes no more.
    Sink(IngestError),
}

impl From<Fault> for RowError {
    fn from(fault: Fault) -> RowError {
        RowError::Fault(fault)
    }
}

impl From<IngestError> for RowError {
    fn from(error: IngestError) -> RowError {
        RowError::Sink(error)
    }
}

impl Fault {
    /// A fault of `class`.
    pub fn new(class: &'static str, reason: impl Into<String>) -> Fault {
        Fault { class, reason: reason.into(), slot: None }
    }

    /// It is what `template` names.
    fn of(self, template: &Template) -> Fault {
        Fault { slot: template.slot(), ..self }
    }
}

impl Mapping {
    /// Compiles the mapping of `config`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(config: &SourceConfig) -> Result<Mapping, String> {
        let event = config.event.ok_or(
            "`event` is missing; it is one of `reading`, `listing`, `order-row`, `dataset-row`",
        )?;
        check::keys(event, config)?;
        let mut slots = Slots::default();
        let mut text = |key: &str, value: &Option<String>| {
            Template::compile(value.as_deref().unwrap_or_default(), &mut slots)
                .map_err(|e| format!("`{key}`: {e}"))
        };
        // A listing is its own subject; a data set is called as its source if nothing is said.
        let subject = match event {
            EventKind::Listing => text("listing", &config.listing)?,
            EventKind::DatasetRow if config.subject.is_none() => {
                Template::Constant(config.name.clone())
            }
            _ => text("subject", &config.subject)?,
        };
        let texts = Texts {
            place: text("place", &config.place)?,
            title: text("title", &config.title)?,
            url: text("url", &config.url)?,
            seller: text("seller", &config.seller)?,
            search: text("search", &config.search)?,
            order: text("order", &config.order)?,
        };
        let id = config.id.is_some().then(|| text("id", &config.id)).transpose()?;
        let time = config.time.is_some().then(|| text("time", &config.time)).transpose()?;
        let comma = config.decimal == Some(DecimalMark::Comma);
        let formats = config.time_format.as_ref().map(OneOrMany::all).unwrap_or_default();
        let zone = config.time_zone.as_deref().unwrap_or("UTC");
        let only = config.only.iter().map(|only| Filter::compile(only, &mut slots));
        let only = only.collect::<Result<_, String>>()?;
        let values = Values::compile(event, config, &mut slots)?;
        Ok(Mapping {
            tenant: config.tenant().to_owned(),
            source: config.name.clone(),
            event,
            only,
            id,
            subject,
            time,
            texts,
            values,
            slots,
            numbers: Numbers::new(comma, config.missing.as_deref()),
            moments: Moments::new(formats, zone)?,
        })
    }

    /// The fields that it needs, by slot.
    pub fn names(&self) -> &[String] {
        &self.slots.names
    }

    /// What its rows become.
    pub fn event(&self) -> EventKind {
        self.event
    }

    /// Hands over what `row` says. `all` are its fields with their names, for data set rows only.
    ///
    /// # Errors
    /// The row's own fault, or that of the sink.
    pub fn row(
        &mut self,
        row: &Row<'_>,
        all: Vec<(&str, &str)>,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        for filter in &self.only {
            if let Some(why) = filter.refuses(row, &self.numbers)? {
                return Ok(sink(Item::Skipped(why))?);
            }
        }
        match self.event {
            EventKind::Reading => self.readings(row, at, sink),
            EventKind::Listing => self.listing(row, at, sink),
            EventKind::OrderRow => self.order_row(row, at, sink),
            EventKind::DatasetRow => self.dataset_row(row, all, at, sink),
        }
    }

    /// The dead letter of a row that cannot be read; `bytes` are the row as it stands in the file.
    pub fn dead_letter(&self, fault: Fault, bytes: &[u8], at: &Origin<'_>) -> Box<DeadLetter> {
        let kept = &bytes[..bytes.len().min(DEAD_LETTER_CAP)];
        let cut = match bytes.len() > kept.len() {
            true => format!("; only the first {DEAD_LETTER_CAP} bytes of the row are kept"),
            false => String::new(),
        };
        let line = at.line.to_be_bytes();
        let (tenant, source) = (self.tenant.as_bytes(), self.source.as_bytes());
        // Another row on the same line of a changed file is another letter.
        let parts = [tenant, source, at.file.as_bytes(), &line, kept];
        Box::new(DeadLetter {
            id: Id::of("dead-letter", &parts),
            topic: self.event.topic().to_owned(),
            position: None,
            origin: at.text.to_owned(),
            key: format!("{}/{}", self.tenant, self.source).into_bytes(),
            value: kept.to_vec(),
            class: fault.class.to_owned(),
            reason: fault.reason + &cut,
            service: SERVICE.to_owned(),
            at: at.now,
            source: self.source.clone(),
            head: Vec::new(),
            cut: bytes.len() > kept.len() || bytes.len() >= ROW_CAP,
            search: String::new(),
        })
    }
}
