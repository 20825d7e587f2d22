//! What there is to read: pages of a table, lists over days, mails with their state, and how a
//! subject went. Both the JSON and the pages are made of this.

use crate::answer::Fault;
use crate::app::{App, Rendered};
use std::time::Duration;
use tocsin_domain::alert::Alert;
use tocsin_domain::delivery::Delivery;
use tocsin_domain::{Id, Micros};
use tocsin_project::tables::{
    ALERTS_BY_DAY, ALERTS_BY_ID, DAYS, DELIVERIES_BY_DAY, DELIVERIES_BY_MESSAGE_ID, DELIVERIES_LOG,
    DELIVERY_DAYS, MAILS, READINGS_BY_DAY, READINGS_LATEST,
};
use tocsin_store::{Query, Row, Store, TableSpec, Value};

/// One UTC day.
pub(crate) const DAY: Duration = Duration::from_hours(24);
/// The most days that one answer looks into.
const MAX_DAYS: usize = 400;
/// Facts about one delivery that are shown: more than any schedule of attempts has.
const FACTS: usize = 500;

/// The only row of a partition, or its first.
pub(crate) fn one(
    store: &dyn Store,
    table: &'static TableSpec,
    partition: &[Value],
) -> Result<Option<Row>, Fault> {
    Ok(store.select(&Query::of(table, partition, 1))?.into_iter().next())
}

/// A list that is kept by day, newest first, from the days before and on the day of `after`.
pub(crate) struct ByDay {
    pub table: &'static TableSpec,
    /// Its name in the table of days.
    pub what: &'static str,
}

/// All deliveries.
pub(crate) const DELIVERIES: ByDay = ByDay { table: &DELIVERIES_BY_DAY, what: DELIVERY_DAYS };
/// All alerts.
pub(crate) const ALERTS: ByDay =
    ByDay { table: &ALERTS_BY_DAY, what: tocsin_domain::topics::ALERTS };

/// The newest rows of a list after `after`; empty means from the beginning.
pub(crate) fn newest(
    app: &App,
    list: &ByDay,
    after: &[Value],
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    let days = [app.tenant.as_str().into(), list.what.into()];
    let first = after.first().and_then(Value::time).map(Micros::date);
    // No date is greater than the day itself and smaller than the day with a `~` behind it.
    let until = first.as_ref().map(|day| Value::from(format!("{day}~")));
    let days = app.store.select(&Query { until, ..Query::of(&DAYS, &days, MAX_DAYS) })?;
    let mut rows = Vec::new();
    for row in days {
        let day = DAYS.get(&row, "day").text();
        let after = if first.as_deref() == Some(day) { after.to_vec() } else { Vec::new() };
        let partition = [app.tenant.as_str().into(), day.into()];
        let left = limit - rows.len();
        rows.extend(app.store.select(&Query { after, ..Query::of(list.table, &partition, left) })?);
        if rows.len() >= limit {
            break;
        }
    }
    Ok(rows)
}

/// One delivery as it stands.
pub(crate) struct Mail {
    /// As it was requested.
    pub delivery: Delivery,
    /// Its row in [`DELIVERIES_BY_MESSAGE_ID`].
    pub now: Row,
}

impl Mail {
    /// A column of how it stands.
    pub fn now(&self, column: &str) -> &Value {
        DELIVERIES_BY_MESSAGE_ID.get(&self.now, column)
    }

    /// As the subscriber gets it.
    pub fn rendered(&self, app: &App) -> Rendered {
        (app.render)(&self.delivery)
    }
}

/// The delivery with that Message-ID, with or without its angle brackets.
pub(crate) fn mail(store: &dyn Store, message_id: &str) -> Result<Option<Mail>, Fault> {
    let key = [bare(message_id).into()];
    let Some(asked) = one(store, &MAILS, &key)? else { return Ok(None) };
    let now = one(store, &DELIVERIES_BY_MESSAGE_ID, &key)?.unwrap_or_default();
    let delivery = parse(MAILS.get(&asked, "fact").text())?;
    Ok(Some(Mail { delivery, now }))
}

/// A Message-ID without angle brackets.
pub(crate) fn bare(message_id: &str) -> &str {
    message_id.trim().trim_start_matches('<').trim_end_matches('>')
}

/// Everything that happened to a delivery, in order.
pub(crate) fn facts(store: &dyn Store, message_id: &str) -> Result<Vec<Row>, Fault> {
    let key = [bare(message_id).into()];
    Ok(store.select(&Query::of(&DELIVERIES_LOG, &key, FACTS))?)
}

/// One alert, whole.
pub(crate) fn alert(app: &App, id: &str) -> Result<Alert, Fault> {
    let missing = || Fault::NotFound(format!("there is no alert {id:?}"));
    let key = [Id::parse(id).ok_or_else(missing)?.to_string().into()];
    let row = one(&*app.store, &ALERTS_BY_ID, &key)?.ok_or_else(missing)?;
    let alert: Alert = parse(ALERTS_BY_ID.get(&row, "fact").text())?;
    if alert.tenant == app.tenant { Ok(alert) } else { Err(missing()) }
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Fault> {
    serde_json::from_str(json)
        .map_err(|error| Fault::Internal(format!("a projected fact cannot be read: {error}")))
}

/// The latest values of a subject, by measure.
pub(crate) fn latest(app: &App, subject: &str) -> Result<Vec<Row>, Fault> {
    let key = [app.tenant.as_str().into(), subject.into()];
    Ok(app.store.select(&Query::of(&READINGS_LATEST, &key, crate::ask::MAX_LIMIT))?)
}

/// The newest `limit` values from `from` until before `until`, oldest first.
pub(crate) fn history(
    app: &App,
    (subject, measure): (&str, &str),
    (from, until): (Micros, Micros),
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    if until.since(from) > DAY * MAX_DAYS as u32 {
        return Err(Fault::Bad(format!("from {from} to {until} is more than {MAX_DAYS} days")));
    }
    let mut rows = Vec::new();
    let mut day = until.minus(Duration::from_micros(1));
    while from < until && day.date() >= from.date() && rows.len() < limit {
        let date = day.date();
        let key = [app.tenant.as_str().into(), subject.into(), measure.into(), date.into()];
        let (from, until) = (Some(from.into()), Some(until.into()));
        let all = Query::of(&READINGS_BY_DAY, &key, limit - rows.len());
        rows.extend(app.store.select(&Query { from, until, reversed: true, ..all })?);
        day = day.minus(DAY);
    }
    rows.reverse();
    Ok(rows)
}
