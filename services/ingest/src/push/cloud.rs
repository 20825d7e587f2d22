//! CloudEvents 1.0: the envelope around an event's data, from an object or from headers. What its
//! data mean is not known here.

use super::json::{Fault, Members, pairs, start, strict, text};
use super::settings::Pushed;
use serde_json::{Map, Value};
use std::borrow::Cow;
use tocsin_domain::{Id, Micros};

/// The attributes that are read, and the data.
const NAMES: &[&str] = &[
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

/// One event, with its data still as they are written.
pub(super) struct Envelope<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) source: Cow<'a, str>,
    pub(super) kind: Cow<'a, str>,
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) time: Option<Micros>,
    pub(super) data: &'a str,
    whole: Whole<'a>,
}

/// Everything that was said, for mappings that want more than [`NAMES`].
enum Whole<'a> {
    Object(&'a str),
    Headers(&'a [(String, String)]),
}

impl<'a> Envelope<'a> {
    /// From an event that is one object. Attributes that are not known may be there.
    pub(super) fn structured(event: &'a str) -> Result<Envelope<'a>, Fault> {
        let members = Members::read(event, "", NAMES, true)?;
        let needed = |name: &str| {
            let found = members.text(name)?.filter(|text| !text.is_empty());
            found.ok_or_else(|| members.fault(name, "it is missing, and every CloudEvent has it"))
        };
        version(&needed("specversion")?).map_err(|reason| members.fault("specversion", reason))?;
        let media = members.text("datacontenttype")?;
        json_only(media.as_deref()).map_err(|reason| members.fault("datacontenttype", reason))?;
        if members.raw("data_base64").is_some() {
            let reason = "bytes are not read; send the data as JSON in `data`";
            return Err(members.fault("data_base64", reason));
        }
        let time = members.text("time")?;
        let time = time.map(|time| moment(&time)).transpose();
        Ok(Envelope {
            id: needed("id")?,
            source: needed("source")?,
            kind: needed("type")?,
            subject: members.text("subject")?,
            time: time.map_err(|reason| members.fault("time", reason))?,
            data: members.raw("data").ok_or_else(|| members.fault("data", "there are no data"))?,
            whole: Whole::Object(event),
        })
    }

    /// From the headers `ce-…`, without that, and a body.
    pub(super) fn binary(
        attributes: &'a [(String, String)],
        body: &'a str,
    ) -> Result<Envelope<'a>, Fault> {
        let find = |wanted: &str| {
            let found = attributes.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let fault = |name: &str, reason: String| Fault::new(format!("/{name}"), reason);
        let needed = |name: &str| match find(name) {
            Some(value) if value.contains('\0') => {
                Err(fault(name, format!("the header `ce-{name}` has a NUL in it")))
            }
            Some(value) => Ok(Cow::Borrowed(value)),
            None => Err(fault(name, format!("the header `ce-{name}` is missing"))),
        };
        version(&needed("specversion")?).map_err(|reason| fault("specversion", reason))?;
        Ok(Envelope {
            id: needed("id")?,
            source: needed("source")?,
            kind: needed("type")?,
            subject: find("subject").map(|_| needed("subject")).transpose()?,
            time: find("time").map(moment).transpose().map_err(|reason| fault("time", reason))?,
            data: body.trim(),
            whole: Whole::Headers(attributes),
        })
    }

    /// Which of our own events it is, if it is one.
    pub(super) fn built_in(&self) -> Option<Pushed> {
        let word = self.kind.strip_prefix("tocsin.")?;
        Pushed::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// `source#id`, where an event says that it comes from.
    pub(super) fn origin(&self) -> String {
        format!("{}#{}", self.source, self.id)
    }

    /// The id of the fact that it is: by the producer's own keys, and of that producer alone, so
    /// that nobody can take the place of another's event.
    pub(super) fn fact_id(&self, kind: Pushed, tenant: &str, producer: &str) -> Id {
        let parts = [tenant, producer, &self.source, &self.id].map(str::as_bytes);
        Id::of(kind.word(), &parts)
    }

    /// All of it as one object, with the data under `data`.
    pub(super) fn value(&self) -> Result<Value, Fault> {
        let pairs = match &self.whole {
            Whole::Headers(attributes) => {
                let pair = |(name, value): &(String, String)| (name.clone(), value.as_str().into());
                attributes.iter().map(pair).collect()
            }
            Whole::Object(event) => attributes(event)?,
        };
        let mut all: Map<String, Value> = pairs;
        let wrong = |reason| Fault { class: "json", ..Fault::new("/data", reason) };
        all.insert("data".to_owned(), strict(self.data).map_err(wrong)?);
        Ok(Value::Object(all))
    }
}

/// Everything of an event but its data.
fn attributes(event: &str) -> Result<Map<String, Value>, Fault> {
    let pairs = pairs(event).map_err(|reason| Fault::of("json", reason))?;
    let attributes = pairs.into_iter().filter(|(name, _)| name != "data");
    let read = attributes.map(|(name, raw)| match strict(raw) {
        Ok(value) => Ok((name.into_owned(), value)),
        Err(reason) => {
            Err(Fault { class: "json", ..Fault::new(format!("/{}", start(&name)), reason) })
        }
    });
    read.collect()
}

fn version(version: &str) -> Result<(), String> {
    match version {
        "1.0" => Ok(()),
        other => Err(format!("{:?} is not read; allowed: \"1.0\"", super::json::start(other))),
    }
}

fn json_only(media: Option<&str>) -> Result<(), String> {
    let Some(media) = media else { return Ok(()) };
    let plain = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match plain == "application/json" || plain.ends_with("+json") {
        true => Ok(()),
        false => Err(format!("{:?} is not read; allowed: JSON", super::json::start(media))),
    }
}

/// A time as RFC 3339 has it.
pub(super) fn moment(text: &str) -> Result<Micros, String> {
    Micros::parse(text).ok_or_else(|| {
        let text = super::json::start(text);
        format!("{text:?} is not a time; allowed: RFC 3339, 2024-05-01T12:00:00Z")
    })
}

/// A scalar as a text: what it says, without quotes.
pub(super) fn scalar(raw: &str) -> Result<Cow<'_, str>, String> {
    match raw.as_bytes().first() {
        Some(b'"') => text(raw),
        Some(b'{' | b'[') => Err("a field must be a text, a number, a boolean or null".to_owned()),
        Some(b'n') => Ok(Cow::Borrowed("")),
        _ => Ok(Cow::Borrowed(raw)),
    }
}
