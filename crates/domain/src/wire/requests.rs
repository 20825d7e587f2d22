//! The codecs of what is asked for: conditions, watches, subscribers. Rare facts, so they own their
//! text.

use super::avro::Reader;
use super::outcomes::ALERT_STATES;
use super::{Fact, Fingerprint, WireError, put};
use crate::condition::Condition;
use crate::subscriber::Subscriber;
use crate::watch::{Ask, Watch};

impl Fact<'_> for Subscriber {
    const NAME: &'static str = "tocsin.Subscriber";
    const SCHEMA: &'static str = include_str!("../../../../schemas/subscriber.avsc");
    const FINGERPRINT: Fingerprint = 0xf04e_d634_7a7b_7755_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, &self.tenant);
        put::text(out, &self.email);
        put::text(out, &self.name);
        put::text(out, &self.time_zone);
        put::boolean(out, self.active);
        put::micros(out, self.created_at);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.string()?,
            email: r.string()?,
            name: r.string()?,
            time_zone: r.string()?,
            active: r.boolean()?,
            created_at: r.micros()?,
        })
    }
}

impl Fact<'_> for Watch {
    const NAME: &'static str = "tocsin.Watch";
    const SCHEMA: &'static str = include_str!("../../../../schemas/watch.avsc");
    const FINGERPRINT: Fingerprint = 0x31bc_282d_a1bb_67a7_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, &self.tenant);
        put::id(out, self.subscriber);
        put::id(out, self.condition);
        put::text(out, &self.subject);
        put::text(out, &self.channel);
        put::text(out, &self.schedule);
        put::items(out, &self.on, |out, state| put::long(out, *state as i64));
        put::boolean(out, self.active);
        put::micros(out, self.created_at);
        put::option(out, self.asks.as_ref(), |out, asks| {
            put::text(out, &asks.source);
            put::text(out, &asks.search);
            put::option(out, asks.every, |out, every| put::long(out, every as i64));
        });
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.string()?,
            subscriber: r.id()?,
            condition: r.id()?,
            subject: r.string()?,
            channel: r.string()?,
            schedule: r.string()?,
            on: r.items(|r| r.symbol(&ALERT_STATES))?,
            active: r.boolean()?,
            created_at: r.micros()?,
            asks: r.option(|r| {
                Ok(Ask {
                    source: r.string()?,
                    search: r.string()?,
                    every: r.option(Reader::count)?,
                })
            })?,
        })
    }
}

impl Fact<'_> for Condition {
    const NAME: &'static str = "tocsin.Condition";
    const SCHEMA: &'static str = include_str!("../../../../schemas/condition.avsc");
    const FINGERPRINT: Fingerprint = 0x9315_80bb_bf23_650c_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, &self.tenant);
        put::text(out, &self.name);
        put::text(out, &self.detector);
        put::text(out, &self.subject);
        put::text(out, &self.params);
        put::text(out, &self.version);
        put::boolean(out, self.active);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.string()?,
            name: r.string()?,
            detector: r.string()?,
            subject: r.string()?,
            params: r.string()?,
            version: r.string()?,
            active: r.boolean()?,
        })
    }
}
