//! The codecs of what comes out: alerts, notices, deliveries. A notice holds its alert whole and a
//! delivery its notices, with the same bytes as on their own.

use super::avro::Reader;
use super::{Fact, Fingerprint, WireError, put};
use crate::Position;
use crate::alert::{Alert, AlertState, Evidence};
use crate::delivery::{Delivery, DeliveryState};
use crate::notice::Notice;

/// In the order of the schema's symbols.
pub(super) const ALERT_STATES: [AlertState; 3] =
    [AlertState::Raised, AlertState::Updated, AlertState::Cleared];

/// In the order of the schema's symbols.
const DELIVERY_STATES: [DeliveryState; 8] = [
    DeliveryState::Requested,
    DeliveryState::Attempt,
    DeliveryState::Sent,
    DeliveryState::Refused,
    DeliveryState::Deferred,
    DeliveryState::Unknown,
    DeliveryState::Suppressed,
    DeliveryState::Expired,
];

pub(super) fn put_position(out: &mut Vec<u8>, position: &Position) {
    put::text(out, &position.topic);
    put::long(out, i64::from(position.partition));
    put::long(out, position.offset as i64);
}

pub(super) fn take_position(r: &mut Reader<'_>) -> Result<Position, WireError> {
    Ok(Position { topic: r.string()?, partition: r.count()?, offset: r.count()? })
}

fn put_evidence(out: &mut Vec<u8>, evidence: &Evidence) {
    put::items(out, &evidence.positions, put_position);
    put::items(out, &evidence.figures, |out, (name, figure)| {
        put::text(out, name);
        put::text(out, figure);
    });
    put::text(out, &evidence.before);
    put::text(out, &evidence.after);
}

fn take_evidence(r: &mut Reader<'_>) -> Result<Evidence, WireError> {
    Ok(Evidence {
        positions: r.items(take_position)?,
        figures: r.items(|r| Ok((r.string()?, r.string()?)))?.into_iter().collect(),
        before: r.string()?,
        after: r.string()?,
    })
}

impl Fact<'_> for Alert {
    const NAME: &'static str = "tocsin.Alert";
    const SCHEMA: &'static str = include_str!("../../../../schemas/alert.avsc");
    const FINGERPRINT: Fingerprint = 0xd66e_fbd2_450e_f9c1_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, &self.tenant);
        put::id(out, self.episode);
        put::long(out, self.state as i64);
        put::id(out, self.condition);
        put::text(out, &self.condition_name);
        put::text(out, &self.condition_version);
        put::text(out, &self.detector);
        put::text(out, &self.subject);
        put::text(out, &self.measure);
        put::text(out, &self.place);
        put::micros(out, self.event_time);
        put::micros(out, self.detected_at);
        put::text(out, &self.value);
        put::text(out, &self.unit);
        put::text(out, &self.limit);
        put::text(out, &self.band);
        put_evidence(out, &self.evidence);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.string()?,
            episode: r.id()?,
            state: r.symbol(&ALERT_STATES)?,
            condition: r.id()?,
            condition_name: r.string()?,
            condition_version: r.string()?,
            detector: r.string()?,
            subject: r.string()?,
            measure: r.string()?,
            place: r.string()?,
            event_time: r.micros()?,
            detected_at: r.micros()?,
            value: r.string()?,
            unit: r.string()?,
            limit: r.string()?,
            band: r.string()?,
            evidence: take_evidence(r)?,
        })
    }
}

impl Fact<'_> for Notice {
    const NAME: &'static str = "tocsin.Notice";
    const SCHEMA: &'static str = include_str!("../../../../schemas/notice.avsc");
    const FINGERPRINT: Fingerprint = 0xf4f6_bf56_54fd_0eec_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, &self.tenant);
        put::id(out, self.subscriber);
        put::id(out, self.watch);
        put::text(out, &self.channel);
        self.alert.encode(out);
        put::micros(out, self.at);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.string()?,
            subscriber: r.id()?,
            watch: r.id()?,
            channel: r.string()?,
            alert: Alert::take(r)?,
            at: r.micros()?,
        })
    }
}

impl Fact<'_> for Delivery {
    const NAME: &'static str = "tocsin.Delivery";
    const SCHEMA: &'static str = include_str!("../../../../schemas/delivery.avsc");
    const FINGERPRINT: Fingerprint = 0x7723_c03d_2490_32ab_u64.to_le_bytes();

    fn encode(&self, out: &mut Vec<u8>) {
        put::id(out, self.id);
        put::text(out, &self.tenant);
        put::id(out, self.subscriber);
        put::text(out, &self.channel);
        put::long(out, self.state as i64);
        put::long(out, i64::from(self.attempt));
        put::micros(out, self.at);
        put::text(out, &self.message_id);
        put::text(out, &self.address);
        put::text(out, &self.name);
        put::text(out, &self.time_zone);
        put::items(out, &self.notices, |out, notice| notice.encode(out));
        put::text(out, &self.reason);
        put::option(out, self.next_attempt_at, put::micros);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: r.id()?,
            tenant: r.string()?,
            subscriber: r.id()?,
            channel: r.string()?,
            state: r.symbol(&DELIVERY_STATES)?,
            attempt: r.int()?,
            at: r.micros()?,
            message_id: r.string()?,
            address: r.string()?,
            name: r.string()?,
            time_zone: r.string()?,
            notices: r.items(Notice::take)?,
            reason: r.string()?,
            next_attempt_at: r.option(Reader::micros)?,
        })
    }
}
