//! What a request says of itself before its body: how the events are written, how packed, under
//! which key, how strict to be. It reads no body.

use super::problem::Refusal;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tocsin_domain::Id;

/// What may be posted, as `Accept-Post` says it.
pub(super) const TYPES: &str = "application/cloudevents+json, application/cloudevents-batch+json, \
    application/json, application/x-ndjson";

/// The most bytes of an idempotency key.
const KEY_BYTES: usize = 255;

/// How the events of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One event in JSON.
    Structured,
    /// An array of such.
    Batch,
    /// The attributes are headers, the body is the data.
    Binary,
    /// An object, or an array of objects.
    Json,
    /// An object a line.
    Lines,
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) shape: Shape,
    pub(super) gzip: bool,
    /// The idempotency key.
    pub(super) key: Option<String>,
    /// Whether what is wrong becomes dead letters and the rest is taken.
    pub(super) lenient: bool,
    /// The mapping that `?source=` names.
    pub(super) source: Option<String>,
    /// The attributes of [`Shape::Binary`], without `ce-`.
    pub(super) attributes: Vec<(String, String)>,
}

/// Where the events of a request stand that have no keys of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The idempotency key, or the hash of the body.
    pub(super) name: String,
    /// Which of the two.
    pub(super) is_key: bool,
}

fn bad(code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, detail)
}

impl Form {
    pub(super) fn read(headers: &HeaderMap, query: Option<&str>) -> Result<Form, Refusal> {
        let attributes = attributes(headers)?;
        let shape = shape(headers, !attributes.is_empty())?;
        let source = source(query.unwrap_or_default())?;
        let mapped = matches!(shape, Shape::Json | Shape::Lines);
        if mapped && source.is_none() {
            let detail = "plain JSON says not what it means: name the [[sources]] entry that maps \
                          it with `?source=`, or send CloudEvents";
            return Err(bad("source", detail));
        }
        if !mapped && source.is_some() {
            let detail =
                "`?source=` is for plain JSON; what maps a CloudEvent is found by its type";
            return Err(bad("source", detail));
        }
        let (gzip, key, lenient) = (gzip(headers)?, key(headers)?, lenient(headers));
        Ok(Form { shape, gzip, key, lenient, source, attributes })
    }

    /// What stands for a file: the same body again is the same events, another body is others.
    pub(super) fn place(&self, body: Id) -> Place {
        match &self.key {
            Some(key) => Place { name: key.clone(), is_key: true },
            None => Place { name: body.to_string(), is_key: false },
        }
    }

    /// What beside the body decides what it means: a key stands for both.
    pub(super) fn described(&self) -> String {
        let Form { shape, lenient, source, attributes, .. } = self;
        let mut attributes = attributes.clone();
        attributes.sort();
        format!("{shape:?} {lenient} {source:?} {attributes:?}")
    }
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(bad("header", format!("the header `{name}` stands twice"))),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(bad("header", format!("the header `{name}` is no plain text"))),
        },
    }
}

fn shape(headers: &HeaderMap, binary: bool) -> Result<Shape, Refusal> {
    let refuse = |detail: String| {
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", detail))
    };
    let Some(value) = one(headers, CONTENT_TYPE.as_str())? else {
        return refuse(format!("there is no content-type; allowed: {TYPES}"));
    };
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let utf8 = value.trim_matches('"').eq_ignore_ascii_case("utf-8");
        if name.eq_ignore_ascii_case("charset") && !utf8 {
            return refuse(format!("the charset is {value:?}; allowed: utf-8"));
        }
    }
    match media.as_str() {
        "application/cloudevents+json" => Ok(Shape::Structured),
        "application/cloudevents-batch+json" => Ok(Shape::Batch),
        other if binary && (other == "application/json" || other.ends_with("+json")) => {
            Ok(Shape::Binary)
        }
        "application/json" => Ok(Shape::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Shape::Lines),
        other => {
            let other = super::json::start(other);
            refuse(format!("{other:?} cannot be read; allowed: {TYPES}"))
        }
    }
}

/// The headers `ce-…`, with what is percent-encoded in them decoded.
fn attributes(headers: &HeaderMap) -> Result<Vec<(String, String)>, Refusal> {
    let mut found = Vec::new();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let value = one(headers, name.as_str())?.unwrap_or_default();
        let value = percent(value, false).ok_or_else(|| {
            bad("header", format!("the header `{name}` is not percent-encoded UTF-8"))
        })?;
        found.push((attribute.to_owned(), value));
    }
    Ok(found)
}

