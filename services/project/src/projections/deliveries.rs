//! Facts about deliveries → what was asked, how it stands, all that happened, and who got what
//! when. The rows are the same in whatever order the facts are read.

use crate::projection::Projection;
use crate::tables::{
    DAYS, DELIVERIES_BY_DAY, DELIVERIES_BY_MESSAGE_ID, DELIVERIES_BY_SUBSCRIBER, DELIVERIES_LOG,
    DELIVERY_DAYS, MAILS,
};
use crate::totals::Totals;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::topics::DELIVERIES;
use tocsin_domain::wire::{SchemaIds, read_owned};
use tocsin_store::{TableSpec, Write};
use tocsin_stream::Poison;

/// See the module.
#[derive(Debug)]
pub struct Deliveries;

impl Projection for Deliveries {
    fn topic(&self) -> &'static str {
        DELIVERIES
    }

    fn tables(&self) -> &'static [&'static TableSpec] {
        const {
            &[
                &MAILS,
                &DELIVERIES_BY_MESSAGE_ID,
                &DELIVERIES_LOG,
                &DELIVERIES_BY_SUBSCRIBER,
                &DELIVERIES_BY_DAY,
            ]
        }
    }

    fn project(
        &self,
        fact: &[u8],
        ids: &SchemaIds,
        _totals: Totals<'_>,
        out: &mut Vec<Write>,
    ) -> Result<(), Poison> {
        let delivery: Delivery = read_owned(fact, ids)?;
        // Before anything is appended: this is what can fail.
        let json = super::json(&delivery)?;
        if delivery.state == DeliveryState::Requested {
            requested(&delivery, json, out);
        }
        happened(&delivery, out);
        Ok(())
    }
}

/// The rows that stand from the beginning and never change.
fn requested(delivery: &Delivery, json: String, out: &mut Vec<Write>) {
    let message_id = || delivery.message_id.as_str().into();
    let (tenant, subscriber) = (delivery.tenant.as_str(), delivery.subscriber.to_string());
    let (at, day) = (delivery.at, delivery.at.date());
    let mail = [
        message_id(),
        delivery.id.to_string().into(),
        tenant.into(),
        subscriber.clone().into(),
        at.into(),
        json.into(),
    ];
    let for_one = [tenant.into(), subscriber.into(), at.into(), message_id()];
    let of_day = [tenant.into(), day.as_str().into(), at.into(), message_id()];
    out.push(Write::new(&MAILS, at.0, mail));
    out.push(Write::new(&DELIVERIES_BY_SUBSCRIBER, at.0, for_one));
    out.push(Write::new(&DELIVERIES_BY_DAY, at.0, of_day));
    out.push(Write::new(&DAYS, 0, [tenant.into(), DELIVERY_DAYS.into(), day.into()]));
}

fn happened(delivery: &Delivery, out: &mut Vec<Write>) {
    let message_id = || delivery.message_id.as_str().into();
    let (attempt, phase) = (i64::from(delivery.attempt), phase(delivery.state));
    let state = delivery.state.as_str();
    let now = [
        message_id(),
        delivery.id.to_string().into(),
        delivery.tenant.as_str().into(),
        delivery.subscriber.to_string().into(),
        delivery.channel.as_str().into(),
        state.into(),
        attempt.into(),
        delivery.at.into(),
        delivery.reason.as_str().into(),
        delivery.next_attempt_at.into(),
    ];
    let entry = [
        message_id(),
        attempt.into(),
        phase.into(),
        delivery.at.into(),
        state.into(),
        delivery.reason.as_str().into(),
        delivery.next_attempt_at.into(),
    ];
    out.push(Write::new(&DELIVERIES_BY_MESSAGE_ID, version(delivery), now));
    out.push(Write::new(&DELIVERIES_LOG, delivery.at.0, entry));
}

/// What decides between two facts about one delivery is not whose clock was ahead: a final state
/// wins, then the later attempt, then what comes later within one. Only then the clock.
fn version(delivery: &Delivery) -> (i64, i64) {
    let last = i64::from(delivery.state.is_final());
    let stage = last << 48 | i64::from(delivery.attempt.max(0)) << 8 | phase(delivery.state);
    (stage, delivery.at.0)
}

/// The order within one attempt. `sent` stands above every other: it cannot be undone.
fn phase(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Requested => 0,
        DeliveryState::Attempt => 1,
        DeliveryState::Deferred => 2,
        DeliveryState::Unknown => 3,
        DeliveryState::Suppressed => 4,
        DeliveryState::Expired => 5,
        DeliveryState::Refused => 6,
        DeliveryState::Sent => 7,
    }
}
