//! The list of alerts and one alert with its evidence.

use super::format::{Chip, When, chip, chip_of, encoded, link, when};
use crate::answer::{Fault, html};
use crate::app::App;
use crate::ask::{Ask, cursor};
use crate::read;
use askama::Template;
use axum::response::Response;
use tocsin_domain::Micros;
use tocsin_domain::alert::Alert;
use tocsin_domain::event::shown_measure;
use tocsin_project::tables::ALERTS_BY_DAY;
use tocsin_store::{Row, TableSpec};

#[derive(Template)]
#[template(path = "alerts.html")]
struct Alerts {
    entries: Vec<AlertLine>,
    next: Option<String>,
}

/// One alert in a list.
pub(super) struct AlertLine {
    pub shown: String,
    pub condition: String,
    pub measure: String,
    pub state: String,
    pub chip: Chip,
    pub at: When,
    pub open: String,
}

/// All alerts, newest first.
pub(crate) fn alerts(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&["limit", "after"])?;
    let (after, limit) = (ask.after(&ALERTS_BY_DAY)?, ask.limit()?);
    let rows = read::newest(app, &read::ALERTS, &after, limit)?;
    let last = rows.last().filter(|_| rows.len() >= limit);
    let next = last.map(|row| encoded(&cursor(&ALERTS_BY_DAY.cursor(row))));
    html(&Alerts { entries: rows.iter().map(|row| line(&ALERTS_BY_DAY, row)).collect(), next })
}

/// A row of a table of alerts.
pub(super) fn line(table: &TableSpec, row: &Row) -> AlertLine {
    let text = |column| table.get(row, column).text();
    let place = text("place");
    AlertLine {
        shown: if place.is_empty() { text("subject") } else { place }.to_owned(),
        condition: text("condition_name").to_owned(),
        measure: shown_measure(text("measure")).to_owned(),
        state: text("state").to_owned(),
        chip: chip(text("value"), text("unit"), text("band")),
        at: when(table.get(row, "event_time").time().unwrap_or(Micros(0))),
        open: link(&["alerts", text("id")]),
    }
}

#[derive(Template)]
#[template(path = "alert.html")]
struct AlertPage {
    alert: Alert,
    chip: Chip,
    event: When,
    detected: When,
    before: String,
    after: String,
    subject: String,
}

/// One alert with its evidence.
pub(crate) fn alert(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&[])?;
    let alert = read::alert(app, ask.path("id"))?;
    html(&AlertPage {
        chip: chip_of(&alert),
        event: when(alert.event_time),
        detected: when(alert.detected_at),
        before: pretty(&alert.evidence.before),
        after: pretty(&alert.evidence.after),
        subject: subject_link(&alert),
        alert,
    })
}

/// The page of what an alert is about.
pub(super) fn subject_link(alert: &Alert) -> String {
    link(&["subjects", &alert.subject]) + "?measure=" + &encoded(&alert.measure)
}

/// JSON over several lines; other text as it is.
pub(super) fn pretty(json: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(json);
    parsed.map_or_else(|_| json.to_owned(), |value| format!("{value:#}"))
}
