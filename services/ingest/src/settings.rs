//! `[[sources]]` in `tocsin.toml`: how rows are read and what in them stands for what.

mod preset;
mod written;

use crate::poison::Rate;
pub use crate::poll::settings::Format;
use crate::poll::settings::{Length, Search};
use crate::sources;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tocsin_domain::{DEFAULT_TENANT, Id, topics};
use tocsin_service::config::{ConfigError, Document, Secret};

/// One source. Texts under "mapping" are templates: `{column}`, text, or both.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// What it is called in events, errors and cursors.
    pub name: String,
    /// One of [`sources::KINDS`].
    pub kind: String,
    /// What its rows become; kinds that know their upstream have a default.
    pub event: Option<EventKind>,
    /// The namespace; the document's `tenant` if none is given.
    pub tenant: Option<String>,
    /// Names of the files that it reads, with `*` for any characters; for commands that are given
    /// files and no source.
    #[serde(default)]
    pub files: Vec<String>,
    /// A directory: `tocsin ingest` reads each of the `files` in it, or each file if none are named.
    pub folder: Option<PathBuf>,
    /// The share of the last rows, `"5%"`, above which the source is paused if they cannot be read.
    pub pause_above: Option<String>,

    // Of kind csv.
    /// Between fields; found in the header if none is given.
    pub delimiter: Option<char>,
    /// Whether the first row names the columns (it does if nothing is said).
    pub header: Option<bool>,
    /// The columns' names, if the file does not have them.
    pub columns: Option<Vec<String>>,
    /// `utf-8` or `latin-1`.
    pub encoding: Option<Encoding>,
    /// Lines before the header that are not looked at.
    pub skip_lines: Option<u32>,
    /// Rows that begin with it are not looked at.
    pub comment: Option<char>,
    /// The first column's name: lines before the one that begins with it are not looked at.
    pub header_begins: Option<String>,

    // Of kind json-lines.
    /// Where in one JSON object the array of rows is.
    pub items: Option<String>,
    /// The type of the CloudEvents that it maps when they are pushed.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// A jq filter that makes rows of a document.
    pub rows: Option<String>,
    /// Whether each line is a document for `rows`; the file is one if nothing is said.
    pub lines: Option<bool>,

    // Of kinds that ask an upstream.
    /// Which of its markets, in its own words: `EBAY_GB`, `MLA`, `vlc1`.
    pub marketplace: Option<String>,
    /// What else is said in the query of every call; it replaces what the kind says there.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Where its interface begins, without the path of a call; of kind http, the whole address.
    pub address: Option<String>,
    /// How many pages of an answer are asked for.
    pub pages: Option<u32>,

    // Of sources that are asked.
    /// What is asked for.
    #[serde(default)]
    pub searches: Vec<Search>,
    /// How often.
    pub every: Option<Length>,
    /// Calls a UTC day.
    pub budget: Option<u64>,
    /// Calls a minute, evenly spaced.
    pub per_minute: Option<u32>,
    /// How long an answer may take.
    pub timeout: Option<Length>,
    /// A key that stays.
    pub token: Option<Secret>,
    /// The file that it is in.
    pub token_file: Option<PathBuf>,
    /// Who asks for a token that is handed out.
    pub client_id: Option<String>,
    /// And what proves it.
    pub secret: Option<Secret>,
    /// The file that it is in.
    pub secret_file: Option<PathBuf>,
    /// Where the upstream's people find out who asks: an address of a page or of mail.
    pub contact: Option<String>,
    /// A directory where raw answers are kept.
    pub archive: Option<PathBuf>,

    // Of kinds http and topic.
    /// What an answer, or the value of a record, is.
    pub format: Option<Format>,
    /// How a call shows the token: `query NAME`, `header NAME`, `bearer` or `basic`.
    pub auth: Option<String>,
    /// Where in an answer the address of the next page is.
    pub next: Option<String>,
    /// The parameter that counts pages.
    pub page: Option<String>,
    /// The number of the first page; 1 if nothing is said.
    pub first_page: Option<u32>,
    /// Where in an answer an error is told, if it tells one although all seems well.
    pub error: Option<String>,

    // Of kind topic.
    /// The Kafka topic that somebody else writes.
    pub topic: Option<String>,
    /// Files with the schemas of values in Avro's single-object encoding.
    pub schemas: Option<Vec<PathBuf>>,

    /// The decimal mark: `.` or `,`.
    pub decimal: Option<DecimalMark>,
    /// What stands for no value.
    pub missing: Option<Vec<String>>,
    /// Which rows count; a row that fails any of these is left out.
    #[serde(default)]
    pub only: Vec<Only>,

    // The mapping.
    /// Station, place, product, seller or data set.
    pub subject: Option<String>,
    /// A name to show instead.
    pub place: Option<String>,
    /// What was measured.
    pub measure: Option<String>,
    /// The value that was measured.
    pub value: Option<String>,
    /// Its unit.
    pub unit: Option<String>,
    /// What it is an average over, as ISO 8601.
    pub averaging: Option<String>,
    /// Several measures of one row, instead of `measure` and `value`.
    #[serde(default)]
    pub values: Vec<ValueConfig>,
    /// What the upstream's words are called here.
    #[serde(default)]
    pub names: Names,
    /// The upstream's id of a listing.
    pub listing: Option<String>,
    /// What is sold.
    pub title: Option<String>,
    /// Its page.
    pub url: Option<String>,
    /// Who sells.
    pub seller: Option<String>,
    /// The search that found it.
    pub search: Option<String>,
    /// The order that a row belongs to.
    pub order: Option<String>,
    /// Of one unit.
    pub price: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// How many; 1 if nothing is said.
    pub units: Option<String>,
    /// Units sold so far.
    pub units_sold: Option<String>,
    /// Units still on offer.
    pub units_available: Option<String>,
    /// The source's own id of the row.
    pub id: Option<String>,
    /// When it was so.
    pub time: Option<String>,
    /// One or several strptime formats.
    pub time_format: Option<OneOrMany>,
    /// IANA name; UTC if nothing is said.
    pub time_zone: Option<String>,

    /// The hash of all this as it is written, its paths too: `--config` decides where they begin, and
    /// may be spelt in many ways.
    #[serde(skip)]
    pub written: Option<Id>,
}

