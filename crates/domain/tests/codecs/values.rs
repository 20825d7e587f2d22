//! The same facts as apache-avro's values, field by field. It does not use our codecs.

use apache_avro::types::Value;
use apache_avro::{Decimal, Uuid};
use tocsin_domain::alert::{Alert, AlertState};
use tocsin_domain::condition::Condition;
use tocsin_domain::dead_letter::{DeadDecision, DeadLetter, LateEvent};
use tocsin_domain::delivery::Delivery;
use tocsin_domain::event::{DatasetRow, Listing, OrderRow, Reading, Swipe};
use tocsin_domain::notice::Notice;
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::watch::Watch;
use tocsin_domain::{Id, Micros, Money, Position};

fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn id(id: Id) -> Value {
    Value::Uuid(Uuid::from_bytes(*id.as_bytes()))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn time(time: Micros) -> Value {
    Value::TimestampMicros(time.0)
}

fn option(value: Option<Value>) -> Value {
    match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(value)),
    }
}

fn array(items: impl Iterator<Item = Value>) -> Value {
    Value::Array(items.collect())
}

fn symbol(word: &str) -> Value {
    let symbols = [
        &["raised", "updated", "cleared"][..],
        &[
            "requested",
            "attempt",
            "sent",
            "refused",
            "deferred",
            "unknown",
            "suppressed",
            "expired",
        ],
        &["opened", "row", "closed"],
    ];
    let index = symbols.iter().find_map(|list| list.iter().position(|symbol| *symbol == word));
    Value::Enum(index.unwrap() as u32, word.to_uppercase())
}

fn state(state: &AlertState) -> Value {
    symbol(state.as_str())
}

fn money(money: &Money) -> Value {
    let mut amount = money.amount;
    amount.rescale(6);
    // The shortest tail that means the same number.
    let wide = amount.mantissa().to_be_bytes();
    let means_the_same = |tail: &&[u8]| {
        let sign = if tail[0] >= 0x80 { 0xff } else { 0 };
        wide[..16 - tail.len()].iter().all(|byte| *byte == sign)
    };
    let shortest = (0..16).rev().map(|i| &wide[i..]).find(means_the_same).unwrap();
    record([
        ("amount", Value::Decimal(Decimal::from(shortest))),
        ("currency", text(money.currency.as_str())),
    ])
}

fn position(position: &Position) -> Value {
    record([
        ("topic", text(&position.topic)),
        ("partition", Value::Long(position.partition.into())),
        ("offset", Value::Long(position.offset as i64)),
    ])
}

pub fn reading(fact: &Reading) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(fact.tenant)),
        ("subject", text(fact.subject)),
        ("measure", text(fact.measure)),
        ("value", Value::Double(fact.value)),
        ("unit", text(fact.unit)),
        ("averaging", text(fact.averaging)),
        ("place", text(fact.place)),
        ("event_time", time(fact.event_time)),
        ("arrival_time", time(fact.arrival_time)),
        ("source", text(fact.source)),
        ("origin", text(fact.origin)),
    ])
}

pub fn listing(fact: &Listing) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(fact.tenant)),
        ("listing", text(fact.listing)),
        ("title", text(fact.title)),
        ("price", money(&fact.price)),
        ("units_sold", option(fact.units_sold.map(Value::Long))),
        ("units_available", option(fact.units_available.map(Value::Long))),
        ("url", text(fact.url)),
        ("seller", text(fact.seller)),
        ("searches", array(fact.searches.iter().map(|search| text(search)))),
        ("event_time", time(fact.event_time)),
        ("arrival_time", time(fact.arrival_time)),
        ("source", text(fact.source)),
        ("origin", text(fact.origin)),
    ])
}

pub fn order_row(fact: &OrderRow) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(fact.tenant)),
        ("subject", text(fact.subject)),
        ("order", text(fact.order)),
        ("title", text(fact.title)),
        ("price", money(&fact.price)),
        ("units", Value::Long(fact.units)),
        ("event_time", time(fact.event_time)),
        ("arrival_time", time(fact.arrival_time)),
        ("source", text(fact.source)),
        ("origin", text(fact.origin)),
    ])
}

pub fn dataset_row(fact: &DatasetRow) -> Value {
    let field =
        |(name, value): &(&str, &str)| record([("name", text(name)), ("value", text(value))]);
    let kind = serde_json::to_value(fact.kind).unwrap();
    record([
        ("id", id(fact.id)),
        ("tenant", text(fact.tenant)),
        ("dataset", text(fact.dataset)),
        ("kind", symbol(kind.as_str().unwrap())),
        ("file", text(fact.file)),
        ("line", Value::Long(fact.line)),
        ("fields", array(fact.fields.iter().map(field))),
        ("event_time", time(fact.event_time)),
        ("arrival_time", time(fact.arrival_time)),
        ("source", text(fact.source)),
    ])
}

pub fn swipe(fact: &Swipe) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(fact.tenant)),
        ("from", text(fact.from)),
        ("to", text(fact.to)),
        ("liked", Value::Boolean(fact.liked)),
        ("event_time", time(fact.event_time)),
        ("arrival_time", time(fact.arrival_time)),
        ("source", text(fact.source)),
        ("origin", text(fact.origin)),
    ])
}

