//! From a body to facts: which events are in it, and who reads each of them. Pure: bytes in, a lot and
//! its answer out, or the reason why not.

use super::again::Head;
use super::builtin::About;
use super::cloud::Envelope;
use super::form::{Form, Place, Shape};
use super::json::{Fault, items};
use super::mapped::{Mapped, Whence};
use super::problem::Refusal;
use super::producers::Producer;
use super::take::{Put, Take, Taken};
use crate::number::Numbers;
use crate::settings::SourceConfig;
use axum::http::StatusCode;
use std::collections::HashMap;
use tocsin_domain::{Id, Micros};

/// Reads bodies; for many threads at a time.
pub(super) struct Reader {
    sources: Vec<Mapped>,
    /// Which source maps a type of CloudEvents.
    types: HashMap<String, usize>,
    numbers: Numbers,
    most: usize,
}

/// A request whose body is there.
pub(super) struct Request<'a> {
    pub(super) form: &'a Form,
    pub(super) producer: &'a Producer,
    pub(super) body: &'a [u8],
    /// Its hash.
    pub(super) hash: Id,
    pub(super) now: Micros,
}

/// Who sent an event, as which of a request, and when it came.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) producer: &'a Producer,
    pub(super) index: usize,
    pub(super) now: Micros,
}

fn bad(code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, detail)
}

impl Reader {
    /// With these mappings, for at most so many events a request.
    ///
    /// # Errors
    /// A type that two sources map, or one of our own.
    pub(super) fn new(sources: &[SourceConfig], most: usize) -> Result<Reader, String> {
        let mut reader = Reader {
            sources: Vec::new(),
            types: HashMap::new(),
            numbers: Numbers::new(false, Some(&[])),
            most,
        };
        for config in sources {
            let Some(mapped) = Mapped::new(config)? else { continue };
            if let Some(name) = &config.event_type {
                let own = name.starts_with("tocsin.");
                if own || reader.types.insert(name.clone(), reader.sources.len()).is_some() {
                    let why = if own { "is one of our own" } else { "has another source already" };
                    return Err(format!("source {:?}: the type {name:?} {why}", config.name));
                }
            }
            reader.sources.push(mapped);
        }
        Ok(reader)
    }

    /// What a request becomes.
    pub(super) fn read(&self, request: &Request<'_>) -> Result<Taken, Refusal> {
        let body = std::str::from_utf8(request.body).map_err(|error| {
            let at = error.valid_up_to();
            bad("utf-8", format!("the body is not UTF-8: the byte at {at} is of no character"))
        })?;
        let body = body.strip_prefix('\u{feff}').unwrap_or(body);
        let Request { form, producer, hash, now, .. } = *request;
        let head = if form.lenient { Head::of(form, hash).bytes() } else { Vec::new() };
        let mut take = Take::new(producer, (form.lenient, self.most), now, (hash, head));
        let sent = |index| Sent { producer, index, now };
        match form.shape {
            Shape::Structured => {
                one_value(body)?;
                let event = body.trim();
                take.one(event, |put| self.structured(event, sent(0), put));
            }
            Shape::Binary => {
                one_value(body)?;
                take.one(body.trim(), |put| self.binary(&form.attributes, body, sent(0), put));
            }
            Shape::Batch => each(body, &mut take, &|index, event, put| {
                self.structured(event, sent(index), put)
            })?,
            Shape::Json | Shape::Lines => self.plain(body, request, &mut take)?,
        }
        take.done()
    }

    /// A CloudEvent that is one object.
    pub(super) fn structured(
        &self,
        event: &str,
        sent: Sent<'_>,
        put: &mut Put<'_>,
    ) -> Result<(), Fault> {
        self.cloud(&Envelope::structured(event)?, sent, put)
    }

    /// A CloudEvent whose attributes came as headers.
    pub(super) fn binary(
        &self,
        attributes: &[(String, String)],
        data: &str,
        sent: Sent<'_>,
        put: &mut Put<'_>,
    ) -> Result<(), Fault> {
        self.cloud(&Envelope::binary(attributes, data)?, sent, put)
    }

