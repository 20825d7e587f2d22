//! Decides about each delivery: requested, attempted, tried again, given up. Notices and the
//! outcomes of attempts in, facts about deliveries out. A pure state machine: it sends nothing,
//! reads no clock and draws no randomness.

use crate::pending::Pending;
use crate::retry::Retry;
use std::collections::HashMap;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::notice::Notice;
use tocsin_domain::subscriber::{Subscriber, check_address};
use tocsin_domain::wire::{SchemaIds, read_owned};
use tocsin_domain::{Id, Micros, topics};
use tocsin_stream::state::Store;
use tocsin_stream::step::Ring;
use tocsin_stream::topology::{Scope, Table};
use tocsin_stream::{Effects, Poison, Record, Step, Topology};

/// What `deliver` reads, keeps and publishes.
pub fn topology() -> Topology {
    Topology {
        service: "deliver",
        does: "decides when who is written to, and again",
        inputs: vec![topics::NOTICES, topics::DELIVERIES],
        tables: vec![Table { topic: topics::SUBSCRIBERS, scope: Scope::CoPartitioned }],
        changelog: Some(topics::NOTIFY_DELIVERIES_CHANGELOG),
        outputs: vec![topics::DELIVERIES],
        foreign: None,
    }
}

/// How deliveries are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What stands behind the `@` of every Message-ID: a host name.
    pub mail_domain: String,
    /// When to try again and when to give up.
    pub retry: Retry,
}

/// When a notice shall be told. Consent, digests and quiet hours will answer here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Now.
    AtOnce,
}

/// When `notice` shall be told to `subscriber`.
pub fn due(_notice: &Notice, _subscriber: &Subscriber, _now: Micros) -> When {
    When::AtOnce
}

/// The id of the delivery that tells these notices through `channel`.
pub fn delivery_id(channel: &str, notices: &[Id]) -> Id {
    let notices = notices.iter().map(|id| &id.as_bytes()[..]);
    Id::of("delivery", &std::iter::once(channel.as_bytes()).chain(notices).collect::<Vec<_>>())
}

/// What is first said about the delivery of a notice: requested, suppressed or refused.
fn open(notice: Notice, subscriber: Option<&Subscriber>, now: Micros, domain: &str) -> Delivery {
    let id = delivery_id(&notice.channel, &[notice.id]);
    let mut delivery = Delivery {
        id,
        tenant: notice.tenant.clone(),
        subscriber: notice.subscriber,
        channel: notice.channel.clone(),
        state: DeliveryState::Suppressed,
        attempt: 0,
        at: now,
        message_id: format!("{id}@{domain}"),
        address: String::new(),
        name: String::new(),
        time_zone: String::new(),
        notices: Vec::new(),
        reason: String::new(),
        next_attempt_at: None,
    };
    match subscriber {
        None => delivery.reason = "no such subscriber".to_owned(),
        Some(known) if !known.active => delivery.reason = "the subscriber is not active".to_owned(),
        Some(known) => match check_address(&known.email) {
            Err(fault) => {
                delivery.state = DeliveryState::Refused;
                delivery.reason = format!("the address {fault}");
            }
            Ok(()) => match due(&notice, known, now) {
                When::AtOnce => {
                    delivery.state = DeliveryState::Requested;
                    delivery.address.clone_from(&known.email);
                    delivery.name.clone_from(&known.name);
                    delivery.time_zone.clone_from(&known.time_zone);
                    delivery.notices = vec![notice];
                }
            },
        },
    }
    delivery
}

/// The key of a delivery's state.
fn state_key(delivery: &Delivery) -> String {
    format!("{}/{}", delivery.key(), delivery.id)
}

fn publish(effects: &mut Effects, fact: &Delivery) {
    effects.publish(0, fact.key().as_bytes(), fact);
}

/// The step of [`topology`].
#[derive(Debug)]
pub struct DeliverStep {
    subscribers: HashMap<Box<[u8]>, Subscriber>,
    options: Options,
    ids: SchemaIds,
}

impl DeliverStep {
    /// A step that knows no subscriber yet and reads these schema ids beside single-object frames.
    pub fn new(options: Options, ids: SchemaIds) -> DeliverStep {
        DeliverStep { subscribers: HashMap::new(), options, ids }
    }

