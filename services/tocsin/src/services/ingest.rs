//! `ingest`: what the sources' folders hold becomes events. One process reads, the others of the
//! same service stand by.

use crate::facts;
use crate::service::{Host, Service};
use crate::settings::Settings;
use std::sync::Arc;
use tocsin_ingest::Folders;

/// Files to events.
pub(super) static SERVICE: Service =
    Service { name: "ingest", parts: &["ingest"], tables: false, idle, start };

fn idle(settings: &Settings) -> Option<&'static str> {
    let some = settings.sources.iter().any(|source| source.folder.is_some())
        || settings.datasets.iter().any(|set| set.folder.is_some());
    (!some).then_some(
        "no [[sources]] has a `folder`, and no [[datasets]]: name the directory that files come into",
    )
}

fn start(host: &mut Host) -> anyhow::Result<()> {
    let (vitals, stop) = (host.vitals.clone(), host.stop.clone());
    let sources = &host.settings.sources;
    let observer = host.observer("ingest");
    let folders = Folders::new(host.log(), sources, (host.slot, observer), Arc::new(facts::now))?;
    let mut folders = folders.datasets(&host.settings.datasets);
    host.spawn("ingest", move || {
        let go_on = || {
            vitals.turned("ingest");
            vitals.restoring("ingest", 0);
            !stop.stopped()
        };
        folders.run(&go_on, &mut |report| vitals.metrics.records("ingest", report.tally.rows))
    })
}
