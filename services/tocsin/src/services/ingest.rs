//! `ingest`: what the sources' folders hold and what upstreams answer becomes events. One process
//! reads and asks, the others of the same service stand by.

use crate::exit::{Exit, Kind};
use crate::facts;
use crate::service::{Host, Service};
use crate::settings::Settings;
use std::sync::Arc;
use tocsin_ingest::{Folders, Office, Poller};

/// Files and answers to events.
pub(super) static SERVICE: Service =
    Service { name: "ingest", parts: &["ingest"], tables: false, idle, start };

fn idle(settings: &Settings) -> Option<&'static str> {
    let some = settings.sources.iter().any(|one| one.folder.is_some() || one.is_polled());
    (!some).then_some(
        "no [[sources]] has a `folder` or `every`: name the directory that its files come into, \
        or say how often it is asked",
    )
}

fn start(host: &mut Host) -> anyhow::Result<()> {
    let (vitals, stop) = (host.vitals.clone(), host.stop.clone());
    let sources = &host.settings.sources;
    let observer = host.observer("ingest");
    let mut folders =
        Folders::new(host.log(), sources, (host.slot, observer), Arc::new(facts::now))?;
    let office = Office {
        log: host.log(),
        now: Arc::new(facts::now),
        metrics: vitals.metrics.clone(),
        ours: folders.ours(),
        seed: facts::now().0 as u64,
    };
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
        folders.run(&go_on, &mut |report| vitals.metrics.records("ingest", report.tally.rows))
    })
}