    fn on_notice(
        &self,
        notice: Notice,
        now: Micros,
        store: &mut Store<Pending>,
        effects: &mut Effects,
    ) {
        let subscriber = self.subscribers.get(notice.key().as_bytes());
        let first = open(notice, subscriber, now, &self.options.mail_domain);
        let key = state_key(&first);
        if store.get(key.as_bytes()).is_some_and(Pending::is_open) {
            return effects.duplicate();
        }
        publish(effects, &first);
        if first.state == DeliveryState::Requested {
            let (pending, attempt) = Pending::begin(first, now);
            publish(effects, &attempt);
            *store.change(key.as_bytes()) = pending;
        }
    }

    fn on_outcome(
        &self,
        fact: &Delivery,
        now: Micros,
        store: &mut Store<Pending>,
        effects: &mut Effects,
    ) {
        let key = state_key(fact);
        if !store.get(key.as_bytes()).is_some_and(|pending| pending.awaits(fact)) {
            return;
        }
        let pending = store.change(key.as_bytes());
        if let Some(end) = pending.on_outcome(fact, now, &self.options.retry) {
            publish(effects, &end);
        }
    }
}

impl Step for DeliverStep {
    type State = Pending;
    type Write = ();

    fn on_record(
        &mut self,
        record: &Record<'_>,
        now: Micros,
        store: &mut Store<Pending>,
        effects: &mut Effects,
    ) -> Result<(), Poison> {
        let Some(value) = record.value else { return Ok(()) };
        if &**record.topic == topics::NOTICES {
            self.on_notice(read_owned(value, &self.ids)?, now, store, effects);
        } else {
            self.on_outcome(&read_owned(value, &self.ids)?, now, store, effects);
        }
        Ok(())
    }

    fn on_wake(&mut self, ring: Ring<'_>, store: &mut Store<Pending>, effects: &mut Effects) {
        if let Some(attempt) = store.change(ring.key).on_wake(ring.now) {
            publish(effects, &attempt);
        }
    }

    fn learn(&mut self, id: u32, schema: &str) -> Result<(), Poison> {
        Ok(self.ids.learn(id, schema)?)
    }

    fn on_table(&mut self, _: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), Poison> {
        match value {
            Some(value) => {
                self.subscribers.insert(key.into(), read_owned(value, &self.ids)?);
            }
            None => {
                self.subscribers.remove(key);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{NOON, notice, subscriber};
    use tocsin_domain::alert::AlertState::Raised;
    use tocsin_domain::topics::Topics;

    #[test]
    fn the_topology_is_sound() {
        assert_eq!(topology().problems(Topics::builtin()), Vec::<String>::new());
    }

    #[test]
    fn who_is_written_to() {
        let ada = subscriber("ada@example.org");
        let asleep = Subscriber { active: false, ..ada.clone() };
        let bad =
            Subscriber { email: "ada@example.org\r\nBcc: eve@example.org".into(), ..ada.clone() };
        for (subscriber, state, reason) in [
            (Some(&ada), DeliveryState::Requested, ""),
            (None, DeliveryState::Suppressed, "no such subscriber"),
            (Some(&asleep), DeliveryState::Suppressed, "not active"),
            (Some(&bad), DeliveryState::Refused, "control character"),
        ] {
            let first = open(notice("ada@example.org", Raised), subscriber, NOON, "example.org");
            assert_eq!(first.state, state);
            assert!(first.reason.contains(reason), "{}", first.reason);
            assert_eq!(first.message_id, format!("{}@example.org", first.id));
            assert_eq!(first.notices.len(), usize::from(state == DeliveryState::Requested));
        }
    }

    #[test]
    fn a_delivery_is_known_by_its_channel_and_notices() {
        let (a, b) = (Id::of("notice", &[b"a"]), Id::of("notice", &[b"b"]));
        assert_eq!(delivery_id("email", &[a]), delivery_id("email", &[a]));
        assert_ne!(delivery_id("email", &[a]), delivery_id("webhook", &[a]));
        assert_ne!(delivery_id("email", &[a]), delivery_id("email", &[a, b]));
    }
}