/// What rows become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// `aqi.readings`.
    #[default]
    Reading,
    /// `market.listings`.
    Listing,
    /// `orders.rows`.
    OrderRow,
    /// `datasets.rows`.
    DatasetRow,
}

impl EventKind {
    /// The topic that the events go to.
    pub fn topic(self) -> &'static str {
        match self {
            EventKind::Reading => topics::AQI_READINGS,
            EventKind::Listing => topics::MARKET_LISTINGS,
            EventKind::OrderRow => topics::ORDERS_ROWS,
            EventKind::DatasetRow => topics::DATASETS_ROWS,
        }
    }
}

/// How bytes are text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Encoding {
    /// UTF-8; a byte-order mark is dropped.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1.
    #[serde(rename = "latin-1")]
    Latin1,
}

/// Between whole and fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum DecimalMark {
    /// `1.5`.
    #[default]
    #[serde(rename = ".")]
    Point,
    /// `1,5`.
    #[serde(rename = ",")]
    Comma,
}

/// One text or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or an array of texts")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several, tried in order.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// One of several measures in a row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueConfig {
    /// What was measured.
    pub measure: String,
    /// The value.
    pub value: String,
    /// Its unit.
    pub unit: Option<String>,
    /// What it is an average over, as ISO 8601.
    pub averaging: Option<String>,
}

/// What the upstream's words are called here; `*` is every word that is not named.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Of `measure`.
    pub measure: BTreeMap<String, String>,
    /// Of `unit`.
    pub unit: BTreeMap<String, String>,
    /// Of `averaging`.
    pub averaging: BTreeMap<String, String>,
}

/// A condition that a row must meet to count. Limits are exact decimals, as text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// What is looked at, for example `{Quantity}`.
    pub field: String,
    /// It must be more than this.
    pub above: Option<String>,
    /// It must be less than this.
    pub below: Option<String>,
    /// It must be this.
    pub equals: Option<String>,
    /// It must not be this.
    pub not_equals: Option<String>,
    /// It must have a value; a row where it has none counts as one without a value.
    #[serde(default)]
    pub given: bool,
}

impl SourceConfig {
    /// Whether one of its `files` fits the file's name.
    pub fn takes(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.files.iter().any(|pattern| fits(pattern, &name))
    }

