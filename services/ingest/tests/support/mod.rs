//! What the tests of sources share: a configuration, what comes of a file, and where files are.

#![allow(dead_code, reason = "each test crate uses a part")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use tocsin_domain::Micros;
use tocsin_ingest::source::{Event, File, Item, Mark};
use tocsin_ingest::upstream::{Answer, Upstream, Verdict};
use tocsin_ingest::{SourceConfig, section, sources};
use tocsin_service::config::Document;

/// A reading, owned.
#[derive(Clone, Debug)]
pub struct Reading {
    pub subject: String,
    pub measure: String,
    pub value: f64,
    pub unit: String,
    pub averaging: String,
    pub time: Micros,
}

/// A listing, owned.
#[derive(Clone, Debug)]
pub struct Listing {
    pub listing: String,
    pub title: String,
    pub price: rust_decimal::Decimal,
    pub currency: String,
    pub seller: String,
    pub sold: Option<i64>,
    pub available: Option<i64>,
    pub time: Micros,
}

/// All that came of a file.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub rows: usize,
    pub readings: Vec<Reading>,
    pub listings: Vec<Listing>,
    pub others: usize,
    pub ids: Vec<String>,
    pub skipped: BTreeMap<String, usize>,
    pub dead: Vec<String>,
    /// The most bytes that one item took.
    pub largest: usize,
}

impl Found {
    /// How often a row or value was left out so.
    pub fn count(&self, why: &str) -> usize {
        self.skipped.get(why).copied().unwrap_or(0)
    }

    fn take(&mut self, item: &Item<'_>) {
        match item {
            Item::RowEnd(_) | Item::OpenEnd => self.rows += 1,
            Item::Skipped(why) => *self.skipped.entry(format!("{why:?}")).or_default() += 1,
            Item::DeadLetter(letter) => {
                self.largest = self.largest.max(letter.value.len() + letter.reason.len());
                self.dead.push(letter.reason.clone());
            }
            Item::Event(event) => {
                let mut bytes = Vec::new();
                event.write(&mut bytes);
                self.largest = self.largest.max(bytes.len());
                self.event(event);
            }
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Reading(r) => {
                self.ids.push(r.id.to_string());
                self.readings.push(Reading {
                    subject: r.subject.to_owned(),
                    measure: r.measure.to_owned(),
                    value: r.value,
                    unit: r.unit.to_owned(),
                    averaging: r.averaging.to_owned(),
                    time: r.event_time,
                });
            }
            Event::Listing(l) => {
                self.ids.push(l.id.to_string());
                self.listings.push(Listing {
                    listing: l.listing.to_owned(),
                    title: l.title.to_owned(),
                    price: l.price.amount,
                    currency: l.price.currency.to_string(),
                    seller: l.seller.to_owned(),
                    sold: l.units_sold,
                    available: l.units_available,
                    time: l.event_time,
                });
            }
            Event::OrderRow(row) => {
                self.ids.push(row.id.to_string());
                self.others += 1;
            }
            Event::DatasetRow(row) => {
                self.ids.push(row.id.to_string());
                self.others += 1;
            }
            Event::Swipe(swipe) => {
                self.ids.push(swipe.id.to_string());
                self.others += 1;
            }
        }
    }
}

/// The sources of a configuration.
pub fn configs(text: &str) -> Vec<SourceConfig> {
    let document = Document::parse(text, "test.toml").unwrap();
    section(&document).unwrap()
}

/// The one source that `text` says, without `name`; sub-tables are written out.
pub fn config(text: &str) -> SourceConfig {
    configs(&format!("[[sources]]\nname = \"a\"\n{text}")).remove(0)
}

/// What comes of a file, by the source that `text` says.
pub fn read(text: &str, name: &str, bytes: &[u8]) -> Result<Found, String> {
    read_with(&config(text), name, bytes)
}

/// What comes of a file, by the one source of a whole configuration that takes it.
pub fn read_by(text: &str, name: &str, bytes: &[u8]) -> Result<Found, String> {
    let sources = configs(text);
    let taker = sources.iter().find(|source| source.takes(Path::new(name))).unwrap();
    read_with(taker, name, bytes)
}

/// What comes of a file.
pub fn read_with(config: &SourceConfig, name: &str, bytes: &[u8]) -> Result<Found, String> {
    let mut source = sources::open(config).unwrap();
    let (mut found, mut content) = (Found::default(), bytes);
    let now = || Micros(1_700_000_000_000_000);
    let file = File { content: &mut content, name, from: Mark::default(), now: &now };
    let read = source.read(file, &mut |item| {
        found.take(&item);
        Ok(())
    });
    read.map(|()| found).map_err(|e| e.to_string())
}

/// What an upstream makes of answers.
pub struct Verdicts(Box<dyn Upstream>);

impl Verdicts {
    /// Those of a kind, with nothing configured.
    pub fn of(kind: &str) -> Verdicts {
        Verdicts(sources::upstream(&config(&format!("kind = \"{kind}\"\n"))).unwrap().unwrap())
    }

    fn judge(&self, search: &str, status: u16, body: &[u8]) -> Verdict {
        let call = self.0.first(search).unwrap();
        let answer = Answer { status, content_type: "application/json", retry_after: None, body };
        self.0.judge(&call, &answer)
    }

    /// The name of the verdict.
    pub fn on(&self, search: &str, status: u16, body: &[u8]) -> String {
        let verdict = format!("{:?}", self.judge(search, status, body));
        verdict.split([' ', '(']).next().unwrap_or_default().to_owned()
    }

    /// The address of the next page.
    pub fn next(&self, search: &str, body: &[u8]) -> Option<String> {
        match self.judge(search, 200, body) {
            Verdict::Read { next } => next.map(|call| call.url),
            other => panic!("{other:?}"),
        }
    }
}

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The bytes of a file, unpacked.
pub fn bytes_of(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_none_or(|ending| ending != "gz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).unwrap();
    unpacked
}

/// What an independent program found.
pub fn known(directory: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join(file)).unwrap()).unwrap()
}

/// Fails unless whoever recorded the set has said so in its description, where there is no `truth.json`:
/// numbers with commas, as there.
pub fn told(directory: &Path, words: &str) {
    let text = std::fs::read_to_string(directory.join("README.md")).unwrap();
    let at = directory.display();
    assert!(text.contains(words), "{words:?} was found, which is not what README.md in {at} says");
}

/// `41250` as `41,250`.
pub fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
