//! Anything that answers over HTTP with JSON, CSV or a feed, read by a declared mapping, for
//! upstreams that have no kind of their own. Knows how to ask and what an answer means in general;
//! rows are read by the kinds for files.

mod feed;

use super::json_lines::at_path;
use super::{Kind, csv, json_lines};
use crate::calls::no_credentials;
use crate::charset;
use crate::poll::settings::Format;
use crate::settings::{Encoding, SourceConfig};
use crate::source::{Again, File, IngestError, Sink, Source};
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};
use crate::weight;
use serde_json::Value;
use std::borrow::Cow;
use std::io::Read;

pub(super) const KIND: Kind = Kind {
    name: "http",
    keys: &[
        "address",
        "format",
        "auth",
        "next",
        "page",
        "first_page",
        "pages",
        "error",
        "items",
        "rows",
        "lines",
        "header_begins",
        "delimiter",
        "header",
        "columns",
        "encoding",
        "skip_lines",
        "comment",
    ],
    preset: "",
    open,
    upstream: Some(upstream),
};

fn open(config: &SourceConfig) -> Result<Box<dyn Source>, String> {
    match config.format.unwrap_or_default() {
        Format::Csv => csv::open(config),
        Format::Json => json_lines::open(config),
        Format::Avro => Err("`format` must be `json`, `csv` or `rss`".to_owned()),
        Format::Rss => {
            let name = config.name.clone();
            let encoding = config.encoding;
            Ok(Box::new(Feed { name, encoding, rows: json_lines::open(config)? }))
        }
    }
}

/// A feed, read as the array of its entries.
struct Feed {
    name: String,
    encoding: Option<Encoding>,
    rows: Box<dyn Source>,
}

impl Source for Feed {
    fn read(&mut self, file: File<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        let mut bytes = Vec::new();
        let read = file.content.take(feed::FEED_CAP + 1).read_to_end(&mut bytes);
        let entries = read.map_err(|e| e.to_string());
        let entries = entries.and_then(|_| feed::entries(&bytes, self.encoding));
        let entries = entries.map_err(|reason| IngestError::Read {
            name: self.name.clone(),
            file: file.name.to_owned(),
            reason,
        })?;
        let rows = Value::from(entries).to_string();
        self.rows.read(File { content: &mut rows.as_bytes(), ..file }, sink)
    }

    fn reread(&mut self, entry: Again<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        self.rows.reread(entry, sink)
    }
}

/// How it is asked.
struct Http {
    address: String,
    format: Format,
    /// What the configuration says of it, whatever an answer says.
    encoding: Option<Encoding>,
    auth: Auth,
    next: Option<String>,
    page: Option<String>,
    first_page: u32,
    error: Option<String>,
}

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    let address = config.address.clone().ok_or(
        "`address` is missing: where to ask, for example \"https://example.org/items?q={search}\"",
    )?;
    no_credentials(&address)?;
    let begins = address.starts_with("http://") || address.starts_with("https://");
    if !begins || address.replacen("{search}", "", 1).contains(['{', '}']) {
        let text = "must begin with http:// or https:// and may have {search} in it, once";
        return Err(format!("`address` is {address:?}; it {text}"));
    }
    if config.next.is_some() && config.page.is_some() {
        return Err("`next` and `page` are two ways to turn pages; leave out one".to_owned());
    }
    let format = config.format.unwrap_or_default();
    if format != Format::Json && (config.next.is_some() || config.error.is_some()) {
        return Err("`next` and `error` are places in JSON; leave them out".to_owned());
    }
    let (next, page, error) = (config.next.clone(), config.page.clone(), config.error.clone());
    let first_page = config.first_page.unwrap_or(1);
    let (auth, encoding) = (auth(config)?, config.encoding);
    Ok(Box::new(Http { address, format, encoding, auth, next, page, first_page, error }))
}

