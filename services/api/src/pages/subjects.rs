//! The list of subjects, and one subject through time.

use super::alerts::{AlertLine, line};
use super::chart::{Chart, Mark, Point, chart};
use super::format::{Chip, When, chip, encoded, link, when};
use crate::answer::{Fault, html};
use crate::app::App;
use crate::ask::{Ask, MAX_LIMIT, cursor};
use crate::read::{self, DAY};
use askama::Template;
use axum::response::Response;
use tocsin_domain::Micros;
use tocsin_domain::aqi::us_epa;
use tocsin_domain::event::shown_measure;
use tocsin_project::tables::{ALERTS_BY_SUBJECT, READINGS_BY_DAY, READINGS_LATEST, SUBJECTS};
use tocsin_store::{Query, Row, TableSpec};

/// The most values that a chart shows: the newest ones of its days.
const POINTS: usize = 2000;
/// The most values in the table beside a chart.
const ROWS: usize = 100;
/// How many days a chart may show.
const SPANS: [u32; 4] = [1, 7, 30, 365];

#[derive(Template)]
#[template(path = "subjects.html")]
struct Subjects {
    entries: Vec<Latest>,
    next: Option<String>,
}

struct Latest {
    shown: String,
    measure: String,
    chip: Chip,
    at: When,
    open: String,
    current: bool,
}

/// Every subject and measure with its latest value.
pub(crate) fn subjects(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&["limit", "after"])?;
    let (after, limit) = (ask.after(&SUBJECTS)?, ask.limit()?);
    let key = [app.tenant.as_str().into()];
    let rows = app.store.select(&Query { after, ..Query::of(&SUBJECTS, &key, limit) })?;
    let last = rows.last().filter(|_| rows.len() >= limit);
    let next = last.map(|row| encoded(&cursor(&SUBJECTS.cursor(row))));
    html(&Subjects { entries: rows.iter().map(|row| latest(&SUBJECTS, row, "")).collect(), next })
}

fn latest(table: &TableSpec, row: &Row, current: &str) -> Latest {
    let text = |column| table.get(row, column).text();
    let (subject, measure, place) = (text("subject"), text("measure"), text("place"));
    let band = index(measure, text("averaging"), text("unit"), text("value"));
    Latest {
        shown: if place.is_empty() { subject } else { place }.to_owned(),
        measure: shown_measure(measure).to_owned(),
        chip: chip(text("value"), text("unit"), band.map_or("", |(_, name)| name)),
        at: when(table.get(row, "event_time").time().unwrap_or(Micros(0))),
        open: link(&["subjects", subject]) + "?measure=" + &encoded(measure),
        current: measure == current,
    }
}

/// The US EPA index of a value and its band, if the scale has one for it.
fn index(measure: &str, averaging: &str, unit: &str, value: &str) -> Option<(f64, &'static str)> {
    let number: f64 = value.parse().ok()?;
    if unit == "AQI-US" {
        let band = tocsin_domain::aqi::band_of(number.max(0.0) as u32);
        return Some((number, band.name));
    }
    let index = us_epa(measure, averaging, unit, number).ok()?;
    Some((f64::from(index.aqi), index.band.name))
}

#[derive(Template)]
#[template(path = "subject.html")]
struct SubjectPage {
    subject: String,
    shown: String,
    measure: String,
    measures: Vec<Latest>,
    days: u32,
    spans: [u32; 4],
    here: String,
    chart: Option<Chart>,
    values: Vec<(When, String)>,
    more: bool,
    alerts: Vec<AlertLine>,
}

/// One subject: its measures, a chart, the alerts, the values as a table.
pub(crate) fn subject(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&["measure", "days"])?;
    let subject = ask.path("subject");
    let rows = read::latest(app, subject)?;
    let asked = |row: &&Row| {
        let measure = READINGS_LATEST.get(row, "measure").text();
        ask.query("measure").is_none_or(|asked| asked == measure)
    };
    let row = rows.iter().find(asked).ok_or_else(|| {
        Fault::NotFound(format!("there are no readings of {subject:?} by that measure"))
    })?;
    let text = |column| READINGS_LATEST.get(row, column).text();
    let days = days(ask)?;
    let until = Micros(READINGS_LATEST.get(row, "event_time").time().unwrap_or_default().0 + 1);
    let span = (until.minus(DAY * days), until);
    let measure = text("measure");
    let history = read::history(app, (subject, measure), span, POINTS)?;
    let raised = raised(app, subject, measure, span)?;
    let values = history.iter().rev().take(ROWS).map(value_line).collect();
    let averaging = text("averaging");
    let points: Vec<Point> = history.iter().filter_map(|v| point(v, measure, averaging)).collect();
    let place = text("place");
    html(&SubjectPage {
        subject: subject.to_owned(),
        shown: if place.is_empty() { subject } else { place }.to_owned(),
        measure: shown_measure(measure).to_owned(),
        measures: rows.iter().map(|row| latest(&READINGS_LATEST, row, measure)).collect(),
        days,
        spans: SPANS,
        here: link(&["subjects", subject]) + "?measure=" + &encoded(measure),
        chart: chart(&points, raised.iter().map(mark).collect(), text("unit")),
        values,
        more: history.len() > ROWS,
        alerts: raised.iter().map(|row| line(&ALERTS_BY_SUBJECT, row)).collect(),
    })
}

fn days(ask: &Ask) -> Result<u32, Fault> {
    let Some(text) = ask.query("days") else { return Ok(7) };
    let days = text.parse().ok().filter(|days| SPANS.contains(days));
    days.ok_or_else(|| Fault::Bad(format!("days is {text:?}, it must be one of {SPANS:?}")))
}

/// The alerts about a measure in a span, newest first.
fn raised(
    app: &App,
    subject: &str,
    measure: &str,
    (from, until): (Micros, Micros),
) -> Result<Vec<Row>, Fault> {
    let key = [app.tenant.as_str().into(), subject.into()];
    let (from, until) = (Some(from.into()), Some(until.into()));
    let all = Query::of(&ALERTS_BY_SUBJECT, &key, MAX_LIMIT);
    let mut rows = app.store.select(&Query { from, until, ..all })?;
    rows.retain(|row| ALERTS_BY_SUBJECT.get(row, "measure").text() == measure);
    Ok(rows)
}

fn point(row: &Row, measure: &str, averaging: &str) -> Option<Point> {
    let get = |column| READINGS_BY_DAY.get(row, column);
    let value = get("value").text();
    let index = index(measure, averaging, get("unit").text(), value).map(|(index, _)| index);
    Some(Point { at: get("event_time").time()?, value: value.parse().ok()?, index })
}

fn value_line(row: &Row) -> (When, String) {
    let get = |column| READINGS_BY_DAY.get(row, column);
    let at = when(get("event_time").time().unwrap_or(Micros(0)));
    (at, format!("{} {}", get("value").text(), get("unit").text()))
}

fn mark(row: &Row) -> Mark {
    let alert = line(&ALERTS_BY_SUBJECT, row);
    Mark {
        at: ALERTS_BY_SUBJECT.get(row, "event_time").time().unwrap_or_default(),
        raised: alert.state != "cleared",
        title: format!("{} {}, {}", alert.condition, alert.state, alert.at.text),
        href: alert.open,
        x: 0.0,
    }
}
