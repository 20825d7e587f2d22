//! One function for each event: fields in, the fact out.

use super::names::Words;
use super::{Fault, Mapping, Origin, RowError};
use crate::number::Numbers;
use crate::settings::{EventKind, SourceConfig};
use crate::source::{Event, Item, Sink, Skipped};
use crate::template::{Row, Slots, Template};
use std::borrow::Cow;
use tocsin_domain::event::{DatasetRow, DatasetRowKind, Listing, OrderRow, Reading};
use tocsin_domain::{Currency, Id, Micros, Money};

/// The longest text, in bytes, that may be a subject or a part of one.
const SUBJECT_CAP: usize = 200;

/// What is measured or sold.
pub(super) enum Values {
    /// Of readings.
    Measures(Vec<Measure>, Box<Words>),
    /// Of listings and order rows: price and currency, then up to two counts.
    Goods(Box<Goods>),
    /// Of data set rows.
    Nothing,
}

pub(super) struct Measure {
    measure: Template,
    value: Template,
    unit: Template,
    averaging: Template,
}

pub(super) struct Goods {
    price: Template,
    currency: Template,
    units: Option<Template>,
    units_sold: Option<Template>,
    units_available: Option<Template>,
}

impl Values {
    pub(super) fn compile(
        event: EventKind,
        config: &SourceConfig,
        slots: &mut Slots,
    ) -> Result<Values, String> {
        let mut some = |key: &str, text: Option<&String>| {
            text.map(|text| Template::compile(text, slots).map_err(|e| format!("`{key}`: {e}")))
                .transpose()
        };
        let empty = || Template::Constant(String::new());
        match event {
            EventKind::DatasetRow => Ok(Values::Nothing),
            EventKind::Reading => {
                let one = config.measure.as_ref().zip(config.value.as_ref());
                let one = one.map(|(m, v)| (m, v, config.unit.as_ref(), config.averaging.as_ref()));
                let many = config.values.iter().map(|value| {
                    let unit = value.unit.as_ref().or(config.unit.as_ref());
                    let averaging = value.averaging.as_ref().or(config.averaging.as_ref());
                    (&value.measure, &value.value, unit, averaging)
                });
                let compiled =
                    one.into_iter().chain(many).map(|(measure, value, unit, averaging)| {
                        Ok(Measure {
                            measure: some("measure", Some(measure))?.unwrap_or_else(empty),
                            value: some("value", Some(value))?.unwrap_or_else(empty),
                            unit: some("unit", unit)?.unwrap_or_else(empty),
                            averaging: some("averaging", averaging)?.unwrap_or_else(empty),
                        })
                    });
                let words = Box::new(Words::new(&config.names));
                compiled
                    .collect::<Result<_, String>>()
                    .map(|measures| Values::Measures(measures, words))
            }
            EventKind::Listing | EventKind::OrderRow => Ok(Values::Goods(Box::new(Goods {
                price: some("price", config.price.as_ref())?.unwrap_or_else(empty),
                currency: some("currency", config.currency.as_ref())?.unwrap_or_else(empty),
                units: some("units", config.units.as_ref())?,
                units_sold: some("units_sold", config.units_sold.as_ref())?,
                units_available: some("units_available", config.units_available.as_ref())?,
            }))),
        }
    }
}

impl Goods {
    fn money(&self, row: &Row<'_>, numbers: &Numbers) -> Result<Money, Fault> {
        let price = self.price.render(row);
        if numbers.is_missing(&price) {
            return Err(Fault::new("value", "the price is missing").of(&self.price));
        }
        let amount = numbers.decimal(&price);
        let amount = amount.map_err(|e| value_fault("price", e).of(&self.price))?;
        let code = self.currency.render(row);
        let currency = Currency::parse(&code).ok_or_else(|| {
            let reason = format!("currency {code:?} is not an ISO 4217 code such as GBP");
            Fault::new("value", reason).of(&self.currency)
        })?;
        Ok(Money { amount, currency })
    }
}

/// A count, if the mapping names one and the row has one.
fn count(
    what: &str,
    template: Option<&Template>,
    row: &Row<'_>,
    numbers: &Numbers,
) -> Result<Option<i64>, Fault> {
    let Some(template) = template else { return Ok(None) };
    let text = template.render(row);
    if numbers.is_missing(&text) {
        return Ok(None);
    }
    numbers.whole(&text).map(Some).map_err(|e| value_fault(what, e).of(template))
}

