//! Facts of every kind from one handful of random parts.

use proptest::prelude::*;
use rust_decimal::Decimal;
use tocsin_domain::alert::{Alert, AlertState, Evidence};
use tocsin_domain::condition::Condition;
use tocsin_domain::dead_letter::{DeadDecision, DeadLetter, LateEvent};
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::event::{DatasetRow, DatasetRowKind, Listing, OrderRow, Reading, Swipe};
use tocsin_domain::notice::Notice;
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::watch::{Ask, Watch};
use tocsin_domain::{Currency, Id, Micros, Money, Position};

#[derive(Clone, Debug, Default)]
pub struct Seed {
    pub texts: [String; 8],
    longs: [i64; 4],
    id: [u8; 16],
    value: f64,
    mantissa: i64,
    scale: u32,
    choice: usize,
    flag: bool,
    bytes: Vec<u8>,
}

pub fn seed() -> impl Strategy<Value = Seed> {
    let texts = prop::array::uniform8(".{0,40}");
    let value = prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::NEGATIVE;
    let numbers = (any::<[i64; 4]>(), any::<[u8; 16]>(), value, any::<i64>(), 0..=6u32);
    let rest = (0..24usize, any::<bool>(), prop::collection::vec(any::<u8>(), 0..60));
    (texts, numbers, rest).prop_map(|(texts, numbers, (choice, flag, bytes))| {
        let (longs, id, value, mantissa, scale) = numbers;
        Seed { texts, longs, id, value, mantissa, scale, choice, flag, bytes }
    })
}

impl Seed {
    fn text(&self, i: usize) -> &str {
        &self.texts[i % 8]
    }

    fn owned(&self, i: usize) -> String {
        self.text(i).to_owned()
    }

    fn id(&self, i: u8) -> Id {
        let mut id = self.id;
        id[0] ^= i;
        Id::from_bytes(id)
    }

    fn time(&self, i: usize) -> Micros {
        Micros(self.longs[i])
    }

    fn price(&self) -> Money {
        let amount = Decimal::new(self.mantissa, self.scale);
        Money { amount, currency: Currency::parse("EUR").unwrap() }
    }

    fn position(&self) -> Position {
        Position {
            topic: self.owned(3),
            partition: self.longs[0] as u32,
            offset: (self.longs[1] & i64::MAX) as u64,
        }
    }

