//! The groups of dead letters, and the letters of one: bytes escaped, place, reason, what a redrive
//! would do now. It changes nothing, as whoever sees a page is nobody whom we know; it shows the
//! commands that do.

use super::format::{When, link, when};
use crate::answer::{Fault, html};
use crate::app::App;
use crate::ask::Ask;
use crate::letters::{Page, Shown, filter, letters, page, wants_all};
use askama::Template;
use axum::response::Response;
use tocsin_domain::dead_letter::{dump, escaped};
use tocsin_stream::letters::Summary;

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct Groups {
    groups: Vec<GroupLine>,
    all: bool,
}

struct GroupLine {
    hash: String,
    service: String,
    topic: String,
    class: String,
    shape: String,
    count: u64,
    first: When,
    last: When,
    open: String,
}

/// Every group.
pub(crate) fn dead_letters(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&["topic", "class", "service", "source", "since", "state"])?;
    let (all, filter) = (wants_all(ask)?, filter(ask)?);
    let found = letters(app)?.groups(&filter);
    html(&Groups { groups: found.into_iter().map(|summary| line(summary, all)).collect(), all })
}

fn line(summary: Summary, all: bool) -> GroupLine {
    let Summary { hash, group, count, first, last, .. } = summary;
    let open = link(&["dead-letters", &hash]) + if all { "?state=all" } else { "" };
    GroupLine {
        hash,
        service: escaped(&group.service),
        topic: escaped(&group.topic),
        class: escaped(&group.class),
        shape: escaped(&group.shape),
        count,
        first: when(first),
        last: when(last),
        open,
    }
}

#[derive(Template)]
#[template(path = "dead_group.html")]
struct GroupPage {
    hash: String,
    service: String,
    topic: String,
    class: String,
    shape: String,
    count: u64,
    word: &'static str,
    letters: Vec<LetterLine>,
    next: Option<usize>,
}

struct LetterLine {
    id: String,
    place: String,
    reason: String,
    state: String,
    decided: String,
    now: String,
    at: When,
    head: String,
    bytes: String,
}

/// The letters of one group.
pub(crate) fn dead_group(app: &App, ask: &Ask) -> Result<Response, Fault> {
    let Page { summary, letters, next } = page(app, ask)?;
    let Summary { hash, group, count, .. } = summary;
    html(&GroupPage {
        hash,
        service: escaped(&group.service),
        topic: escaped(&group.topic),
        class: escaped(&group.class),
        shape: escaped(&group.shape),
        count,
        word: if wants_all(ask)? { "all" } else { "open" },
        letters: letters.into_iter().map(letter_line).collect(),
        next,
    })
}

fn letter_line(shown: Shown) -> LetterLine {
    let letter = shown.letter;
    let place = match &letter.position {
        Some(position) if letter.origin.is_empty() => position.to_string(),
        _ => letter.origin.clone(),
    };
    let decided = shown.decision.map(|decision| {
        let what = if decision.is_final() { &*decision.verdict } else { "redriven in vain" };
        let (by, at, reason) = (&decision.by, when(decision.at).text, &decision.reason);
        escaped(&format!("{what} by {by}, {at}: {reason}"))
    });
    LetterLine {
        id: letter.id.to_string(),
        place: escaped(&place),
        reason: escaped(&letter.reason),
        state: escaped(&shown.state),
        decided: decided.unwrap_or_default(),
        now: escaped(&shown.now),
        at: when(letter.at),
        head: dump(&letter.head).join("\n"),
        bytes: dump(&letter.value).join("\n"),
    }
}
