//! Switching a watch off. Looking at the page changes nothing; only what is posted does.

use super::format::link;
use crate::answer::{Fault, html};
use crate::app::App;
use crate::ask::Ask;
use crate::why;
use askama::Template;
use axum::response::Response;
use std::sync::PoisonError;
use tocsin_domain::condition::{Condition, EVERY_SUBJECT};
use tocsin_domain::watch::Watch;
use tocsin_domain::{Id, topics, wire};
use tocsin_stream::log::{Transaction, WorkerSpec};

#[derive(Template)]
#[template(path = "unsubscribe.html")]
struct Page {
    condition: String,
    subject: String,
    active: bool,
    here: String,
}

/// Says what posting will do.
pub(crate) fn unsubscribe(app: &App, ask: &Ask) -> Result<Response, Fault> {
    let watch = find(app, ask)?;
    show(app, &watch)
}

/// Switches the watch off; again is the same as once.
pub(crate) fn unsubscribe_now(app: &App, ask: &Ask) -> Result<Response, Fault> {
    let mut watch = find(app, ask)?;
    if watch.active {
        watch.active = false;
        publish(app, &watch)?;
    }
    show(app, &watch)
}

fn find(app: &App, ask: &Ask) -> Result<Watch, Fault> {
    let text = ask.path("watch");
    let missing = || Fault::NotFound(format!("there is no watch {text:?}"));
    let id = Id::parse(text).ok_or_else(missing)?;
    why::watch(&*app.log, &app.ids, &app.tenant, id)?.ok_or_else(missing)
}

fn show(app: &App, watch: &Watch) -> Result<Response, Fault> {
    let key = format!("{}/{}", watch.tenant, watch.condition);
    let said = crate::records::history(&*app.log, topics::CONDITIONS, key.as_bytes())?;
    let condition = said.last().and_then(|bytes| {
        wire::read_owned::<Condition>(bytes, &app.ids).ok().map(|condition| condition.name)
    });
    let every = watch.subject == EVERY_SUBJECT;
    html(&Page {
        condition: condition.unwrap_or_else(|| watch.condition.to_string()),
        subject: if every { "every place".to_owned() } else { watch.subject.clone() },
        active: watch.active,
        here: link(&["unsubscribe", &watch.id.to_string()]),
    })
}

fn publish(app: &App, watch: &Watch) -> Result<(), Fault> {
    let mut held = app.worker.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = match &mut *held {
        Some(worker) => worker,
        none => {
            let (id, group) = ("api-0".to_owned(), "api".to_owned());
            none.insert(app.log.worker(&WorkerSpec { id, group, inputs: Vec::new() })?)
        }
    };
    let mut transaction = Transaction::default();
    transaction.time = (app.clock)();
    let topic = transaction.register(topics::WATCHES, app.log.partitions(topics::WATCHES)?);
    let key = watch.key();
    let out = transaction.to(topic, key.as_bytes());
    out.push_with(key.as_bytes(), |bytes| wire::write(watch, bytes));
    let done = worker.commit(&mut transaction);
    if done.is_err() {
        // Whatever went wrong, the next one begins with a fresh worker; the post can be repeated.
        *held = None;
    }
    done.map_err(|error| Fault::Internal(format!("cannot switch the watch off: {error}")))
}
