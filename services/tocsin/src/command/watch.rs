//! `tocsin watch`: wishes as facts.

use crate::backend;
use crate::cli::{Place, WatchArgs, WatchCommand};
use crate::exit::{Exit, Kind};
use crate::facts::{self, Asked};
use crate::settings::Settings;
use std::io::Write;
use tocsin_domain::alert::AlertState;
use tocsin_domain::watch::Watch;
use tocsin_ingest::poll::asks;
use tocsin_notify::watches::{WatchEntry, watch_facts};

/// Runs one of them.
///
/// # Errors
/// Wrong configuration or wish (exit code 3), a log that cannot be opened.
pub fn run(command: &WatchCommand) -> anyhow::Result<()> {
    match command {
        WatchCommand::Add(args) => add(args),
        WatchCommand::List { place, json } => list(place, *json),
        WatchCommand::Remove { place, id } => remove(place, id),
    }
}

fn add(args: &WatchArgs) -> anyhow::Result<()> {
    let now = facts::now();
    let settings = Settings::load(&args.place.config, now)?;
    let wrong = |text: String| Exit::error(Kind::Configuration, text);
    let on =
        args.on.iter().map(|word| state(word)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let entry = WatchEntry {
        email: args.email.clone(),
        name: args.name.clone(),
        time_zone: args.time_zone.clone(),
        detector: args.detector.clone(),
        subject: args.subject.clone(),
        on,
        source: args.source.clone(),
        search: args.search.clone(),
        every: args.every.clone(),
    };
    let (subscriber, watch) = watch_facts(&settings.tenant, &entry, &settings.conditions, now)
        .map_err(|error| Exit::error(Kind::Configuration, error))?;
    asks::check(&settings.sources, &watch).map_err(wrong)?;
    let log = backend::log(&settings, &args.place.data)?;
    facts::publish(&*log, |asked, changes| changes.wish(asked, &subscriber, &watch))?;
    let asked = Asked::read(&*log)?;
    print(&format!("watching: {} ({})\n", watch.id, describe(&asked, &watch, &settings)))
}

fn list(place: &Place, json: bool) -> anyhow::Result<()> {
    let settings = Settings::load(&place.config, facts::now())?;
    let log = backend::existing_log(&settings, &place.data)?;
    let asked = Asked::read(&*log)?;
    let active = || asked.watches.values().filter(|watch| watch.active);
    if json {
        let all: Vec<&Watch> = active().collect();
        return print(&format!("{}\n", serde_json::to_string(&all)?));
    }
    let line = |watch: &Watch| {
        let subscriber = asked.subscribers.values().find(|s| s.id == watch.subscriber);
        let email = subscriber.map_or("nobody", |s| s.email.as_str());
        format!("{} {email} {}\n", watch.id, describe(&asked, watch, &settings))
    };
    print(&active().map(line).collect::<String>())
}

fn remove(place: &Place, id: &str) -> anyhow::Result<()> {
    let settings = Settings::load(&place.config, facts::now())?;
    let log = backend::existing_log(&settings, &place.data)?;
    let asked = Asked::read(&*log)?;
    let Some(watch) = asked.watches.values().find(|watch| watch.id.to_string() == id) else {
        let text = format!("there is no watch {id}; `tocsin watch list` shows them all");
        return Err(Exit::error(Kind::Problems, text));
    };
    let key = watch.key();
    facts::publish(&*log, |asked, changes| {
        if let Some(watch) = asked.watches.get(&key).filter(|watch| watch.active) {
            changes.watch(&Watch { active: false, ..watch.clone() });
        }
    })?;
    print(&format!("ended: {id}\n"))
}

fn state(word: &str) -> Result<AlertState, String> {
    [AlertState::Raised, AlertState::Updated, AlertState::Cleared]
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| format!("--on {word:?} is not known; allowed: raised, updated, cleared"))
}

fn describe(asked: &Asked, watch: &Watch, settings: &Settings) -> String {
    let declared = settings.conditions.iter().find(|c| c.id == watch.condition);
    let known = asked.conditions.values().find(|c| c.id == watch.condition);
    let name = declared.or(known).map_or("a detector that is gone", |c| c.name.as_str());
    let on: Vec<&str> = watch.on.iter().map(|state| state.as_str()).collect();
    let told = format!("{name} of {} when {}", watch.subject, on.join(" or "));
    let Some(ask) = &watch.asks else { return told };
    let every = ask.every.map(|seconds| format!(", every {seconds} s")).unwrap_or_default();
    format!("{told}; asks {} for {:?}{every}", ask.source, ask.search)
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