    pub fn reading(&self) -> Reading<'_> {
        Reading {
            id: self.id(0),
            tenant: self.text(0),
            subject: self.text(1),
            measure: self.text(2),
            value: self.value,
            unit: self.text(3),
            averaging: self.text(4),
            place: self.text(5),
            event_time: self.time(0),
            arrival_time: self.time(1),
            source: self.text(6),
            origin: self.text(7),
        }
    }

    pub fn listing(&self) -> Listing<'_> {
        Listing {
            id: self.id(0),
            tenant: self.text(0),
            listing: self.text(1),
            title: self.text(2),
            price: self.price(),
            units_sold: self.flag.then_some(self.longs[2]),
            units_available: (!self.flag).then_some(self.longs[3]),
            url: self.text(3),
            seller: self.text(4),
            searches: self.texts.iter().take(self.choice % 4).map(String::as_str).collect(),
            event_time: self.time(0),
            arrival_time: self.time(1),
            source: self.text(6),
            origin: self.text(7),
        }
    }

    pub fn order_row(&self) -> OrderRow<'_> {
        OrderRow {
            id: self.id(0),
            tenant: self.text(0),
            subject: self.text(1),
            order: self.text(2),
            title: self.text(3),
            price: self.price(),
            units: self.longs[2],
            event_time: self.time(0),
            arrival_time: self.time(1),
            source: self.text(6),
            origin: self.text(7),
        }
    }

    pub fn dataset_row(&self) -> DatasetRow<'_> {
        use DatasetRowKind::{Closed, Opened, Row};
        let pair = |i| (self.text(i), self.text(i + 1));
        DatasetRow {
            id: self.id(0),
            tenant: self.text(0),
            dataset: self.text(1),
            kind: [Opened, Row, Closed][self.choice % 3],
            file: self.text(2),
            line: self.longs[2],
            fields: (0..self.choice).map(pair).collect(),
            event_time: self.time(0),
            arrival_time: self.time(1),
            source: self.text(6),
        }
    }

    pub fn swipe(&self) -> Swipe<'_> {
        Swipe {
            id: self.id(0),
            tenant: self.text(0),
            from: self.text(1),
            to: self.text(2),
            liked: self.flag,
            event_time: self.time(0),
            arrival_time: self.time(1),
            source: self.text(6),
            origin: self.text(7),
        }
    }

    pub fn subscriber(&self) -> Subscriber {
        Subscriber {
            id: self.id(0),
            tenant: self.owned(0),
            email: self.owned(1),
            name: self.owned(2),
            time_zone: self.owned(3),
            active: self.flag,
            created_at: self.time(0),
        }
    }

    pub fn watch(&self) -> Watch {
        Watch {
            id: self.id(0),
            tenant: self.owned(0),
            subscriber: self.id(1),
            condition: self.id(2),
            subject: self.owned(1),
            channel: self.owned(2),
            schedule: self.owned(3),
            on: (0..self.choice % 4).map(|i| self.alert_state(i)).collect(),
            active: self.flag,
            created_at: self.time(0),
            asks: (!self.choice.is_multiple_of(3)).then(|| Ask {
                source: self.owned(4),
                search: self.owned(5),
                every: self.flag.then_some(self.scale.into()),
            }),
        }
    }

    pub fn condition(&self) -> Condition {
        Condition {
            id: self.id(0),
            tenant: self.owned(0),
            name: self.owned(1),
            detector: self.owned(2),
            subject: self.owned(3),
            params: self.owned(4),
            version: self.owned(5),
            active: self.flag,
        }
    }

    fn alert_state(&self, i: usize) -> AlertState {
        [AlertState::Raised, AlertState::Updated, AlertState::Cleared][(self.choice + i) % 3]
    }

    pub fn alert(&self) -> Alert {
        Alert {
            id: self.id(0),
            tenant: self.owned(0),
            episode: self.id(1),
            state: self.alert_state(0),
            condition: self.id(2),
            condition_name: self.owned(1),
            condition_version: self.owned(2),
            detector: self.owned(3),
            subject: self.owned(4),
            measure: self.owned(5),
            place: self.owned(6),
            event_time: self.time(0),
            detected_at: self.time(1),
            value: self.owned(7),
            unit: self.owned(0),
            limit: self.owned(1),
            band: self.owned(2),
            evidence: Evidence {
                positions: vec![self.position(); self.choice % 5],
                figures: (0..2).map(|i| (self.owned(i), self.owned(1 - i))).collect(),
                before: self.owned(3),
                after: self.owned(4),
            },
        }
    }

    pub fn notice(&self) -> Notice {
        Notice {
            id: self.id(3),
            tenant: self.owned(0),
            subscriber: self.id(4),
            watch: self.id(5),
            channel: self.owned(1),
            alert: self.alert(),
            at: self.time(2),
        }
    }

    pub fn delivery(&self) -> Delivery {
        use DeliveryState::{Attempt, Deferred, Expired, Refused, Requested, Sent};
        use DeliveryState::{Suppressed, Unknown};
        let states = [Requested, Attempt, Sent, Refused, Deferred, Unknown, Suppressed, Expired];
        Delivery {
            id: self.id(6),
            tenant: self.owned(0),
            subscriber: self.id(4),
            channel: self.owned(1),
            state: states[self.choice % 8],
            attempt: self.longs[0] as i32,
            at: self.time(3),
            message_id: self.owned(2),
            address: self.owned(3),
            name: self.owned(4),
            time_zone: self.owned(5),
            notices: vec![self.notice(); self.choice % 3],
            reason: self.owned(6),
            next_attempt_at: self.flag.then_some(self.time(1)),
        }
    }

    pub fn dead_letter(&self) -> DeadLetter {
        DeadLetter {
            id: self.id(0),
            topic: self.owned(0),
            position: self.flag.then(|| self.position()),
            origin: self.owned(1),
            key: self.bytes.iter().rev().copied().collect(),
            value: self.bytes.clone(),
            class: self.owned(2),
            reason: self.owned(3),
            service: self.owned(4),
            at: self.time(0),
            source: self.owned(5),
            head: self.bytes.iter().skip(1).copied().collect(),
            cut: self.flag,
            search: self.owned(0),
        }
    }

    pub fn dead_decision(&self) -> DeadDecision {
        DeadDecision {
            letter: self.id(0),
            verdict: self.owned(0),
            reason: self.owned(1),
            topic: self.owned(2),
            written: if self.flag { vec![self.id(1), self.id(2)] } else { Vec::new() },
            present: vec![self.id(0)],
            by: self.owned(3),
            at: self.time(1),
        }
    }

    pub fn late_event(&self) -> LateEvent {
        LateEvent {
            id: self.id(0),
            position: self.position(),
            value: self.bytes.clone(),
            event_time: self.time(0),
            watermark: self.time(1),
            at: self.time(2),
        }
    }
}
