//! The answers for programs: `/api/v1`, health, metrics.

use crate::answer::{Fault, json as send};
use crate::app::App;
use crate::ask::{Ask, cursor};
use crate::letters::{letters, wants_all};
use crate::read::{self, DAY};
use crate::why::explain;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use tocsin_domain::{Id, Micros};
use tocsin_project::tables::{
    ALERTS_BY_DAY, ALERTS_BY_SUBJECT, DEAD_LETTERS_BY_DAY, DELIVERIES_BY_DAY,
    DELIVERIES_BY_MESSAGE_ID, DELIVERIES_BY_SUBSCRIBER, DELIVERIES_LOG, LISTING_PRICES,
    LISTINGS_LATEST, READINGS_BY_DAY, READINGS_LATEST, SALES_BY_DAY, SALES_BY_PRODUCT, SUBJECTS,
};
use tocsin_service::metrics::CONTENT_TYPE as METRICS_TYPE;
use tocsin_store::{Query, Row, TableSpec, Value};

type Answer = Result<Response, Fault>;

/// The process is alive.
pub(crate) fn healthz(app: &App, _: &Ask) -> Answer {
    let dead = app.health.dead();
    match dead.is_empty() {
        true => Ok("ok\n".into_response()),
        false => Ok((StatusCode::SERVICE_UNAVAILABLE, dead.join("\n") + "\n").into_response()),
    }
}

/// Whether every part does its work, and what is missing.
pub(crate) fn readyz(app: &App, _: &Ask) -> Answer {
    let mut report = app.health.report();
    if let Err(error) = app.store.mark("project") {
        report.ready = false;
        report.missing.insert("store", error.to_string());
    }
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, send(&json!(report))?).into_response())
}

/// OpenMetrics.
pub(crate) fn metrics(app: &App, _: &Ask) -> Answer {
    Ok(([(CONTENT_TYPE, METRICS_TYPE)], app.metrics.encode()).into_response())
}

/// The latest value of a measure and its history: the last seven days if nobody says otherwise.
pub(crate) fn readings(app: &App, ask: &Ask) -> Answer {
    ask.check(&["from", "to", "limit"])?;
    let (subject, measure) = (ask.path("subject"), ask.path("measure"));
    let rows = read::latest(app, subject)?;
    let wanted = |row: &&Row| READINGS_LATEST.get(row, "measure").text() == measure;
    let latest = rows.iter().find(wanted).ok_or_else(|| {
        Fault::NotFound(format!("there is no reading of {measure:?} of {subject:?}"))
    })?;
    let last = READINGS_LATEST.get(latest, "event_time").time().unwrap_or_default();
    let until = ask.time("to")?.unwrap_or(Micros(last.0.saturating_add(1)));
    let from = ask.time("from")?.unwrap_or(until.minus(DAY * 7));
    let history = read::history(app, (subject, measure), (from, until), ask.limit()?)?;
    send(&json!({
        "latest": READINGS_LATEST.json(latest),
        "from": from, "to": until, "items": items(&READINGS_BY_DAY, &history),
    }))
}

/// Every subject and measure with its latest value.
pub(crate) fn subjects(app: &App, ask: &Ask) -> Answer {
    ask.check(&["limit", "after"])?;
    list(app, ask, &SUBJECTS, &[app.tenant.as_str().into()])
}

/// A listing and its prices, newest first.
pub(crate) fn listing(app: &App, ask: &Ask) -> Answer {
    ask.check(&["limit", "after"])?;
    let id = ask.path("id");
    let key = [app.tenant.as_str().into(), id.into()];
    let latest = read::one(&*app.store, &LISTINGS_LATEST, &key)?
        .ok_or_else(|| Fault::NotFound(format!("there is no listing {id:?}")))?;
    let mut answer = page(app, ask, &LISTING_PRICES, &key)?;
    answer["latest"] = LISTINGS_LATEST.json(&latest);
    send(&answer)
}

/// Sales of a product by day, of a day by product, or of one product on one day.
pub(crate) fn sales(app: &App, ask: &Ask) -> Answer {
    ask.check(&["product", "day", "limit", "after"])?;
    let tenant = app.tenant.as_str();
    match (ask.query("product"), ask.day("day")?) {
        (Some(product), None) => {
            list(app, ask, &SALES_BY_PRODUCT, &[tenant.into(), product.into()])
        }
        (None, Some(day)) => list(app, ask, &SALES_BY_DAY, &[tenant.into(), day.into()]),
        (Some(product), Some(day)) => {
            let key = [tenant.into(), product.into()];
            let all = Query::of(&SALES_BY_PRODUCT, &key, ask.limit()?);
            let (from, until) = (Some(day.clone().into()), Some(format!("{day}~").into()));
            let rows = app.store.select(&Query { from, until, ..all })?;
            send(&json!({ "items": items(&SALES_BY_PRODUCT, &rows), "next": null }))
        }
        (None, None) => Err(Fault::Bad("say product=…, day=… or both".to_owned())),
    }
}

