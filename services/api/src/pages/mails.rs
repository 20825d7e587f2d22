//! The inbox and one mail.

use super::format::{Chip, When, chip_of, link, mood, when};
use crate::answer::{Fault, html};
use crate::app::{App, Rendered};
use crate::ask::{Ask, cursor};
use crate::read::{self, Mail};
use askama::Template;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tocsin_domain::Micros;
use tocsin_project::tables::{DELIVERIES_BY_DAY, DELIVERIES_LOG};
use tocsin_store::Row;

/// A mail's own document: its styles and nothing else, shut in wherever it is shown.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    form-action 'none'; frame-ancestors 'self'; \
    sandbox allow-popups allow-top-navigation-by-user-activation";

#[derive(Template)]
#[template(path = "inbox.html")]
struct Inbox {
    entries: Vec<Entry>,
    next: Option<String>,
    demo: bool,
}

struct Entry {
    subject: String,
    to: String,
    requested: When,
    state: String,
    mood: &'static str,
    chip: Option<Chip>,
    open: String,
    why: String,
}

/// All mails, newest first.
pub(crate) fn inbox(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&["limit", "after"])?;
    let (after, limit) = (ask.after(&DELIVERIES_BY_DAY)?, ask.limit()?);
    let rows = read::newest(app, &read::DELIVERIES, &after, limit)?;
    let mut entries = Vec::new();
    for row in &rows {
        let message_id = DELIVERIES_BY_DAY.get(row, "message_id").text();
        entries.extend(read::mail(&*app.store, message_id)?.map(|mail| entry(app, &mail)));
    }
    let last = rows.last().filter(|_| rows.len() >= limit);
    let next = last.map(|row| super::format::encoded(&cursor(&DELIVERIES_BY_DAY.cursor(row))));
    html(&Inbox { entries, next, demo: app.demo })
}

fn entry(app: &App, mail: &Mail) -> Entry {
    let (state, id) = (mail.now("state").text(), mail.delivery.message_id.as_str());
    Entry {
        subject: mail.rendered(app).subject,
        to: mail.delivery.address.clone(),
        requested: when(mail.delivery.at),
        state: state.to_owned(),
        mood: mood(state),
        chip: mail.delivery.notices.first().map(|notice| chip_of(&notice.alert)),
        open: link(&["mails", id]),
        why: link(&["why", id]),
    }
}

#[derive(Template)]
#[template(path = "mail.html")]
struct MailPage {
    message_id: String,
    rendered: Rendered,
    to: String,
    state: String,
    mood: &'static str,
    facts: Vec<FactLine>,
    frame: String,
    why: String,
}

/// One thing that happened to a delivery.
pub(super) struct FactLine {
    pub at: When,
    pub state: String,
    pub mood: &'static str,
    pub attempt: i64,
    pub reason: String,
    pub next: Option<When>,
}

/// One mail with everything that happened to it.
pub(crate) fn mail(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&[])?;
    let mail = find(app, ask)?;
    let (state, id) = (mail.now("state").text(), mail.delivery.message_id.as_str());
    let facts = read::facts(&*app.store, id)?;
    html(&MailPage {
        rendered: mail.rendered(app),
        to: mail.delivery.address.clone(),
        state: state.to_owned(),
        mood: mood(state),
        facts: facts.iter().map(fact_line).collect(),
        frame: link(&["mails", id, "html"]),
        why: link(&["why", id]),
        message_id: id.to_owned(),
    })
}

/// The mail's HTML part alone, for the frame on its page.
pub(crate) fn mail_html(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&[])?;
    // Links leave the frame: they are meant for the whole window.
    let base = "<head><base target=\"_top\">";
    let body = find(app, ask)?.rendered(app).html.replacen("<head>", base, 1);
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, MAIL_POLICY)];
    Ok((headers, body).into_response())
}

fn find(app: &App, ask: &Ask) -> Result<Mail, Fault> {
    let id = ask.path("message_id");
    let mail = read::mail(&*app.store, id)?.filter(|mail| mail.delivery.tenant == app.tenant);
    mail.ok_or_else(|| Fault::NotFound(format!("there is no mail {id:?}")))
}

fn fact_line(row: &Row) -> FactLine {
    let get = |column| DELIVERIES_LOG.get(row, column);
    FactLine {
        at: when(get("at").time().unwrap_or(Micros(0))),
        state: get("state").text().to_owned(),
        mood: mood(get("state").text()),
        attempt: get("attempt").int().unwrap_or_default(),
        reason: get("reason").text().to_owned(),
        next: get("next_attempt_at").time().map(when),
    }
}