fn auth(config: &SourceConfig) -> Result<Auth, String> {
    let text = match (&config.auth, &config.token) {
        (Some(text), _) => text.as_str(),
        (None, Some(_)) => "bearer",
        (None, None) => return Ok(Auth::None),
    };
    // Names are part of the configuration, which lasts as long as the process.
    let name = |name: &str| &*String::leak(name.trim().to_owned());
    match text.split_once(' ') {
        None if text == "bearer" => Ok(Auth::Bearer),
        None if text == "basic" => Ok(Auth::Basic),
        Some(("query", rest)) => Ok(Auth::Query(name(rest))),
        Some(("header", rest)) => Ok(Auth::Header(name(rest))),
        _ => Err(format!(
            "`auth` is {text:?}; allowed: \"query NAME\", \"header NAME\", \"bearer\", \"basic\""
        )),
    }
}

impl Upstream for Http {
    fn first(&self, search: &str) -> Result<Call, String> {
        let has = self.address.contains("{search}");
        if has && search.is_empty() {
            return Err("there is {search} in `address`, and nothing to search for".to_owned());
        }
        if !has && !search.is_empty() {
            return Err("there is no {search} in `address`".to_owned());
        }
        let mut url = self.address.replacen("{search}", &encode(search), 1);
        if let Some(page) = &self.page {
            url = with_page(&url, page, self.first_page);
        }
        Ok(Call { url, auth: self.auth, ..Call::default() })
    }

    fn judge(&self, call: &Call, answer: &Answer<'_>) -> Verdict {
        if let Some(verdict) = by_status(answer) {
            return verdict;
        }
        let begin = answer.body.trim_ascii_start();
        let is_page = begin.get(..5).is_some_and(|five| five.eq_ignore_ascii_case(b"<html"))
            || begin.get(..9).is_some_and(|nine| nine.eq_ignore_ascii_case(b"<!doctype"));
        if is_page {
            return Verdict::Broken("a page for people came back, not data".to_owned());
        }
        // Objects a line are judged by the source, line by line.
        let whole = self.next.is_some() || self.error.is_some();
        let value: Value = match whole.then(|| weight::parse(answer.body)) {
            Some(Ok(value)) => value,
            Some(Err(e)) => return Verdict::Broken(format!("the answer cannot be read: {e}")),
            None => Value::Null,
        };
        let said = self.error.as_ref().and_then(|path| at_path(&value, path));
        if let Some(error) = said.filter(|said| !is_empty(said)) {
            return Verdict::Later { after: None, reason: format!("it says: {error}") };
        }
        Verdict::Read { next: self.next(call, &value).map(Box::new) }
    }

    /// Whether something is on a page, who reads it finds out: in every format, and whatever `items` and
    /// `rows` say.
    fn counts_pages(&self) -> bool {
        self.page.is_some()
    }

    fn content<'a>(&self, answer: &Answer<'a>) -> Cow<'a, [u8]> {
        // JSON is UTF-8, whatever its head says.
        if self.format == Format::Json || self.encoding.is_some() {
            return Cow::Borrowed(answer.body);
        }
        let marked = || charset::of_mark(answer.body).map(|(encoding, _)| encoding);
        match charset::of_type(answer.content_type).or_else(marked) {
            // What it says is not so: then perhaps the feed itself says it, and rows are judged singly.
            Some(encoding) if encoding.name() != "UTF-8" || is_text(answer.body) => {
                Cow::Owned(charset::to_utf8(answer.body, encoding))
            }
            _ => Cow::Borrowed(answer.body),
        }
    }
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

impl Http {
    /// The call for the page after the one that `value` is.
    fn next(&self, call: &Call, value: &Value) -> Option<Call> {
        let url = match (&self.next, &self.page) {
            (Some(path), _) => {
                // Where it leads, and whether to go there, is for whoever polls to say.
                at_path(value, path)?.as_str().filter(|next| !next.is_empty())?.to_owned()
            }
            (None, Some(page)) => {
                let now = page_of(&call.url, page)?;
                with_page(&call.url, page, now.checked_add(1)?)
            }
            _ => return None,
        };
        Some(Call { url, ..call.clone() })
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn with_page(url: &str, page: &str, number: u32) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let own = |pair: &&str| pair.split('=').next() != Some(page) && !pair.is_empty();
    let mut pairs: Vec<String> = query.split('&').filter(own).map(str::to_owned).collect();
    pairs.push(format!("{page}={number}"));
    format!("{path}?{}", pairs.join("&"))
}

fn page_of(url: &str, page: &str) -> Option<u32> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == page)?.1.parse().ok()
}

/// Text as it stands in a part of an address: letters, digits and `-._~` as they are.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests;