    fn cloud(
        &self,
        envelope: &Envelope<'_>,
        Sent { producer, index, now }: Sent<'_>,
        put: &mut Put<'_>,
    ) -> Result<(), Fault> {
        let Producer { name, tenant, .. } = producer;
        if let Some(kind) = envelope.built_in() {
            put.meant = Some(kind);
            let numbers = &self.numbers;
            return About { envelope, numbers, tenant, producer: name, now }.read(kind, put);
        }
        let mapped = self.types.get(&*envelope.kind).and_then(|at| self.sources.get(*at));
        let mapped = mapped.filter(|mapped| mapped.config.tenant() == tenant);
        let Some(mapped) = mapped else {
            let kind = super::json::start(&envelope.kind);
            let detail = format!(
                "nobody maps the type {kind:?}; allowed: tocsin.reading, tocsin.listing, \
                 tocsin.order-row, tocsin.dataset-row, tocsin.swipe, and the `type` of a \
                 [[sources]] entry"
            );
            return Err(Fault { class: "type", ..Fault::new("/type", detail) });
        };
        let own = [name, &*envelope.source, &*envelope.id];
        let key = serde_json::to_string(&own).map_err(|e| Fault::of("value", e.to_string()))?;
        let (origin, time) = (envelope.origin(), envelope.time.unwrap_or(now));
        let whence =
            Whence { key: Some(key), file: &envelope.source, origin: &origin, index, time, now };
        mapped.cloud(envelope, &whence, put)
    }

    /// The mapping of plain JSON that is called so.
    pub(super) fn mapped(&self, wanted: &str, tenant: &str) -> Result<&Mapped, Refusal> {
        let fits =
            |mapped: &&Mapped| mapped.config.name == wanted && mapped.config.tenant() == tenant;
        let mapped = self.sources.iter().find(fits).ok_or_else(|| {
            let wanted = super::json::start(wanted);
            let detail = format!("there is no [[sources]] entry {wanted:?} of kind `json-lines`");
            Refusal::new(StatusCode::NOT_FOUND, "source", detail)
        })?;
        if mapped.config.items.is_some() {
            let detail = format!("the source {wanted:?} has `items`, so it is for files only");
            return Err(bad("source", detail));
        }
        Ok(mapped)
    }

    /// Objects, by the mapping that the request names.
    fn plain(&self, body: &str, request: &Request<'_>, take: &mut Take<'_>) -> Result<(), Refusal> {
        let Request { form, producer, now, hash, .. } = *request;
        let wanted = form.source.as_deref().unwrap_or_default();
        let mapped = self.mapped(wanted, &producer.tenant)?;
        let place = form.place(hash);
        let read = |index: usize, raw: &str, put: &mut Put<'_>| {
            object(mapped, (&place, raw), Sent { producer, index, now }, put)
        };
        if form.shape == Shape::Json {
            if body.trim_start().starts_with('[') {
                return each(body, take, &read);
            }
            one_value(body)?;
            take.one(body.trim(), |put| read(0, body, put));
            return Ok(());
        }
        for line in body.lines().filter(|line| !line.trim().is_empty()) {
            let index = take.next();
            if !take.one(line, |put| read(index, line, put)) {
                break;
            }
        }
        Ok(())
    }
}

/// An object of plain JSON.
pub(super) fn object(
    mapped: &Mapped,
    (Place { name: file, is_key }, raw): (&Place, &str),
    Sent { producer, index, now }: Sent<'_>,
    put: &mut Put<'_>,
) -> Result<(), Fault> {
    let name = &producer.name;
    let own = [name, file, &index.to_string()];
    let key = is_key.then(|| serde_json::to_string(&own).ok()).flatten();
    let origin = format!("push:{name}:{file}#{index}");
    mapped.plain(raw, &Whence { key, file, origin: &origin, index, time: now, now }, put)
}

/// Every item of an array.
fn each(
    body: &str,
    take: &mut Take<'_>,
    read: &dyn Fn(usize, &str, &mut Put<'_>) -> Result<(), Fault>,
) -> Result<(), Refusal> {
    let parsed = items(body, &mut |item| {
        let index = take.next();
        take.one(item, |put| read(index, item, put))
    });
    parsed.map_err(|error| {
        bad("json", format!("the body is no array of events: {error}; nothing was written"))
    })
}

/// Refuses a body that is no JSON at all, before anybody asks what it means.
fn one_value(body: &str) -> Result<(), Refusal> {
    serde_json::from_str::<&serde_json::value::RawValue>(body)
        .map(drop)
        .map_err(|error| bad("json", format!("the body is not JSON: {error}")))
}
