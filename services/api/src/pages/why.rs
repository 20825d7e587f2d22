//! The page that says why a mail came: a chain, read from the top down to the bytes.

use super::alerts::{pretty, subject_link};
use super::format::{Chip, When, chip_of, link, mood, when};
use super::mails::FactLine;
use crate::answer::{Fault, html};
use crate::app::App;
use crate::ask::Ask;
use crate::read;
use crate::why::{Because, Found, Happened, RawEvent, explain};
use askama::Template;
use axum::response::Response;

#[derive(Template)]
#[template(path = "why.html")]
struct WhyPage {
    message_id: String,
    mail: String,
    subject: String,
    to: String,
    facts: Vec<FactLine>,
    causes: Vec<Cause>,
}

struct Cause {
    because: Because,
    matched: When,
    event: When,
    detected: When,
    chip: Chip,
    watch: &'static str,
    rule: String,
    before: String,
    after: String,
    alert: String,
    subject: String,
    unsubscribe: String,
    events: Vec<Shown>,
}

struct Shown {
    position: String,
    origin: String,
    taken: Option<When>,
    value: String,
    hex: String,
    gone: String,
}

/// Why somebody got this mail.
pub(crate) fn why(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&[])?;
    let id = ask.path("message_id");
    let mail = read::mail(&*app.store, id)?.filter(|mail| mail.delivery.tenant == app.tenant);
    let mail = mail.ok_or_else(|| Fault::NotFound(format!("there is no mail {id:?}")))?;
    let why = explain(id, &*app.store, &*app.log, &app.ids)?;
    html(&WhyPage {
        mail: link(&["mails", &why.message_id]),
        message_id: why.message_id,
        subject: mail.rendered(app).subject,
        to: why.address,
        facts: why.facts.into_iter().map(fact).collect(),
        causes: why.because.into_iter().map(cause).collect(),
    })
}

fn fact(happened: Happened) -> FactLine {
    FactLine {
        at: when(happened.at),
        mood: mood(&happened.state),
        state: happened.state,
        attempt: happened.attempt,
        reason: happened.reason,
        next: happened.next_attempt_at.map(when),
    }
}

fn cause(because: Because) -> Cause {
    let alert = &because.alert;
    Cause {
        matched: when(because.matched_at),
        event: when(alert.event_time),
        detected: when(alert.detected_at),
        chip: chip_of(alert),
        watch: match &because.watch {
            Some(watch) if watch.active => "It still stands.",
            Some(_) => "It has been switched off since.",
            None => "It is gone.",
        },
        rule: because.rule.as_ref().map(|rule| pretty(&rule.params)).unwrap_or_default(),
        before: format!("{:#}", because.before),
        after: format!("{:#}", because.after),
        alert: link(&["alerts", &alert.id.to_string()]),
        subject: subject_link(alert),
        unsubscribe: link(&["unsubscribe", &because.watch_id.to_string()]),
        events: because.events.iter().map(shown).collect(),
        because,
    }
}

fn shown(event: &RawEvent) -> Shown {
    let position = event.position.clone();
    match &event.found {
        Found::Record { taken_at, origin, value, hex, .. } => Shown {
            position,
            origin: origin.clone(),
            taken: Some(when(*taken_at)),
            value: format!("{value:#}"),
            hex: hex.clone(),
            gone: String::new(),
        },
        Found::Gone { gone } => Shown {
            position,
            origin: String::new(),
            taken: None,
            value: String::new(),
            hex: String::new(),
            gone: gone.clone(),
        },
    }
}
