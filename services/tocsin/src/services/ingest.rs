//! `ingest`: what the sources' folders and topics hold, what upstreams answer, and what is pushed,
//! becomes events. One process reads folders and asks, the others of the same service stand by;
//! topics are shared out by their partitions; every process takes pushes.

use crate::exit::{Exit, Kind};
use crate::facts;
use crate::own_topics;
use crate::service::{Host, Service};
use crate::settings::Settings;
use crate::vitals::Vitals;
use anyhow::Context;
use std::net::TcpListener;
use std::sync::Arc;
use tocsin_ingest::datasets::http::{self, Authorise, Uploads};
use tocsin_ingest::folders::News;
use tocsin_ingest::own_topics::is_topic;
use tocsin_ingest::pause::{self, Guard};
use tocsin_ingest::poll::account;
use tocsin_ingest::push::settings::PushConfig;
use tocsin_ingest::push::{Push, PushError, ROUTE};
use tocsin_ingest::{Folders, Office, Poller, SourceConfig};

/// Files, answers, pushes and topics of others to events.
pub(super) static SERVICE: Service =
    Service { name: "ingest", parts: &["ingest"], tables: false, facts: false, idle, start };

fn idle(settings: &Settings) -> Option<&'static str> {
    let read = |one: &SourceConfig| one.folder.is_some() || one.is_polled() || is_topic(one);
    let some = settings.sources.iter().any(read)
        || settings.datasets.iter().any(|set| set.folder.is_some());
    (!some && !settings.push.is_on()).then_some(
        "no [[sources]] has a `folder` or `every`, or is a `topic`, and no [[datasets]] has a \
         `folder`: name the directory that files come into, or say how often it is asked; and \
         there are no [[producers]] who might push",
    )
}

fn start(host: &mut Host) -> anyhow::Result<()> {
    let mut guards = own_topics::start(host)?;
    let (vitals, stop) = (host.vitals.clone(), host.stop.clone());
    let sources = &host.settings.sources;
    let observer = host.observer("ingest");
    let folders = Folders::new(host.log(), sources, (host.slot, observer), Arc::new(facts::now))?;
    let mut folders = folders.datasets(&host.settings.datasets);
    let office = Office {
        log: host.log(),
        now: Arc::new(facts::now),
        metrics: vitals.metrics.clone(),
        ours: folders.ours(),
        tell: {
            let vitals = vitals.clone();
            Arc::new(move |news| tell(&vitals, &news))
        },
        seed: facts::now().0 as u64,
    };
    for warning in account::shared(sources) {
        tracing::warn!("{warning}");
    }
    for source in host.settings.sources.clone() {
        let wrong = |text| Exit::error(Kind::Configuration, text);
        let Some(mut poller) = Poller::new(&source, office.clone()).map_err(wrong)? else {
            continue;
        };
        let stop = host.stop.clone();
        host.spawn("poll", move || poller.run(&|| !stop.stopped()))?;
    }
    host.spawn("ingest", move || {
        let go_on = || {
            vitals.turned("ingest");
            vitals.restoring("ingest", 0);
            !stop.stopped()
        };
        folders.run(&go_on, &mut |news| tell(&vitals, &news))
    })?;
    if host.settings.push.is_on() {
        guards.extend(start_push(host)?);
    }
    keep_looking(host, guards)
}

/// Has somebody look after what is paused.
fn keep_looking(host: &mut Host, guards: Vec<Arc<Guard>>) -> anyhow::Result<()> {
    if guards.is_empty() {
        return Ok(());
    }
    let (log, vitals, stop) = (host.log(), host.vitals.clone(), host.stop.clone());
    host.spawn("pauses", move || {
        let (go_on, tell) = (|pause| !stop.sleep(pause), |news: News<'_>| tell(&vitals, &news));
        pause::keep_looking(&guards, &*log, &facts::now, &go_on, &tell)
    })
}

/// Takes events on an address of its own if one is named, else beside the pages if they are here; gives
/// who stands before each producer.
fn start_push(host: &mut Host) -> anyhow::Result<Vec<Arc<Guard>>> {
    let settings = &host.settings;
    let configured = (&settings.push, &*settings.sources);
    let metrics = host.vitals.metrics.clone();
    let made = Push::new(&host.log(), configured, host.slot, metrics, Arc::new(facts::now));
    let (push, writer) = made.map_err(|error| match error {
        PushError::Configuration(text) => Exit::error(Kind::Configuration, text),
        other => anyhow::Error::new(other),
    })?;
    let (limits, pages) = (settings.push.limits.clone(), host.listener.as_ref());
    let own = match (limits.listen, pages) {
        (None, Some(pages)) => {
            let at = pages.local_addr()?;
            if limits.without_token && !at.ip().is_loopback() {
                let text = format!(
                    "[push]: `without_token` is for this machine only, and {at} can be reached from \
                     others: set `listen` of [push] to an address such as 127.0.0.1:8090"
                );
                return Err(Exit::error(Kind::Configuration, text));
            }
            None
        }
        (listen, _) => Some(listen.unwrap_or(PushConfig::ADDRESS)),
    };
    let stop = host.stop.clone();
    host.spawn("push", move || writer.run(&stop))?;
    let guards = push.guards();
    let uploads = uploads(host, push.gate())?;
    let router = push.router().merge(uploads);
    match own {
        None => host.beside = std::mem::take(&mut host.beside).merge(router),
        Some(at) => {
            let listener = TcpListener::bind(at).map_err(|error| {
                let text =
                    format!("cannot listen on {at}: {error}; choose another `listen` in [push]");
                Exit::error(Kind::Unreachable, text)
            })?;
            let at = listener.local_addr()?;
            host.serve(router, listener)?;
            tracing::info!("events are taken at http://{at}{ROUTE}");
        }
    }
    Ok(guards)
}

/// Takes data sets from whoever may push their rows.
fn uploads(host: &Host, gate: Authorise) -> anyhow::Result<axum::Router> {
    let spool = match &host.backend.data {
        Some(data) => data.join("uploads"),
        None => std::env::temp_dir(),
    };
    std::fs::create_dir_all(&spool).with_context(|| {
        format!("cannot make {}, where uploads lie while they are read", spool.display())
    })?;
    let vitals = host.vitals.clone();
    let to = (gate, Arc::new(move |news: News<'_>| tell(&vitals, &news)) as http::Told);
    let sets = &host.settings.datasets;
    let uploads = Uploads::new(host.log(), sets, spool, to, Arc::new(facts::now));
    Ok(http::router(uploads))
}

fn tell(vitals: &Vitals, news: &News<'_>) {
    match news {
        News::Rows(source, tally) => {
            vitals.metrics.came_in("ingest", source, tally.outcomes());
        }
        News::Paused(source, reason) => {
            vitals.metrics.source_paused(source, reason.is_some());
            vitals.health.paused(source, *reason);
        }
    }
}
