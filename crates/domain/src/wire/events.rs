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
pub struct RawReading<'a> {
    /// [`Reading::id`].
    pub id: Id,
    /// [`Reading::tenant`].
    pub tenant: Text<'a>,
    /// [`Reading::subject`].
    pub subject: Text<'a>,
    /// [`Reading::measure`].
    pub measure: Text<'a>,
    /// [`Reading::value`].
    pub value: f64,
    /// [`Reading::unit`].
    pub unit: Text<'a>,
    /// [`Reading::averaging`].
    pub averaging: Text<'a>,
    /// [`Reading::place`].
    pub place: Text<'a>,
    /// [`Reading::event_time`].
    pub event_time: Micros,
    /// [`Reading::arrival_time`].
    pub arrival_time: Micros,
    /// [`Reading::source`].
    pub source: Text<'a>,
    /// [`Reading::origin`].
    pub origin: Text<'a>,
}

impl<'a> RawReading<'a> {
    /// Reads the body of a reading; fails on whatever [`Reading`] fails on. Inlined, so that its many
    /// fields are written once, where they are used.
    #[inline(always)]
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

impl<'a> From<Reading<'a>> for RawReading<'a> {
    fn from(reading: Reading<'a>) -> Self {
        Self {
            id: reading.id,
            tenant: reading.tenant.into(),
            subject: reading.subject.into(),
            measure: reading.measure.into(),
            value: reading.value,
            unit: reading.unit.into(),
            averaging: reading.averaging.into(),
            place: reading.place.into(),
            event_time: reading.event_time,
            arrival_time: reading.arrival_time,
            source: reading.source.into(),
            origin: reading.origin.into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_reading_is_the_reading_and_fails_where_it_fails() {
        let reading = Reading {
            id: Id::of("reading", &[]),
            tenant: "default",
            subject: "Köln",
            measure: "pm25",
            value: 35.4,
            unit: "ug/m3",
            averaging: "",
            place: "Köln, Dom",
            event_time: Micros(1_714_521_600_000_000),
            arrival_time: Micros(-1),
            source: "test",
            origin: "file.csv:7",
        };
        let mut body = Vec::new();
        reading.encode(&mut body);
        assert_eq!(RawReading::decode(&body), Ok(reading.into()));
        assert_eq!(RawReading::from(reading).reading(), reading);
        for at in 0..body.len() {
            assert!(RawReading::decode(&body[..at]).is_err(), "cut at {at}");
            let mut bad = body.clone();
            bad[at] = 0xff;
            let raw = RawReading::decode(&bad).map(|raw| raw.reading());
            assert_eq!(raw, Reading::decode(&bad), "{at}");
        }
    }
}
