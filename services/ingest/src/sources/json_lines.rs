//! JSON: an object a line, one array, or one object with an array inside (`items`), as marketplace
//! APIs answer. What is none of these, a jq filter makes rows of (`rows`). Fields are named by paths:
//! `price.value`, `images.0.url`.

use super::Kind;
use crate::jq::Jq;
use crate::mapping::{Fault, Mapping, Origin, RowError};
use crate::rows::{Found, ROW_CAP, Rows};
use crate::settings::SourceConfig;
use crate::source::{Again, File, IngestError, Item, Mark, Sink, Skipped, Source};
use crate::weight;
use serde_json::Value;
use std::io::Read;
use tocsin_domain::event::DatasetRowKind;

pub(super) const KIND: Kind = Kind {
    name: "json-lines",
    keys: &["items", "rows", "lines", "type"],
    preset: "",
    open,
    upstream: None,
};

/// The largest file that is one JSON value; lines may go on for ever.
const DOCUMENT_CAP: u64 = 64 << 20;

struct JsonLines {
    name: String,
    items: Option<String>,
    rows: Option<Jq>,
    lines: bool,
    mapping: Mapping,
}

/// A source of JSON; for every kind whose upstream answers with it.
pub(super) fn open(config: &SourceConfig) -> Result<Box<dyn Source>, String> {
    if config.items.is_some() && config.rows.is_some() {
        return Err("give either `items` or `rows`, not both".into());
    }
    let lines = config.lines.unwrap_or(false);
    if lines && config.rows.is_none() {
        return Err("`lines` says what `rows` works on; without `rows` it means nothing".into());
    }
    let rows = config.rows.as_deref().map(Jq::compile).transpose();
    Ok(Box::new(JsonLines {
        name: config.name.clone(),
        items: config.items.clone(),
        rows: rows.map_err(|e| format!("`rows`: {e}"))?,
        lines,
        mapping: Mapping::compile(config)?,
    }))
}

impl Source for JsonLines {
    fn read(&mut self, file: File<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        let begin = Origin { file: file.name, line: 0, text: file.name, now: (file.now)() };
        let first = file.content.fill_buf();
        let first = first.map_err(|e| self.refuse(file.name, e.to_string()))?;
        let array = first.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if file.from == Mark::default() {
            self.mapping.border(DatasetRowKind::Opened, &begin, sink)?;
        }
        let (name, now) = (file.name, file.now);
        let whole = array || self.items.is_some() || self.rows.is_some();
        if whole && !self.lines {
            self.read_document(file, sink)?;
        } else {
            self.read_lines(file, sink)?;
        }
        let end = Origin { file: name, line: 0, text: name, now: now() };
        self.mapping.border(DatasetRowKind::Closed, &end, sink)
    }

    fn reread(&mut self, again: Again<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        // A row of a document is one already; a line may be a document that `rows` makes rows of.
        match again.at.text.ends_with(&format!("#{}", again.at.line)) {
            true => self.object(again.bytes, &again.at, sink),
            false => self.line(again.bytes, &again.at, sink),
        }
    }
}

impl JsonLines {
    fn read_lines(&mut self, file: File<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        let mut rows = Rows::new(file.content);
        rows.skip_to(file.from.lines, file.from.bytes)
            .map_err(|e| self.refuse(file.name, format!("cannot go on in it: {e}")))?;
        let mut done = file.from.rows;
        loop {
            let found = rows.next(None).map_err(|e| {
                self.refuse(file.name, format!("after line {}: {e}", rows.position().0))
            })?;
            let text = format!("{}:{}", file.name, rows.line());
            let at = Origin { file: file.name, line: rows.line(), text: &text, now: (file.now)() };
            match found {
                Found::End => return Ok(()),
                Found::TooLong => {
                    let reason = format!("the row is longer than {ROW_CAP} bytes, the limit");
                    self.bury(Fault::new("limit", reason), rows.row(), &at, sink)?;
                }
                Found::Row | Found::OpenQuote if rows.row().trim_ascii().is_empty() => {
                    sink(Item::Skipped(Skipped::Blank))?;
                }
                Found::Row | Found::OpenQuote => self.line(rows.row(), &at, sink)?,
            }
            done += 1;
            sink(rows.end(done))?;
        }
    }