fn value_fault(what: &str, reason: String) -> Fault {
    Fault::new("value", format!("{what} {reason}"))
}

/// A text that keys are made of.
pub(crate) fn key_part<'a>(what: &str, text: Cow<'a, str>) -> Result<Cow<'a, str>, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new("value", format!("the {what} is empty")));
    }
    if text.len() > SUBJECT_CAP {
        let reason = format!("the {what} has {} bytes; allowed: {SUBJECT_CAP}", text.len());
        return Err(Fault::new("limit", reason));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new("value", format!("the {what} {text:?} has control characters")));
    }
    Ok(text)
}

/// Whose event it is, which is `what` in the mapping.
fn subject_of<'a>(what: &str, subject: &'a Template, row: &Row<'a>) -> Result<Cow<'a, str>, Fault> {
    key_part(what, subject.render(row)).map_err(|fault| fault.of(subject))
}

impl Mapping {
    /// One reading for each measure that has a value. A fault in one does not hold up the others.
    pub(super) fn readings(
        &mut self,
        row: &Row<'_>,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        let subject = subject_of("subject", &self.subject, row)?;
        let event_time = event_time(&self.time, &mut self.moments, row, at)?;
        let place = self.texts.place.render(row);
        let own = self.id.as_ref().map(|id| id.render(row));
        let Values::Measures(measures, words) = &self.values else { return Ok(()) };
        let mut first_fault = Ok(());
        for wanted in measures {
            let value = wanted.value.render(row);
            if self.numbers.is_missing(&value) {
                sink(Item::Skipped(Skipped::NoValue))?;
                continue;
            }
            let measure = match key_part("measure", words.measure.of(wanted.measure.render(row))) {
                Ok(measure) => measure,
                Err(fault) => {
                    first_fault = first_fault.and(Err(fault.of(&wanted.measure)));
                    continue;
                }
            };
            let value = match self.numbers.float(&value) {
                Ok(value) => value,
                Err(reason) => {
                    let fault = value_fault(&measure, reason).of(&wanted.value);
                    first_fault = first_fault.and(Err(fault));
                    continue;
                }
            };
            let tenant = self.tenant.as_str();
            let time = event_time.0.to_be_bytes();
            let id = match &own {
                Some(own) => [tenant, &self.source, own, &measure].map(str::as_bytes),
                None => [tenant.as_bytes(), subject.as_bytes(), measure.as_bytes(), &time],
            };
            sink(Item::Event(Event::Reading(Reading {
                id: Id::of("reading", &id),
                tenant,
                subject: &subject,
                measure: &measure,
                value,
                unit: &words.unit.of(wanted.unit.render(row)),
                averaging: &words.averaging.of(wanted.averaging.render(row)),
                place: &place,
                event_time,
                arrival_time: at.now,
                source: &self.source,
                origin: at.text,
            })))?;
        }
        Ok(first_fault?)
    }

    pub(super) fn listing(
        &mut self,
        row: &Row<'_>,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        let listing = subject_of("listing", &self.subject, row)?;
        let event_time = event_time(&self.time, &mut self.moments, row, at)?;
        let Values::Goods(goods) = &self.values else { return Ok(()) };
        let price = goods.money(row, &self.numbers)?;
        let sold = count("units_sold", goods.units_sold.as_ref(), row, &self.numbers)?;
        let available =
            count("units_available", goods.units_available.as_ref(), row, &self.numbers)?;
        let search = self.texts.search.render(row);
        let id = match &self.id {
            Some(own) => self.own_id("listing", &own.render(row)),
            None => Id::of(
                "listing",
                &[
                    self.tenant.as_bytes(),
                    listing.as_bytes(),
                    &event_time.0.to_be_bytes(),
                    price.to_string().as_bytes(),
                    sold.map(|n| n.to_string()).unwrap_or_default().as_bytes(),
                ],
            ),
        };
        sink(Item::Event(Event::Listing(Listing {
            id,
            tenant: &self.tenant,
            listing: &listing,
            title: &self.texts.title.render(row),
            price,
            units_sold: sold,
            units_available: available,
            url: &self.texts.url.render(row),
            seller: &self.texts.seller.render(row),
            searches: if search.is_empty() { Vec::new() } else { vec![&search] },
            event_time,
            arrival_time: at.now,
            source: &self.source,
            origin: at.text,
        })))?;
        Ok(())
    }

