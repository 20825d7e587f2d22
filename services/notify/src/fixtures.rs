//! Facts that the tests of this crate begin with.

use tocsin_domain::alert::{Alert, AlertState, Evidence};
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::notice::Notice;
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::watch::Watch;
use tocsin_domain::{Id, Micros};

/// 2023-06-07T12:00:00Z.
pub const NOON: Micros = Micros(1_686_139_200_000_000);

/// PM2.5 in Fairhope.
pub fn alert(state: AlertState) -> Alert {
    let id = |kind| Id::of(kind, &[b"test"]);
    Alert {
        id: Id::of("alert", &[state.as_str().as_bytes()]),
        tenant: "default".into(),
        episode: id("episode"),
        state,
        condition: Id::of("condition", &[b"pm25-unhealthy"]),
        condition_name: "pm25-unhealthy".into(),
        condition_version: "0123abcd".into(),
        detector: "threshold".into(),
        subject: "fairhope".into(),
        measure: "pm25".into(),
        place: "Fairhope".into(),
        event_time: NOON,
        detected_at: NOON,
        value: "162".into(),
        unit: "AQI-US".into(),
        limit: "100".into(),
        band: "Unhealthy".into(),
        evidence: Evidence::default(),
    }
}

/// A wish of whoever has the address.
pub fn watch(email: &str, subject: &str, on: &[AlertState]) -> Watch {
    let (subscriber, condition) = (subscriber(email).id, alert(AlertState::Raised).condition);
    Watch {
        id: Watch::id_of("default", subscriber, condition, subject, "email", None),
        tenant: "default".into(),
        subscriber,
        condition,
        subject: subject.into(),
        channel: "email".into(),
        schedule: "at-once".into(),
        on: on.to_vec(),
        active: true,
        created_at: Micros(0),
        asks: None,
    }
}

/// Somebody.
pub fn subscriber(email: &str) -> Subscriber {
    Subscriber {
        id: Subscriber::id_of("default", email),
        tenant: "default".into(),
        email: email.into(),
        name: "Ada".into(),
        time_zone: "Europe/Berlin".into(),
        active: true,
        created_at: Micros(0),
    }
}

/// The alert met with a watch of all subjects.
pub fn notice(email: &str, state: AlertState) -> Notice {
    let (alert, watch) = (alert(state), watch(email, "*", &[state]));
    Notice {
        id: Notice::id_of(alert.id, watch.id),
        tenant: "default".into(),
        subscriber: watch.subscriber,
        watch: watch.id,
        channel: "email".into(),
        alert,
        at: NOON,
    }
}

/// A delivery of that notice, as `deliver` requests it.
pub fn requested(email: &str) -> Delivery {
    let notice = notice(email, AlertState::Raised);
    let id = crate::deliver::delivery_id("email", &[notice.id]);
    Delivery {
        id,
        tenant: "default".into(),
        subscriber: notice.subscriber,
        channel: "email".into(),
        state: DeliveryState::Requested,
        attempt: 0,
        at: NOON,
        message_id: format!("{id}@tocsin.example"),
        address: email.into(),
        name: "Ada".into(),
        time_zone: "Europe/Berlin".into(),
        notices: vec![notice],
        reason: String::new(),
        next_attempt_at: None,
    }
}