    /// The topic of its events; that of readings if nothing is said.
    pub fn event_topic(&self) -> &'static str {
        self.event.unwrap_or_default().topic()
    }

    /// The namespace of its events.
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
    }

    /// Whether a key of one kind of source is given.
    pub(crate) fn given(&self, key: &str) -> bool {
        match key {
            "delimiter" => self.delimiter.is_some(),
            "header" => self.header.is_some(),
            "columns" => self.columns.is_some(),
            "encoding" => self.encoding.is_some(),
            "skip_lines" => self.skip_lines.is_some(),
            "comment" => self.comment.is_some(),
            "header_begins" => self.header_begins.is_some(),
            "items" => self.items.is_some(),
            "rows" => self.rows.is_some(),
            "lines" => self.lines.is_some(),
            "address" => self.address.is_some(),
            "marketplace" => self.marketplace.is_some(),
            "pages" => self.pages.is_some(),
            "parameters" => !self.parameters.is_empty(),
            "format" => self.format.is_some(),
            "auth" => self.auth.is_some(),
            "next" => self.next.is_some(),
            "page" => self.page.is_some(),
            "first_page" => self.first_page.is_some(),
            "error" => self.error.is_some(),
            "type" => self.event_type.is_some(),
            "topic" => self.topic.is_some(),
            "schemas" => self.schemas.is_some(),
            _ => false,
        }
    }
}

/// The sources of a document, each of them checked.
///
/// # Errors
/// Every fault that can be seen without a file.
pub fn section(document: &Document) -> Result<Vec<SourceConfig>, ConfigError> {
    let tenant: String = document.section("tenant")?;
    let mut found: Vec<SourceConfig> = document.list("sources")?;
    let mut errors = ConfigError::default();
    for i in 0..found.len() {
        let (before, rest) = found.split_at_mut(i);
        let Some(source) = rest.first_mut() else { continue };
        if source.tenant.is_none() && !tenant.is_empty() {
            source.tenant = Some(tenant.clone());
        }
        source.note_as_written();
        source.folder = source.folder.take().map(|folder| document.resolve(&folder));
        source.archive = source.archive.take().map(|archive| document.resolve(&archive));
        let secrets = source.read_secrets(&|path| document.resolve(path));
        let schemas = source.schemas.iter_mut().flatten();
        schemas.for_each(|schema| *schema = document.resolve(schema));
        let twice = before.iter().any(|other| other.name == source.name);
        let fault = match twice {
            true => Err("there are two sources of this name; each needs its own".to_owned()),
            false if source.name.is_empty() || source.name.contains(['/', '\n']) => {
                Err("its name must not be empty and has no slash".to_owned())
            }
            false => secrets.and_then(|()| {
                *source = sources::complete(source)?;
                sources::open(source).map(drop)?;
                Rate::of(source.pause_above.as_deref()).map(drop)?;
                source.polling().map(drop)
            }),
        };
        if let Err(message) = fault {
            let message = format!("in sources.{}: {message}", source.name);
            errors = errors.and(document.problem("sources", &source.name, message));
        }
    }
    errors.or_ok(found)
}

/// Whether `name` is `pattern` with each `*` standing for any characters.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.into_iter().any(|at| fits(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
tenant = "acme"
[[sources]]
name = "a"
kind = "csv"
event = "reading"
subject = "{s}"
measure = "m"
value = "{v}"
time = "{t}"
[[sources]]
name = "b"
kind = "csv"
event = "dataset-row"
tenant = "other"
"#;

    fn read(text: &str) -> Result<Vec<SourceConfig>, String> {
        let document = Document::parse(text, "t.toml").map_err(|e| e.to_string())?;
        section(&document).map_err(|e| e.to_string())
    }

    #[test]
    fn the_tenant_of_the_document_is_that_of_its_sources() {
        let tenants: Vec<_> = read(TWO).unwrap().iter().map(|s| s.tenant().to_owned()).collect();
        assert_eq!(tenants, ["acme", "other"]);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn every_fault_is_named_with_its_line() {
        for (from, to, wanted) in [
            ("kind = \"csv\"", "kind = \"cvs\"", "t.toml:3: in sources.a: kind `cvs` is not known"),
            ("name = \"b\"", "name = \"a\"", "in sources.a: there are two sources of this name"),
            (
                "measure",
                "mesure",
                "t.toml:8: in sources.a: unknown key `mesure`; did you mean `measure`?",
            ),
            ("\"reading\"", "\"readings\"", "unknown value `readings`; did you mean `reading`?"),
        ] {
            let error = read(&TWO.replace(from, to)).unwrap_err();
            assert!(error.contains(wanted), "{wanted} is not in {error}");
        }
        let both = TWO.replace("kind = \"csv\"", "kind = \"cvs\"");
        assert_eq!(read(&both).unwrap_err().lines().count(), 2);
    }
}
