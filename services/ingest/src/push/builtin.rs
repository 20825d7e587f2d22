//! The data of our own events, `tocsin.reading` and its kin: the fields of the schemas, borrowed from
//! the body. The envelope gives what is not of the data: id, source, and a time or a subject that the
//! data do not repeat.

use super::cloud::{Envelope, moment, scalar};
use super::json::{Fault, Members, items, pairs, text};
use super::settings::Pushed;
use super::take::Put;
use crate::mapping::key_part;
use crate::number::Numbers;
use crate::source::Event;
use std::borrow::Cow;
use tocsin_domain::event::{DatasetRow, DatasetRowKind, Listing, OrderRow, Reading, Swipe};
use tocsin_domain::{Currency, Micros, Money, wire};

/// The most searches of a listing, and fields of a data set's row.
const LIST: usize = 1_000;

const READING: &[&str] =
    &["subject", "measure", "value", "unit", "averaging", "place", "event_time"];
const LISTING: &[&str] = &[
    "listing",
    "title",
    "price",
    "units_sold",
    "units_available",
    "url",
    "seller",
    "searches",
    "event_time",
];
const ORDER_ROW: &[&str] = &["subject", "order", "title", "price", "units", "event_time"];
const DATASET_ROW: &[&str] = &["dataset", "kind", "file", "line", "fields", "event_time"];
const SWIPE: &[&str] = &["from", "to", "liked", "event_time"];

/// What an event is read with.
pub(super) struct About<'a> {
    pub(super) envelope: &'a Envelope<'a>,
    pub(super) numbers: &'a Numbers,
    pub(super) tenant: &'a str,
    pub(super) producer: &'a str,
    pub(super) now: Micros,
}

impl<'a> About<'a> {
    /// Reads the data as an event of that kind, and puts it where it belongs.
    pub(super) fn read(&self, kind: Pushed, put: &mut Put<'_>) -> Result<(), Fault> {
        match kind {
            Pushed::Reading => self.reading(put),
            Pushed::Listing => self.listing(put),
            Pushed::OrderRow => self.order_row(put),
            Pushed::DatasetRow => self.dataset_row(put),
            Pushed::Swipe => self.swipe(put),
        }
    }

    fn reading(&self, put: &mut Put<'_>) -> Result<(), Fault> {
        let data = self.data(READING)?;
        let value = needed(&data, "value", data.digits("value")?)?;
        let value = self.numbers.float(&value).map_err(|reason| data.fault("value", reason))?;
        put.event(&Event::Reading(Reading {
            id: self.envelope.fact_id(Pushed::Reading, self.tenant, self.producer),
            tenant: self.tenant,
            subject: &self.subject(&data)?,
            measure: &key(&data, "measure", data.text("measure")?)?,
            value,
            unit: &data.text_or_empty("unit")?,
            averaging: &data.text_or_empty("averaging")?,
            place: &data.text_or_empty("place")?,
            event_time: self.time(&data)?,
            arrival_time: self.now,
            source: self.producer,
            origin: &self.envelope.origin(),
        }))
    }

    fn listing(&self, put: &mut Put<'_>) -> Result<(), Fault> {
        let data = self.data(LISTING)?;
        let listing = data.text("listing")?.or_else(|| self.envelope.subject.clone());
        let mut searches = Vec::new();
        if let Some(list) = data.raw("searches") {
            let mut fault = None;
            let read = items(list, &mut |item| {
                match text(item) {
                    Ok(text) if searches.len() < LIST => searches.push(text),
                    Ok(_) => fault = Some(format!("there are more than {LIST}, the limit")),
                    Err(reason) => fault = Some(reason),
                }
                fault.is_none()
            });
            let fault = fault.or(read.err().map(|error| error.to_string()));
            fault.map_or(Ok(()), |reason| Err(data.fault("searches", reason)))?;
        }
        put.event(&Event::Listing(Listing {
            id: self.envelope.fact_id(Pushed::Listing, self.tenant, self.producer),
            tenant: self.tenant,
            listing: &key(&data, "listing", listing)?,
            title: &data.text_or_empty("title")?,
            price: self.price(&data)?,
            units_sold: self.count(&data, "units_sold")?,
            units_available: self.count(&data, "units_available")?,
            url: &data.text_or_empty("url")?,
            seller: &data.text_or_empty("seller")?,
            searches: searches.iter().map(|search| &**search).collect(),
            event_time: self.time(&data)?,
            arrival_time: self.now,
            source: self.producer,
            origin: &self.envelope.origin(),
        }))
    }

    fn order_row(&self, put: &mut Put<'_>) -> Result<(), Fault> {
        let data = self.data(ORDER_ROW)?;
        put.event(&Event::OrderRow(OrderRow {
            id: self.envelope.fact_id(Pushed::OrderRow, self.tenant, self.producer),
            tenant: self.tenant,
            subject: &self.subject(&data)?,
            order: &data.text_or_empty("order")?,
            title: &data.text_or_empty("title")?,
            price: self.price(&data)?,
            units: self.count(&data, "units")?.unwrap_or(1),
            event_time: self.time(&data)?,
            arrival_time: self.now,
            source: self.producer,
            origin: &self.envelope.origin(),
        }))
    }

