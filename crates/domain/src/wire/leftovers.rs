//! The codecs of what was put aside: dead letters and late events, with the original bytes.

use super::avro::{self, Reader};
use super::outcomes::{put_position, take_position};
use super::{Fact, Fingerprint, WireError, put};
use crate::dead_letter::{DeadDecision, DeadLetter, LateEvent};

/// A record of the largest size and what is said about it.
const MAX_BODY: usize = 2 * avro::MAX_BODY;

impl Fact<'_> for DeadLetter {
    const NAME: &'static str = "tocsin.DeadLetter";
    const SCHEMA: &'static str = include_str!("../../../../schemas/dead_letter.avsc");
    const FINGERPRINT: Fingerprint = 0x9464_64f2_a96a_ad2c_u64.to_le_bytes();
    const MAX_BODY: usize = MAX_BODY;

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, &self.topic);
        put::option(out, self.position.as_ref(), put_position);
        put::text(out, &self.origin);
        put::bytes(out, &self.key);
        put::bytes(out, &self.value);
        put::text(out, &self.class);
        put::text(out, &self.reason);
        put::text(out, &self.service);
        put::micros(out, self.at);
        put::text(out, &self.source);
        put::bytes(out, &self.head);
        put::boolean(out, self.cut);
        put::text(out, &self.search);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            topic: r.string()?,
            position: r.option(take_position)?,
            origin: r.string()?,
            key: r.bytes()?.to_vec(),
            value: r.bytes()?.to_vec(),
            class: r.string()?,
            reason: r.string()?,
            service: r.string()?,
            at: r.micros()?,
            source: r.string()?,
            head: r.bytes()?.to_vec(),
            cut: r.boolean()?,
            search: r.string()?,
        })
    }
}

impl Fact<'_> for DeadDecision {
    const NAME: &'static str = "tocsin.DeadDecision";
    const SCHEMA: &'static str = include_str!("../../../../schemas/dead_decision.avsc");
    const FINGERPRINT: Fingerprint = 0x2277_7719_bce3_8c01_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.letter);
        put::text(out, &self.verdict);
        put::text(out, &self.reason);
        put::text(out, &self.topic);
        put::items(out, &self.written, |out, id| put::id(out, *id));
        put::items(out, &self.present, |out, id| put::id(out, *id));
        put::text(out, &self.by);
        put::micros(out, self.at);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            letter: r.id()?,
            verdict: r.string()?,
            reason: r.string()?,
            topic: r.string()?,
            written: r.items(Reader::id)?,
            present: r.items(Reader::id)?,
            by: r.string()?,
            at: r.micros()?,
        })
    }
}

impl Fact<'_> for LateEvent {
    const NAME: &'static str = "tocsin.LateEvent";
    const SCHEMA: &'static str = include_str!("../../../../schemas/late_event.avsc");
    const FINGERPRINT: Fingerprint = 0xcdd8_75bf_0abe_0706_u64.to_le_bytes();
    const MAX_BODY: usize = MAX_BODY;

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put_position(out, &self.position);
        put::bytes(out, &self.value);
        put::micros(out, self.event_time);
        put::micros(out, self.watermark);
        put::micros(out, self.at);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            position: take_position(r)?,
            value: r.bytes()?.to_vec(),
            event_time: r.micros()?,
            watermark: r.micros()?,
            at: r.micros()?,
        })
    }
}
