//! The dead letters as they stand, for pages and programs: groups, and the letters of one. What has
//! come since the last question is read on; bytes are fetched by position.

use crate::answer::{Fault, json as send};
use crate::app::App;
use crate::ask::Ask;
use axum::response::Response;
use serde_json::{Value as Json, json};
use std::sync::{MutexGuard, PoisonError};
use tocsin_domain::Position;
use tocsin_domain::dead_letter::{DeadDecision, DeadLetter, dump};
use tocsin_stream::letters::{Filter, Letters, Summary};

/// A letter with what is known of it beside.
pub(crate) struct Shown {
    pub letter: DeadLetter,
    pub state: String,
    pub decision: Option<DeadDecision>,
    /// What a redrive would do now; empty if nobody here can say.
    pub now: String,
}

/// A part of a group.
pub(crate) struct Page {
    pub summary: Summary,
    pub letters: Vec<Shown>,
    /// Where the next part begins.
    pub next: Option<usize>,
}

/// As they stand now.
pub(crate) fn letters(app: &App) -> Result<MutexGuard<'_, Letters>, Fault> {
    let mut letters = app.letters.lock().unwrap_or_else(PoisonError::into_inner);
    letters.catch_up(&*app.log)?;
    Ok(letters)
}

/// Whether those of which something has become are asked for, too: `state` is `open` or `all`.
pub(crate) fn wants_all(ask: &Ask) -> Result<bool, Fault> {
    match ask.query("state") {
        None | Some("open") => Ok(false),
        Some("all") => Ok(true),
        Some(other) => Err(Fault::Bad(format!("state is {other:?}, it must be open or all"))),
    }
}

/// What is asked for.
pub(crate) fn filter(ask: &Ask) -> Result<Filter, Fault> {
    let text = |name| ask.query(name).map(str::to_owned);
    Ok(Filter {
        topic: text("topic"),
        class: text("class"),
        service: text("service"),
        source: text("source"),
        group: None,
        since: ask.time("since")?,
        all: wants_all(ask)?,
    })
}

/// The letters of a group, newest first.
pub(crate) fn page(app: &App, ask: &Ask) -> Result<Page, Fault> {
    ask.check(&["state", "limit", "offset"])?;
    let hash = ask.path("group");
    let (limit, from) = (ask.limit()?, ask.number("offset")?);
    let filter = Filter { group: Some(hash.to_owned()), all: wants_all(ask)?, ..Filter::default() };
    let known = letters(app)?;
    let summary = known.groups(&filter).pop().ok_or_else(|| {
        Fault::NotFound(format!("there is no group {hash:?} with letters in that state"))
    })?;
    let ids = known.ids(&filter);
    let mut found = Vec::new();
    for (place, id) in ids.iter().skip(from).take(limit).enumerate() {
        let Some((letter, position)) = known.letter(&*app.log, *id)? else { continue };
        let (state, decision) = (known.state(*id).to_owned(), known.decision(*id).cloned());
        found.push((position, place, (letter, state, decision)));
    }
    // What a redrive would do takes its time, and others look at letters meanwhile.
    drop(known);
    let letters = planned(app, found);
    let next = Some(from + limit).filter(|next| *next < ids.len());
    Ok(Page { summary, letters, next })
}

/// A letter, its state, and what was decided.
type Found = (DeadLetter, String, Option<DeadDecision>);

/// Letters, each with its position and its place on the page: with what a redrive of them would do now, which
/// looks at them in the order of the log.
fn planned(app: &App, mut found: Vec<(Position, usize, Found)>) -> Vec<Shown> {
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let letters: Vec<DeadLetter> = found.iter().map(|(.., found)| found.0.clone()).collect();
    let now = app.redrive.as_ref().map(|redrive| redrive(&letters)).unwrap_or_default();
    let mut shown: Vec<(usize, Shown)> = found
        .into_iter()
        .zip(now.into_iter().chain(std::iter::repeat(String::new())))
        .map(|((_, place, (letter, state, decision)), now)| {
            (place, Shown { letter, state, decision, now })
        })
        .collect();
    shown.sort_by_key(|(place, _)| *place);
    shown.into_iter().map(|(_, shown)| shown).collect()
}

/// Every group with its count.
pub(crate) fn groups(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&["topic", "class", "service", "source", "since", "state"])?;
    let found = letters(app)?.groups(&filter(ask)?);
    send(&json!({ "items": found, "next": null }))
}

/// One group with its letters.
pub(crate) fn group(app: &App, ask: &Ask) -> Result<Response, Fault> {
    let page = page(app, ask)?;
    let items: Vec<Json> = page.letters.iter().map(letter_json).collect();
    send(&json!({ "group": page.summary, "items": items, "next": page.next }))
}

fn letter_json(shown: &Shown) -> Json {
    let mut all = json!(shown.letter);
    all["state"] = json!(shown.state);
    all["decision"] = json!(shown.decision);
    all["shown"] = json!(dump(&shown.letter.value));
    all["redrive"] = json!(Some(&shown.now).filter(|now| !now.is_empty()));
    all
}
