//! RSS and Atom: each entry becomes one object, with a text for each of its elements. What a name
//! means is for the mapping to say.

use crate::charset;
use crate::settings::Encoding;
use crate::weight::WEIGHT_CAP;
use encoding_rs::{UTF_8, WINDOWS_1252};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The largest feed, in bytes.
pub(super) const FEED_CAP: u64 = 16 << 20;
/// How deep elements may stand in each other.
const DEPTH_CAP: usize = 64;
/// What an entry takes in memory, beside its elements, in bytes.
const ENTRY: usize = 800;
/// What one of its elements takes beside its text.
const ELEMENT: usize = 256;

/// The entries of a feed: by element name, without its prefix, the first text that is not empty.
/// An element without text gives its `href` or `url`; `<category term="x"/>` gives `x`.
///
/// # Errors
/// If it is not XML, or no feed, or not text in the encoding that it declares, or in the one that is
/// `given` if it has no mark.
pub(super) fn entries(bytes: &[u8], given: Option<Encoding>) -> Result<Vec<Value>, String> {
    if bytes.len() as u64 > FEED_CAP {
        return Err(format!("the feed has more than {FEED_CAP} bytes, which is the limit"));
    }
    let text = text_of(bytes, given)?;
    let mut reader = Reader::from_str(&text);
    let (mut open, mut all) = (Open::default(), Vec::new());
    loop {
        let event = reader.read_event();
        let event = event
            .map_err(|e| format!("the feed is not XML at byte {}: {e}", reader.error_position()))?;
        match event {
            Event::Start(start) => open.begin(&start)?,
            Event::Empty(start) => {
                open.begin(&start)?;
                open.end(&mut all)?;
            }
            Event::Text(text) => {
                open.text += &text.decode().map_err(|e| format!("the feed: {e}"))?;
            }
            Event::CData(text) => {
                open.text += &text.decode().map_err(|e| format!("the feed: {e}"))?;
            }
            Event::GeneralRef(name) => open.reference(&name)?,
            Event::End(_) => open.end(&mut all)?,
            Event::Eof if open.path.is_empty() && open.is_feed => return Ok(all),
            Event::Eof if !open.is_feed => return Err("it is no RSS and no Atom feed".to_owned()),
            Event::Eof => return Err("the feed breaks off".to_owned()),
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) => {}
        }
    }
}

fn text_of(bytes: &[u8], given: Option<Encoding>) -> Result<Cow<'_, str>, String> {
    let (encoding, begin) = match (charset::of_mark(bytes), given) {
        (Some(marked), _) => marked,
        (None, Some(Encoding::Utf8)) => (UTF_8, 0),
        (None, Some(Encoding::Latin1)) => (WINDOWS_1252, 0),
        (None, None) => charset::of_xml(bytes).map_err(|e| format!("the feed: {e}"))?,
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes[begin..]);
    text.ok_or_else(|| {
        let name = encoding.name();
        format!(
            "the feed is not {name}, as it should be; if it is another encoding, it must say so"
        )
    })
}

/// The elements that are open.
#[derive(Default)]
struct Open {
    path: Vec<String>,
    /// How deep the entry stands that is open.
    entry: Option<usize>,
    fields: Map<String, Value>,
    text: String,
    is_feed: bool,
    /// What the entries take in memory.
    weight: usize,
}

impl Open {
    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), String> {
        if self.path.len() >= DEPTH_CAP {
            return Err(format!("the feed is nested more than {DEPTH_CAP} deep"));
        }
        let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
        self.is_feed |= self.path.is_empty() && matches!(name.as_str(), "rss" | "feed" | "RDF");
        self.path.push(name.clone());
        self.text.clear();
        if self.entry.is_none() && matches!(name.as_str(), "item" | "entry") {
            self.entry = Some(self.path.len());
        } else if self.entry.is_some_and(|depth| self.path.len() == depth + 1) {
            for attribute in start.attributes().flatten() {
                let key = attribute.key.local_name();
                if matches!(key.as_ref(), b"href" | b"url" | b"term") {
                    let value = attribute.unescape_value().map_err(|e| format!("the feed: {e}"))?;
                    self.field(name.clone(), &value);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, all: &mut Vec<Value>) -> Result<(), String> {
        let depth = self.path.len();
        let name = self.path.pop().unwrap_or_default();
        let text = std::mem::take(&mut self.text);
        match self.entry {
            Some(entry) if entry == depth => {
                self.entry = None;
                self.weight += ENTRY;
                all.push(Value::Object(std::mem::take(&mut self.fields)));
            }
            Some(_) => self.field(name, text.trim()),
            None => {}
        }
        match self.weight > WEIGHT_CAP {
            true => Err(format!(
                "the feed has so many entries that they take more than {} MiB in memory, the limit",
                WEIGHT_CAP >> 20
            )),
            false => Ok(()),
        }
    }

    fn field(&mut self, name: String, text: &str) {
        if !text.is_empty() {
            self.weight += ELEMENT + text.len();
            self.fields.entry(name).or_insert_with(|| Value::from(text));
        }
    }

    /// `&amp;` and its like; entities of a feed's own are not looked up anywhere.
    fn reference(&mut self, name: &quick_xml::events::BytesRef<'_>) -> Result<(), String> {
        if let Ok(Some(character)) = name.resolve_char_ref() {
            self.text.push(character);
            return Ok(());
        }
        let name = name.decode().map_err(|e| format!("the feed: {e}"))?;
        let known = quick_xml::escape::resolve_predefined_entity(&name);
        self.text += known.ok_or_else(|| format!("the feed has an entity &{name};"))?;
        Ok(())
    }
}
