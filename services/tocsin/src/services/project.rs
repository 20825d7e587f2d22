//! `project`: facts to tables. Where other processes do the same, the tables are made by
//! `tocsin projections migrate` and this one waits for them: whoever makes them drops the old ones.

use crate::meter::Meter;
use crate::service::{Host, Service};
use std::time::Duration;
use tocsin_project::{ProjectStep, StoreSink};
use tocsin_service::Stop;
use tocsin_service::health::State;
use tocsin_store::{Store, StoreError};

/// Facts to tables.
pub(super) static SERVICE: Service =
    Service { name: "project", parts: &["project"], tables: true, idle: |_| None, start };

/// How often it is looked whether the tables are there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

fn start(host: &mut Host) -> anyhow::Result<()> {
    let (log, store) = (host.log(), host.store()?);
    if host.whole {
        tocsin_project::prepare(&*log, &*store)?;
    }
    let step = ProjectStep::new(host.settings.schema_ids.clone());
    let (vitals, stop, tables) = (host.vitals.clone(), host.stop.clone(), store.clone());
    let wait = move || {
        wait_for_tables(&*tables, &stop, &|| {
            let reason = "the tables are not there, or not those of this version: run `tocsin projections migrate`";
            vitals.health.set("project", State::Waiting { reason: reason.to_owned() });
            vitals.turned("project");
        })
    };
    host.run_after(wait, tocsin_project::topology(), step, Box::new(StoreSink::new(store)))?;
    let mut meter = Meter::new(log, host.vitals.clone());
    let stop = host.stop.clone();
    host.spawn("meter", move || meter.run(&stop))
}

/// Whether the tables are there; `false` if it was told to stop before.
fn wait_for_tables(store: &dyn Store, stop: &Stop, waiting: &dyn Fn()) -> Result<bool, StoreError> {
    while !tocsin_project::are_ready(store)? {
        waiting();
        if stop.sleep(LOOK_EVERY) {
            return Ok(false);
        }
    }
    Ok(true)
}
