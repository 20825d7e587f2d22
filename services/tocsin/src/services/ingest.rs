//! `ingest`: what the sources' folders hold becomes events. One process reads, the others of the
//! same service stand by.

use crate::facts;
use crate::service::{Host, Service};
use crate::settings::Settings;
use crate::vitals::Vitals;
use std::sync::Arc;
use tocsin_ingest::Folders;
use tocsin_ingest::folders::News;

/// Files to events.
pub(super) static SERVICE: Service =
    Service { name: "ingest", parts: &["ingest"], tables: false, idle, start };

fn idle(settings: &Settings) -> Option<&'static str> {
    let some = settings.sources.iter().any(|source| source.folder.is_some());
    (!some).then_some("no [[sources]] has a `folder`: name the directory that its files come into")
}

fn start(host: &mut Host) -> anyhow::Result<()> {
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
        folders.run(&go_on, &mut |news| tell(&vitals, &news))
    })
}

fn tell(vitals: &Vitals, news: &News<'_>) {
    match news {
        News::Rows(source, tally) => {
            vitals.metrics.records("ingest", tally.rows);
            for (outcome, count) in tally.outcomes() {
                vitals.metrics.source_rows(source, outcome, count);
            }
        }
        News::Paused(source, reason) => {
            vitals.metrics.source_paused(source, reason.is_some());
            vitals.health.paused(source, *reason);
        }
    }
}
