//! `detect`: events to alerts. It also publishes what the configuration declares, because a
//! condition must be there before the first event is judged by it.

use crate::facts;
use crate::service::{Host, Service};
use tocsin_detect::DetectStep;

/// Events to alerts.
pub(super) static SERVICE: Service = Service {
    name: "detect",
    parts: &["detect"],
    tables: false,
    facts: true,
    idle: |_| None,
    start,
};

fn start(host: &mut Host) -> anyhow::Result<()> {
    let settings = &host.settings;
    facts::declare(&*host.log(), &settings.conditions, &settings.watches)?;
    let step = DetectStep::new(settings.lateness.clone());
    let step = step.with_schema_ids(settings.schema_ids.clone());
    host.run(tocsin_detect::topology(), step, Box::new(()))
}