    fn dataset_row(&self, put: &mut Put<'_>) -> Result<(), Fault> {
        let data = self.data(DATASET_ROW)?;
        let dataset = data.text("dataset")?.or_else(|| self.envelope.subject.clone());
        let kind = match data.text("kind")?.as_deref() {
            None | Some("row") => DatasetRowKind::Row,
            Some("opened") => DatasetRowKind::Opened,
            Some("closed") => DatasetRowKind::Closed,
            Some(_) => return Err(data.fault("kind", "allowed: opened, row, closed")),
        };
        let fields = data.raw("fields").map(pairs).transpose();
        let fields = fields.map_err(|reason| data.fault("fields", reason))?.unwrap_or_default();
        if fields.len() > LIST {
            return Err(data.fault("fields", format!("there are more than {LIST}, the limit")));
        }
        let values = fields.iter().map(|(_, value)| scalar(value));
        let values: Vec<Cow<'_, str>> =
            values.collect::<Result<_, _>>().map_err(|reason| data.fault("fields", reason))?;
        put.event(&Event::DatasetRow(DatasetRow {
            id: self.envelope.fact_id(Pushed::DatasetRow, self.tenant, self.producer),
            tenant: self.tenant,
            dataset: &key(&data, "dataset", dataset)?,
            kind,
            file: &data.text_or_empty("file")?,
            line: self.count(&data, "line")?.unwrap_or(0),
            fields: fields
                .iter()
                .zip(&values)
                .map(|((name, _), value)| (&**name, &**value))
                .collect(),
            event_time: self.time(&data)?,
            arrival_time: self.now,
            source: self.producer,
        }))
    }

    fn swipe(&self, put: &mut Put<'_>) -> Result<(), Fault> {
        let data = self.data(SWIPE)?;
        let liked = match data.raw("liked") {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(data.fault("liked", "it must be true or false")),
        };
        let from = key(&data, "from", data.text("from")?)?;
        let to = key(&data, "to", data.text("to")?)?;
        if from == to {
            return Err(data.fault("to", "nobody swipes themselves"));
        }
        put.event(&Event::Swipe(Swipe {
            id: self.envelope.fact_id(Pushed::Swipe, self.tenant, self.producer),
            tenant: self.tenant,
            from: &from,
            to: &to,
            liked,
            event_time: self.time(&data)?,
            arrival_time: self.now,
            source: self.producer,
            origin: &self.envelope.origin(),
        }))
    }

    fn data(&self, names: &'static [&'static str]) -> Result<Members<'a>, Fault> {
        Members::read(self.envelope.data, "/data", names, false)
    }

    fn subject(&self, data: &Members<'a>) -> Result<Cow<'a, str>, Fault> {
        key(data, "subject", data.text("subject")?.or_else(|| self.envelope.subject.clone()))
    }

    /// A time is needed: without one, the same event pushed twice would be of two times.
    fn time(&self, data: &Members<'_>) -> Result<Micros, Fault> {
        match data.text("event_time")? {
            Some(time) => moment(&time).map_err(|reason| data.fault("event_time", reason)),
            None => self.envelope.time.ok_or_else(|| {
                data.fault("event_time", "it is missing, and the event has no `time` either")
            }),
        }
    }

    fn count(&self, data: &Members<'_>, name: &str) -> Result<Option<i64>, Fault> {
        let whole = |digits: Cow<'_, str>| self.numbers.whole(&digits);
        data.digits(name)?.map(whole).transpose().map_err(|reason| data.fault(name, reason))
    }

    fn price(&self, data: &Members<'_>) -> Result<Money, Fault> {
        let raw = needed(data, "price", data.raw("price"))?;
        let price = Members::read(raw, "/data/price", &["amount", "currency"], false)?;
        let amount = needed(&price, "amount", price.digits("amount")?)?;
        let fault = |reason: String| price.fault("amount", reason);
        let amount = self.numbers.decimal(&amount).map_err(fault)?;
        let code = needed(&price, "currency", price.text("currency")?)?;
        let currency = Currency::parse(&code)
            .ok_or_else(|| price.fault("currency", "it is not an ISO 4217 code such as GBP"))?;
        let money = Money { amount, currency };
        wire::put::check_money(&money).map_err(|error| fault(error.reason))?;
        Ok(money)
    }
}

fn needed<T>(data: &Members<'_>, name: &str, found: Option<T>) -> Result<T, Fault> {
    found.ok_or_else(|| data.fault(name, "it is missing"))
}

/// A text that keys are made of.
fn key<'a>(
    data: &Members<'_>,
    name: &str,
    found: Option<Cow<'a, str>>,
) -> Result<Cow<'a, str>, Fault> {
    let text = needed(data, name, found)?;
    key_part(name, text)
        .map_err(|fault| Fault { class: fault.class, ..data.fault(name, fault.reason) })
}
