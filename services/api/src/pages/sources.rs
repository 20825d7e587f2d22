//! The sources that are asked: what was spent, how each search stands.

use super::format::{When, when};
use crate::answer::{Fault, html};
use crate::app::App;
use crate::ask::Ask;
use crate::upstreams;
use askama::Template;
use axum::response::Response;
use tocsin_domain::upstream::Asked;

#[derive(Template)]
#[template(path = "sources.html")]
struct Sources {
    sources: Vec<Source>,
}

struct Source {
    name: String,
    breaker: &'static str,
    spent: u64,
    budget: Option<u64>,
    error: String,
    /// Since when, and why.
    paused: Option<(When, String)>,
    searches: Vec<Search>,
}

struct Search {
    asked: Asked,
    answered: Option<When>,
    next: Option<When>,
}

/// Every source that is asked, or was.
pub(crate) fn sources(app: &App, ask: &Ask) -> Result<Response, Fault> {
    ask.check(&[])?;
    let now = (app.clock)();
    let source = |(name, standing): (String, upstreams::Standing)| {
        let search = |asked: &Asked| Search {
            answered: asked.answered_at.map(when),
            next: standing.next_call(asked, now).map(when),
            asked: asked.clone(),
        };
        let quota = &standing.quota;
        Source {
            name,
            breaker: quota.breaker(now).as_str(),
            spent: if now.date() > quota.day { 0 } else { quota.spent },
            budget: quota.budget,
            error: quota.error.clone(),
            paused: standing.pause.as_ref().map(|pause| (when(pause.at), pause.reason.clone())),
            searches: standing.searches.values().map(search).collect(),
        }
    };
    html(&Sources { sources: upstreams::all(app)?.into_iter().map(source).collect() })
}