/// Alerts about a subject, of a day, or all, newest first.
pub(crate) fn alerts(app: &App, ask: &Ask) -> Answer {
    ask.check(&["subject", "day", "limit", "after"])?;
    let tenant = app.tenant.as_str();
    match (ask.query("subject"), ask.day("day")?) {
        (Some(_), Some(_)) => Err(Fault::Bad("say subject=… or day=…, not both".to_owned())),
        (Some(subject), None) => {
            list(app, ask, &ALERTS_BY_SUBJECT, &[tenant.into(), subject.into()])
        }
        (None, Some(day)) => list(app, ask, &ALERTS_BY_DAY, &[tenant.into(), day.into()]),
        (None, None) => {
            let (after, limit) = (ask.after(&ALERTS_BY_DAY)?, ask.limit()?);
            let rows = read::newest(app, &read::ALERTS, &after, limit)?;
            send(&paged(&ALERTS_BY_DAY, &rows, limit, items(&ALERTS_BY_DAY, &rows)))
        }
    }
}

/// One alert with its evidence.
pub(crate) fn alert(app: &App, ask: &Ask) -> Answer {
    ask.check(&[])?;
    send(&read::alert(app, ask.path("id"))?)
}

/// Deliveries to a subscriber, or all, newest first, each as it stands.
pub(crate) fn deliveries(app: &App, ask: &Ask) -> Answer {
    ask.check(&["subscriber", "limit", "after"])?;
    let limit = ask.limit()?;
    let (table, rows) = match ask.query("subscriber") {
        Some(subscriber) => {
            let key = [app.tenant.as_str().into(), subscriber.into()];
            let after = ask.after(&DELIVERIES_BY_SUBSCRIBER)?;
            let query = Query { after, ..Query::of(&DELIVERIES_BY_SUBSCRIBER, &key, limit) };
            (&DELIVERIES_BY_SUBSCRIBER, app.store.select(&query)?)
        }
        None => {
            let after = ask.after(&DELIVERIES_BY_DAY)?;
            (&DELIVERIES_BY_DAY, read::newest(app, &read::DELIVERIES, &after, limit)?)
        }
    };
    let mut all = Vec::new();
    for row in &rows {
        let key = [table.get(row, "message_id").clone()];
        let now = read::one(&*app.store, &DELIVERIES_BY_MESSAGE_ID, &key)?.unwrap_or_default();
        let mut item = DELIVERIES_BY_MESSAGE_ID.json(&now);
        item["requested_at"] = table.get(row, "requested_at").json();
        all.push(item);
    }
    send(&paged(table, &rows, limit, all))
}

/// One delivery: as it was requested, as it stands, and all that happened.
pub(crate) fn delivery(app: &App, ask: &Ask) -> Answer {
    ask.check(&[])?;
    let id = ask.path("message_id");
    let mail = read::mail(&*app.store, id)?.filter(|mail| mail.delivery.tenant == app.tenant);
    let mail = mail.ok_or_else(|| Fault::NotFound(format!("there is no mail {id:?}")))?;
    send(&json!({
        "requested": mail.delivery,
        "now": DELIVERIES_BY_MESSAGE_ID.json(&mail.now),
        "facts": items(&DELIVERIES_LOG, &read::facts(&*app.store, id)?),
    }))
}

/// The dead letters of a UTC day, today if nobody says otherwise, newest first: those that are open,
/// unless all are asked for. A page may have fewer than its limit, and say that there is a next.
pub(crate) fn dead_letters(app: &App, ask: &Ask) -> Answer {
    ask.check(&["day", "state", "limit", "after"])?;
    let day = ask.day("day")?.unwrap_or_else(|| (app.clock)().date());
    let mut answer = page(app, ask, &DEAD_LETTERS_BY_DAY, &[day.into()])?;
    let (letters, all) = (letters(app)?, wants_all(ask)?);
    if let Some(items) = answer["items"].as_array_mut() {
        for item in &mut *items {
            let id = Id::parse(item["id"].as_str().unwrap_or_default()).unwrap_or_default();
            item["state"] = json!(letters.state(id));
        }
        items.retain(|item| all || item["state"] == "open");
    }
    send(&answer)
}

/// The chain from a mail down to the raw events.
pub(crate) fn why(app: &App, ask: &Ask) -> Answer {
    ask.check(&[])?;
    send(&explain(ask.path("message_id"), &*app.store, &*app.log, &app.ids)?)
}

fn list(app: &App, ask: &Ask, table: &'static TableSpec, partition: &[Value]) -> Answer {
    send(&page(app, ask, table, partition)?)
}

/// A page of one partition.
fn page(
    app: &App,
    ask: &Ask,
    table: &'static TableSpec,
    partition: &[Value],
) -> Result<Json, Fault> {
    let (after, limit) = (ask.after(table)?, ask.limit()?);
    let rows = app.store.select(&Query { after, ..Query::of(table, partition, limit) })?;
    Ok(paged(table, &rows, limit, items(table, &rows)))
}

/// A full page says where the next one begins.
fn paged(table: &TableSpec, rows: &[Row], limit: usize, items: Vec<Json>) -> Json {
    let last = rows.last().filter(|_| rows.len() >= limit);
    json!({ "items": items, "next": last.map(|row| cursor(&table.cursor(row))) })
}

fn items(table: &TableSpec, rows: &[Row]) -> Vec<Json> {
    rows.iter()
        .map(|row| {
            let mut item = table.json(row);
            // A fact is JSON already.
            if let Some(fact) = table.column("fact").and_then(|at| row.get(at)) {
                item["fact"] = serde_json::from_str(fact.text()).unwrap_or_default();
            }
            item
        })
        .collect()
}
