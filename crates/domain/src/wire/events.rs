//! The codecs of the events. They borrow, and nothing here allocates but the lists of a listing and
//! of a data set's row.

use super::avro::{Reader, Text};
use super::{Fact, Fingerprint, WireError, put, whole};
use crate::event::{DatasetRow, DatasetRowKind, Listing, OrderRow, Reading, Swipe};
use crate::{Id, Micros};

impl<'a> Fact<'a> for Reading<'a> {
    const NAME: &'static str = "tocsin.Reading";
    const SCHEMA: &'static str = include_str!("../../../../schemas/reading.avsc");
    const FINGERPRINT: Fingerprint = 0xe01e_fdc0_3245_62b9_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, self.tenant);
        put::text(out, self.subject);
        put::text(out, self.measure);
        put::double(out, self.value);
        put::text(out, self.unit);
        put::text(out, self.averaging);
        put::text(out, self.place);
        put::micros(out, self.event_time);
        put::micros(out, self.arrival_time);
        put::text(out, self.source);
        put::text(out, self.origin);
    }

    fn take(r: &mut Reader<'a>) -> Result<Self, WireError> {
        RawReading::take(r).map(|raw| raw.reading())
    }
}

/// A reading whose texts are checked and not yet `str`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is the reading's of that name")]
pub struct RawReading<'a> {
    pub id: Id,
    pub tenant: Text<'a>,
    pub subject: Text<'a>,
    pub measure: Text<'a>,
    pub value: f64,
    pub unit: Text<'a>,
    pub averaging: Text<'a>,
    pub place: Text<'a>,
    pub event_time: Micros,
    pub arrival_time: Micros,
    pub source: Text<'a>,
    pub origin: Text<'a>,
}

impl<'a> RawReading<'a> {
    /// Reads the body of a reading; fails on whatever [`Reading`] fails on.
    pub fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        whole(body, Reading::MAX_BODY, Reading::NAME, Self::take)
    }

    #[inline(always)]
    fn take(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.text()?,
            subject: r.text()?,
            measure: r.text()?,
            value: r.double()?,
            unit: r.text()?,
            averaging: r.text()?,
            place: r.text()?,
            event_time: r.micros()?,
            arrival_time: r.micros()?,
            source: r.text()?,
            origin: r.text()?,
        })
    }

    /// The reading.
    pub fn reading(&self) -> Reading<'a> {
        Reading {
            id: self.id,
            tenant: self.tenant.as_str(),
            subject: self.subject.as_str(),
            measure: self.measure.as_str(),
            value: self.value,
            unit: self.unit.as_str(),
            averaging: self.averaging.as_str(),
            place: self.place.as_str(),
            event_time: self.event_time,
            arrival_time: self.arrival_time,
            source: self.source.as_str(),
            origin: self.origin.as_str(),
        }
    }
}

impl<'a> Fact<'a> for Listing<'a> {
    const NAME: &'static str = "tocsin.Listing";
    const SCHEMA: &'static str = include_str!("../../../../schemas/listing.avsc");
    const FINGERPRINT: Fingerprint = 0x5efd_687e_ca03_b0fe_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, self.tenant);
        put::text(out, self.listing);
        put::text(out, self.title);
        put::money(out, &self.price);
        put::option(out, self.units_sold, put::long);
        put::option(out, self.units_available, put::long);
        put::text(out, self.url);
        put::text(out, self.seller);
        put::items(out, &self.searches, |out, search| put::text(out, search));
        put::micros(out, self.event_time);
        put::micros(out, self.arrival_time);
        put::text(out, self.source);
        put::text(out, self.origin);
    }

    fn take(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.str()?,
            listing: r.str()?,
            title: r.str()?,
            price: r.money()?,
            units_sold: r.option(Reader::long)?,
            units_available: r.option(Reader::long)?,
            url: r.str()?,
            seller: r.str()?,
            searches: r.items(Reader::str)?,
            event_time: r.micros()?,
            arrival_time: r.micros()?,
            source: r.str()?,
            origin: r.str()?,
        })
    }
}

impl<'a> Fact<'a> for OrderRow<'a> {
    const NAME: &'static str = "tocsin.OrderRow";
    const SCHEMA: &'static str = include_str!("../../../../schemas/order_row.avsc");
    const FINGERPRINT: Fingerprint = 0x8d67_35d6_1fbb_1dcc_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, self.tenant);
        put::text(out, self.subject);
        put::text(out, self.order);
        put::text(out, self.title);
        put::money(out, &self.price);
        put::long(out, self.units);
        put::micros(out, self.event_time);
        put::micros(out, self.arrival_time);
        put::text(out, self.source);
        put::text(out, self.origin);
    }

    fn take(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.str()?,
            subject: r.str()?,
            order: r.str()?,
            title: r.str()?,
            price: r.money()?,
            units: r.long()?,
            event_time: r.micros()?,
            arrival_time: r.micros()?,
            source: r.str()?,
            origin: r.str()?,
        })
    }
}

/// In the order of the schema's symbols.
const KINDS: [DatasetRowKind; 3] =
    [DatasetRowKind::Opened, DatasetRowKind::Row, DatasetRowKind::Closed];

impl<'a> Fact<'a> for DatasetRow<'a> {
    const NAME: &'static str = "tocsin.DatasetRow";
    const SCHEMA: &'static str = include_str!("../../../../schemas/dataset_row.avsc");
    const FINGERPRINT: Fingerprint = 0x42fa_0069_6704_cbb9_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, self.tenant);
        put::text(out, self.dataset);
        put::long(out, self.kind as i64);
        put::text(out, self.file);
        put::long(out, self.line);
        put::items(out, &self.fields, |out, (name, value)| {
            put::text(out, name);
            put::text(out, value);
        });
        put::micros(out, self.event_time);
        put::micros(out, self.arrival_time);
        put::text(out, self.source);
    }

    fn take(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.str()?,
            dataset: r.str()?,
            kind: r.symbol(&KINDS)?,
            file: r.str()?,
            line: r.long()?,
            fields: r.items(|r| Ok((r.str()?, r.str()?)))?,
            event_time: r.micros()?,
            arrival_time: r.micros()?,
            source: r.str()?,
        })
    }
}

impl<'a> Fact<'a> for Swipe<'a> {
    const NAME: &'static str = "tocsin.Swipe";
    const SCHEMA: &'static str = include_str!("../../../../schemas/swipe.avsc");
    const FINGERPRINT: Fingerprint = 0x925e_942d_6def_049b_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, self.tenant);
        put::text(out, self.from);
        put::text(out, self.to);
        put::boolean(out, self.liked);
        put::micros(out, self.event_time);
        put::micros(out, self.arrival_time);
        put::text(out, self.source);
        put::text(out, self.origin);
    }

    fn take(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.str()?,
            from: r.str()?,
            to: r.str()?,
            liked: r.boolean()?,
            event_time: r.micros()?,
            arrival_time: r.micros()?,
            source: r.str()?,
            origin: r.str()?,
        })
    }
}