    /// One row, or a document that `rows` makes rows of.
    fn line(
        &mut self,
        bytes: &[u8],
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), IngestError> {
        let Some(filter) = &self.rows else { return self.object(bytes, at, sink) };
        let rows = match filter.rows(bytes, at.file) {
            Ok(rows) => rows,
            Err(reason) => {
                let fault = Fault::new("json", format!("the line: {reason}"));
                return self.bury(fault, bytes, at, sink);
            }
        };
        for (i, row) in rows.iter().enumerate() {
            // Where a row stands is part of its id: the line stands for the file.
            let line = i as u64 + 1;
            let text = format!("{}#{line}", at.text);
            let inner = Origin { file: at.text, line, text: &text, now: at.now };
            self.row(row, row.to_string().as_bytes(), &inner, sink)?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        bytes: &[u8],
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), IngestError> {
        match serde_json::from_slice(bytes) {
            Ok(value) => self.row(&value, bytes, at, sink),
            Err(e) => {
                let fault = Fault::new("json", format!("the line is not JSON: {e}"));
                self.bury(fault, bytes, at, sink)
            }
        }
    }

    fn read_document(&mut self, file: File<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        let mut bytes = Vec::new();
        let read = Read::take(&mut *file.content, DOCUMENT_CAP + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.refuse(file.name, e.to_string()))?;
        if bytes.len() as u64 > DOCUMENT_CAP {
            let reason = format!(
                "it is one JSON value of more than {DOCUMENT_CAP} bytes; \
                write one object a line instead"
            );
            return Err(self.refuse(file.name, reason));
        }
        let items = self.items_of(&bytes, file.name)?;
        for (i, item) in items.iter().enumerate().skip(file.from.rows as usize) {
            let number = i as u64 + 1;
            let text = format!("{}#{number}", file.name);
            let at = Origin { file: file.name, line: number, text: &text, now: (file.now)() };
            self.row(item, item.to_string().as_bytes(), &at, sink)?;
            sink(Item::RowEnd(Mark { rows: number, lines: 0, bytes: bytes.len() as u64 }))?;
        }
        Ok(())
    }

    /// The rows of a whole document.
    fn items_of(&self, bytes: &[u8], file: &str) -> Result<Vec<Value>, IngestError> {
        let bare = without_callback(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes));
        if let Some(filter) = &self.rows {
            return filter.rows(bare, file).map_err(|e| self.refuse(file, e));
        }
        let mut value = weight::parse(bare).map_err(|e| self.refuse(file, e))?;
        let path = self.items.as_deref().unwrap_or_default();
        let items = if value.is_array() { Some(&mut value) } else { at_path_mut(&mut value, path) };
        if let Some(Value::Array(items)) = items {
            return Ok(std::mem::take(items));
        }
        let keys = value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join("`, `"));
        let keys = keys.unwrap_or_default();
        Err(self.refuse(file, format!("it has no array at `{path}`; its keys are `{keys}`")))
    }

    fn row(
        &mut self,
        value: &Value,
        bytes: &[u8],
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), IngestError> {
        match self.mapping.object(value, at, sink) {
            Ok(()) => Ok(()),
            Err(RowError::Sink(error)) => Err(error),
            Err(RowError::Fault(fault)) => self.bury(fault, bytes, at, sink),
        }
    }

    fn bury(
        &self,
        fault: Fault,
        bytes: &[u8],
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), IngestError> {
        sink(Item::DeadLetter(self.mapping.dead_letter(fault, bytes, at)))
    }

    fn refuse(&self, file: &str, reason: String) -> IngestError {
        IngestError::Read { name: self.name.clone(), file: file.to_owned(), reason }
    }
}

/// The value at `a.0.b`; a key that has dots itself is found as it is.
pub(crate) fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    path.split('.').try_fold(value, |inner, part| match inner {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => inner.get(part),
    })
}

fn at_path_mut<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    if value.get(path).is_some() {
        return value.get_mut(path);
    }
    path.split('.').try_fold(value, |inner, part| match inner {
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => inner.get_mut(part),
    })
}

/// What is in `callback( … );`, as answers for scripts are wrapped (JSONP); or all of it.
fn without_callback(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii();
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    let length = bytes.iter().take_while(|byte| name(byte)).count();
    let inner = bytes[length..].trim_ascii_start().strip_prefix(b"(").filter(|_| length > 0);
    let inner = inner.map(|inner| inner.strip_suffix(b";").unwrap_or(inner).trim_ascii_end());
    inner.and_then(|inner| inner.strip_suffix(b")")).unwrap_or(bytes)
}

/// A scalar as it is printed; null as nothing; anything else as JSON.
pub(crate) fn write_text(value: &Value, out: &mut String) {
    match value {
        Value::Null => {}
        Value::String(text) => out.push_str(text),
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::sources::testing::collect;

    const SOURCE: &str = r#"
        name = "shop"
        kind = "json-lines"
        event = "listing"
        listing = "{id}"
        title = "{title}"
        price = "{price.value}"
        currency = "{price.currency}"
        units_sold = "{sold}"
        seller = "{sellers.0.name}"
        time = "{at}"
    "#;

    const ITEM: &str = concat!(
        r#"{"id":"v1","title":"T","price":{"value":"0.75","currency":"USD"},"sold":null,"#,
        r#""sellers":[{"name":"s"}],"at":"2023-03-07T12:04:38.000Z"}"#
    );

    #[test]
    fn lines_arrays_and_answers_give_the_same_listings() {
        let wanted = "listing default/v1 0.75 USD None s 2023-03-07T12:04:38Z";
        let items = "items = \"found.all\"\n";
        for (extra, text, origin) in [
            ("", format!("{ITEM}\n\n"), "a.json:1"),
            ("", format!(" [{ITEM}]"), "a.json#1"),
            (items, format!("{{\"found\":{{\"all\":[{ITEM}]}}}}"), "a.json#1"),
        ] {
            let found = collect(&format!("{extra}{SOURCE}"), "a.json", text.as_bytes()).unwrap();
            assert_eq!(found[0], format!("{wanted} {origin}"), "{text}");
        }
    }

    #[test]
    fn bad_rows_are_dead_letters_and_bad_documents_are_refused() {
        let text = format!("{{\n3\n{}\n{ITEM}", ITEM.replace("0.75", "0.12345678"));
        let found = collect(SOURCE, "a.json", text.as_bytes()).unwrap();
        assert!(found[0].starts_with("dead json a.json:1 the line is not JSON"), "{found:?}");
        assert!(
            found[1].starts_with("dead json a.json:2 what is mapped must be an object"),
            "{found:?}"
        );
        assert!(found[2].starts_with("dead value a.json:3 price \"0.12345678\""), "{found:?}");
        assert!(found[3].starts_with("listing default/v1"), "{found:?}");

        let with_items = format!("items = \"results\"\n{SOURCE}");
        let error = collect(&with_items, "a.json", b"{\"total\":0}").unwrap_err().to_string();
        assert!(error.contains("no array at `results`; its keys are `total`"), "{error}");
    }
}