fn gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    match one(headers, CONTENT_ENCODING.as_str())?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Ok(false),
        Some("gzip" | "x-gzip") => Ok(true),
        Some(other) => {
            let other = super::json::start(other);
            let detail = format!("the content-encoding {other:?} is not known; allowed: gzip");
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", detail))
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = one(headers, "idempotency-key")? else { return Ok(None) };
    // The header's draft has a text in quotes; many send it bare.
    let bare = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key);
    if bare.is_empty() || bare.len() > KEY_BYTES || !bare.bytes().all(|b| b.is_ascii_graphic()) {
        let detail = format!(
            "`Idempotency-Key` must have 1 to {KEY_BYTES} characters of ASCII without blanks"
        );
        return Err(bad("key", detail));
    }
    Ok(Some(bare.to_owned()))
}

/// Preferences that are not known are passed over, as RFC 7240 says.
pub(super) fn lenient(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split([',', ';'])).any(|one| {
        let (name, value) = one.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("handling")
            && value.trim().trim_matches('"').eq_ignore_ascii_case("lenient")
    })
}

fn source(query: &str) -> Result<Option<String>, Refusal> {
    let mut source = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "source" || source.is_some() {
            let name = super::json::start(name);
            return Err(bad(
                "parameter",
                format!("the parameter {name:?} is not known, or stands twice; allowed: source"),
            ));
        }
        let value = percent(value, true)
            .ok_or_else(|| bad("parameter", "`source` is not percent-encoded UTF-8"))?;
        source = Some(value);
    }
    Ok(source)
}

/// Decodes `%41`; and `+` as a blank, in queries.
fn percent(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (two, after) = rest.split_at_checked(2)?;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                bytes.push((digit(two[0])? * 16 + digit(two[1])?) as u8);
                rest = after;
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)], query: &str) -> Result<Form, (u16, &'static str)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Form::read(&map, Some(query)).map_err(|refusal| (refusal.status.as_u16(), refusal.code))
    }

    #[test]
    fn the_type_says_how_events_are_written() {
        for (content, binary, query, wanted) in [
            ("application/cloudevents+json", false, "", Ok(Shape::Structured)),
            ("Application/CloudEvents+JSON; charset=UTF-8", false, "", Ok(Shape::Structured)),
            ("application/cloudevents-batch+json", false, "", Ok(Shape::Batch)),
            ("application/json", true, "", Ok(Shape::Binary)),
            ("application/vnd.acme+json", true, "", Ok(Shape::Binary)),
            ("application/vnd.acme+json", false, "source=a", Err((415, "content-type"))),
            ("application/json", false, "source=a", Ok(Shape::Json)),
            ("application/json", false, "", Err((400, "source"))),
            ("application/x-ndjson", false, "source=a%20b", Ok(Shape::Lines)),
            ("application/x-ndjson", false, "sauce=a", Err((400, "parameter"))),
            ("application/x-ndjson", false, "source=a&source=b", Err((400, "parameter"))),
            ("application/x-ndjson", false, "source=%ff", Err((400, "parameter"))),
            ("application/cloudevents+json", false, "source=a", Err((400, "source"))),
            ("text/plain", false, "", Err((415, "content-type"))),
            ("application/xml", true, "", Err((415, "content-type"))),
            ("application/json; charset=latin1", true, "", Err((415, "content-type"))),
        ] {
            let mut headers = vec![("content-type", content)];
            if binary {
                headers.push(("ce-id", "1"));
            }
            let found = read(&headers, query).map(|form| form.shape);
            assert_eq!(found, wanted, "{content} {binary} {query}");
        }
        assert_eq!(read(&[], "").unwrap_err(), (415, "content-type"));
    }

    #[test]
    fn headers_are_read_once_and_refused_if_they_are_wrong() {
        let with = |name: &'static str, value: &'static str| {
            read(&[("content-type", "application/cloudevents+json"), (name, value)], "")
        };
        assert_eq!(with("idempotency-key", "\"a-b\"").unwrap().key.as_deref(), Some("a-b"));
        assert!(with("prefer", "return=minimal, handling=lenient").unwrap().lenient);
        assert!(!with("prefer", "handling=strict").unwrap().lenient);
        assert!(with("content-encoding", "GZIP").unwrap().gzip);
        let ce = with("ce-source", "K%C3%B6ln+1").unwrap().attributes;
        assert_eq!(ce, [("source".to_owned(), "Köln+1".to_owned())]);
        let long: &'static str = "k".repeat(256).leak();
        for (name, value, wanted) in [
            ("content-encoding", "br", (415, "encoding")),
            ("content-encoding", "gzip, gzip", (415, "encoding")),
            ("idempotency-key", "", (400, "key")),
            ("idempotency-key", "a b", (400, "key")),
            ("idempotency-key", long, (400, "key")),
            ("ce-source", "%zz", (400, "header")),
            ("content-type", "application/json", (400, "header")),
        ] {
            assert_eq!(with(name, value).unwrap_err(), wanted, "{name}: {value}");
        }
    }
}