    pub(super) fn order_row(
        &mut self,
        row: &Row<'_>,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        let subject = subject_of("subject", &self.subject, row)?;
        let event_time = event_time(&self.time, &mut self.moments, row, at)?;
        let Values::Goods(goods) = &self.values else { return Ok(()) };
        let price = goods.money(row, &self.numbers)?;
        let units = match &goods.units {
            None => 1,
            Some(units) => {
                let count = count("units", goods.units.as_ref(), row, &self.numbers)?;
                let missing = || Fault::new("value", "the number of units is missing").of(units);
                count.ok_or_else(missing)?
            }
        };
        let id = match &self.id {
            Some(own) => self.own_id("order-row", &own.render(row)),
            None => self.line_id("order-row", at),
        };
        sink(Item::Event(Event::OrderRow(OrderRow {
            id,
            tenant: &self.tenant,
            subject: &subject,
            order: &self.texts.order.render(row),
            title: &self.texts.title.render(row),
            price,
            units,
            event_time,
            arrival_time: at.now,
            source: &self.source,
            origin: at.text,
        })))?;
        Ok(())
    }

    pub(super) fn dataset_row(
        &mut self,
        row: &Row<'_>,
        fields: Vec<(&str, &str)>,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        let dataset = subject_of("subject", &self.subject, row)?;
        let event_time = event_time(&self.time, &mut self.moments, row, at)?;
        let id = match &self.id {
            Some(own) => self.own_id("dataset-row", &own.render(row)),
            None => {
                let line = at.line.to_be_bytes();
                let parts = [self.tenant.as_bytes(), dataset.as_bytes(), at.file.as_bytes(), &line];
                Id::of("dataset-row", &parts)
            }
        };
        sink(Item::Event(Event::DatasetRow(DatasetRow {
            id,
            tenant: &self.tenant,
            dataset: &dataset,
            kind: DatasetRowKind::Row,
            file: at.file,
            line: at.line as i64,
            fields,
            event_time,
            arrival_time: at.now,
            source: &self.source,
        })))?;
        Ok(())
    }

    /// Tells that a data set's file begins or ends. Only where the data set's name is the same in
    /// every row; where it is not, no row ends any of them.
    pub(crate) fn border(
        &self,
        kind: DatasetRowKind,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), crate::IngestError> {
        let (EventKind::DatasetRow, Template::Constant(dataset)) = (self.event, &self.subject)
        else {
            return Ok(());
        };
        let word = if kind == DatasetRowKind::Opened { "opened" } else { "closed" };
        let parts = [self.tenant.as_str(), dataset, at.file, word].map(str::as_bytes);
        sink(Item::Event(Event::DatasetRow(DatasetRow {
            id: Id::of("dataset-row", &parts),
            tenant: &self.tenant,
            dataset,
            kind,
            file: "",
            line: 0,
            fields: Vec::new(),
            event_time: at.now,
            arrival_time: at.now,
            source: &self.source,
        })))
    }

    fn own_id(&self, kind: &str, own: &str) -> Id {
        Id::of(kind, &[self.tenant.as_bytes(), self.source.as_bytes(), own.as_bytes()])
    }

    fn line_id(&self, kind: &str, at: &Origin<'_>) -> Id {
        let line = at.line.to_be_bytes();
        let parts = [self.tenant.as_bytes(), self.source.as_bytes(), at.file.as_bytes(), &line];
        Id::of(kind, &parts)
    }
}

/// The event's time, or its arrival's if the mapping names none.
fn event_time(
    time: &Option<Template>,
    moments: &mut crate::moment::Moments,
    row: &Row<'_>,
    at: &Origin<'_>,
) -> Result<Micros, Fault> {
    match time {
        None => Ok(at.now),
        Some(time) => {
            let read = moments.read(time.render(row).trim());
            read.map_err(|e| Fault::new("time", e).of(time))
        }
    }
}
