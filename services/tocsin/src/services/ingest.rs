//! `ingest`: what the sources' folders and topics hold becomes events. One process reads the folders,
//! the others of the same service stand by; topics are shared out by their partitions.

use crate::facts;
use crate::own_topics;
use crate::service::{Host, Service};
use crate::settings::Settings;
use std::sync::Arc;
use tocsin_ingest::Folders;
use tocsin_ingest::own_topics::is_topic;

/// Files and topics of others to events.
pub(super) static SERVICE: Service =
    Service { name: "ingest", parts: &["ingest"], tables: false, idle, start };

fn idle(settings: &Settings) -> Option<&'static str> {
    let some = settings.sources.iter().any(|source| source.folder.is_some() || is_topic(source));
    (!some).then_some(
        "no [[sources]] has a `folder` or is a `topic`: name the directory that its files come into",
    )
}

fn start(host: &mut Host) -> anyhow::Result<()> {
    own_topics::start(host)?;
    let (vitals, stop) = (host.vitals.clone(), host.stop.clone());
    let sources = &host.settings.sources;
    let observer = host.observer("ingest");
    let mut folders =
        Folders::new(host.log(), sources, (host.slot, observer), Arc::new(facts::now))?;
    host.spawn("ingest", move || {
        let go_on = || {
            vitals.turned("ingest");
            vitals.restoring("ingest", 0);
            !stop.stopped()
        };
        folders.run(&go_on, &mut |report| vitals.metrics.records("ingest", report.tally.rows))
    })
}
