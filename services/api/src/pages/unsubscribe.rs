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

/// How often a watch is offered to the log: whoever had this process's slot before may still be
/// shut out by the first.
const TRIES: u32 = 3;

/// To publish it twice is the same as once.
fn publish(app: &App, watch: &Watch) -> Result<(), Fault> {
    let mut held = app.worker.lock().unwrap_or_else(PoisonError::into_inner);
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::WATCHES, app.log.partitions(topics::WATCHES)?);
    let key = watch.key();
    let mut last = String::new();
    for _ in 0..TRIES {
        let worker = match &mut *held {
            Some(worker) => worker,
            none => {
                let (id, group) = (format!("api-{}", app.slot), "api".to_owned());
                none.insert(app.log.worker(&WorkerSpec { id, group, inputs: Vec::new() })?)
            }
        };
        transaction.clear();
        transaction.time = (app.clock)();
        let out = transaction.to(topic, key.as_bytes());
        out.push_with(key.as_bytes(), |bytes| wire::write(watch, bytes));
        match worker.commit(&mut transaction) {
            Ok(()) => return Ok(()),
            // Whatever went wrong, the next try begins with a fresh worker.
            Err(error) => (*held, last) = (None, error.to_string()),
        }
    }
    Err(Fault::Internal(format!("cannot switch the watch off: {last}")))
}