pub fn subscriber(fact: &Subscriber) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(&fact.tenant)),
        ("email", text(&fact.email)),
        ("name", text(&fact.name)),
        ("time_zone", text(&fact.time_zone)),
        ("active", Value::Boolean(fact.active)),
        ("created_at", time(fact.created_at)),
    ])
}

pub fn watch(fact: &Watch) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(&fact.tenant)),
        ("subscriber", id(fact.subscriber)),
        ("condition", id(fact.condition)),
        ("subject", text(&fact.subject)),
        ("channel", text(&fact.channel)),
        ("schedule", text(&fact.schedule)),
        ("on", array(fact.on.iter().map(state))),
        ("active", Value::Boolean(fact.active)),
        ("created_at", time(fact.created_at)),
        (
            "asks",
            option(fact.asks.as_ref().map(|asks| {
                record([
                    ("source", text(&asks.source)),
                    ("search", text(&asks.search)),
                    ("every", option(asks.every.map(|every| Value::Long(every as i64)))),
                ])
            })),
        ),
    ])
}

pub fn condition(fact: &Condition) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(&fact.tenant)),
        ("name", text(&fact.name)),
        ("detector", text(&fact.detector)),
        ("subject", text(&fact.subject)),
        ("params", text(&fact.params)),
        ("version", text(&fact.version)),
        ("active", Value::Boolean(fact.active)),
    ])
}

pub fn alert(fact: &Alert) -> Value {
    let evidence = &fact.evidence;
    let figures = evidence.figures.iter().map(|(name, figure)| (name.clone(), text(figure)));
    let evidence = record([
        ("positions", array(evidence.positions.iter().map(position))),
        ("figures", Value::Map(figures.collect())),
        ("before", text(&evidence.before)),
        ("after", text(&evidence.after)),
    ]);
    record([
        ("id", id(fact.id)),
        ("tenant", text(&fact.tenant)),
        ("episode", id(fact.episode)),
        ("state", state(&fact.state)),
        ("condition", id(fact.condition)),
        ("condition_name", text(&fact.condition_name)),
        ("condition_version", text(&fact.condition_version)),
        ("detector", text(&fact.detector)),
        ("subject", text(&fact.subject)),
        ("measure", text(&fact.measure)),
        ("place", text(&fact.place)),
        ("event_time", time(fact.event_time)),
        ("detected_at", time(fact.detected_at)),
        ("value", text(&fact.value)),
        ("unit", text(&fact.unit)),
        ("limit", text(&fact.limit)),
        ("band", text(&fact.band)),
        ("evidence", evidence),
    ])
}

pub fn notice(fact: &Notice) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(&fact.tenant)),
        ("subscriber", id(fact.subscriber)),
        ("watch", id(fact.watch)),
        ("channel", text(&fact.channel)),
        ("alert", alert(&fact.alert)),
        ("at", time(fact.at)),
    ])
}

pub fn delivery(fact: &Delivery) -> Value {
    record([
        ("id", id(fact.id)),
        ("tenant", text(&fact.tenant)),
        ("subscriber", id(fact.subscriber)),
        ("channel", text(&fact.channel)),
        ("state", symbol(fact.state.as_str())),
        ("attempt", Value::Int(fact.attempt)),
        ("at", time(fact.at)),
        ("message_id", text(&fact.message_id)),
        ("address", text(&fact.address)),
        ("name", text(&fact.name)),
        ("time_zone", text(&fact.time_zone)),
        ("notices", array(fact.notices.iter().map(notice))),
        ("reason", text(&fact.reason)),
        ("next_attempt_at", option(fact.next_attempt_at.map(time))),
    ])
}

pub fn dead_letter(fact: &DeadLetter) -> Value {
    record([
        ("id", id(fact.id)),
        ("topic", text(&fact.topic)),
        ("position", option(fact.position.as_ref().map(position))),
        ("origin", text(&fact.origin)),
        ("key", Value::Bytes(fact.key.clone())),
        ("value", Value::Bytes(fact.value.clone())),
        ("class", text(&fact.class)),
        ("reason", text(&fact.reason)),
        ("service", text(&fact.service)),
        ("at", time(fact.at)),
        ("source", text(&fact.source)),
        ("head", Value::Bytes(fact.head.clone())),
        ("cut", Value::Boolean(fact.cut)),
        ("search", text(&fact.search)),
    ])
}

pub fn dead_decision(fact: &DeadDecision) -> Value {
    let ids = |ids: &[Id]| Value::Array(ids.iter().copied().map(id).collect());
    record([
        ("letter", id(fact.letter)),
        ("verdict", text(&fact.verdict)),
        ("reason", text(&fact.reason)),
        ("topic", text(&fact.topic)),
        ("written", ids(&fact.written)),
        ("present", ids(&fact.present)),
        ("by", text(&fact.by)),
        ("at", time(fact.at)),
    ])
}

pub fn late_event(fact: &LateEvent) -> Value {
    record([
        ("id", id(fact.id)),
        ("position", position(&fact.position)),
        ("value", Value::Bytes(fact.value.clone())),
        ("event_time", time(fact.event_time)),
        ("watermark", time(fact.watermark)),
        ("at", time(fact.at)),
    ])
}
