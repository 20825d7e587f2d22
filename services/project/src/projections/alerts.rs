//! Alerts → by id, by subject and by day. An alert never changes: what comes after it is another.

use crate::projection::Projection;
use crate::tables::{ALERTS_BY_DAY, ALERTS_BY_ID, ALERTS_BY_SUBJECT, DAYS};
use crate::totals::Totals;
use tocsin_domain::alert::Alert;
use tocsin_domain::topics::ALERTS;
use tocsin_domain::wire::{SchemaIds, read_owned};
use tocsin_store::{TableSpec, Value, Write};
use tocsin_stream::Poison;

/// See the module.
#[derive(Debug)]
pub struct Alerts;

impl Projection for Alerts {
    fn topic(&self) -> &'static str {
        ALERTS
    }

    fn tables(&self) -> &'static [&'static TableSpec] {
        const { &[&ALERTS_BY_ID, &ALERTS_BY_SUBJECT, &ALERTS_BY_DAY] }
    }

    fn project(
        &self,
        fact: &[u8],
        ids: &SchemaIds,
        _totals: Totals<'_>,
        out: &mut Vec<Write>,
    ) -> Result<(), Poison> {
        let alert: Alert = read_owned(fact, ids)?;
        let json = super::json(&alert)?;
        let version = alert.detected_at.0;
        let day = alert.detected_at.date();
        out.push(Write::new(&ALERTS_BY_ID, version, [alert.id.to_string().into(), json.into()]));
        out.push(Write::new(&ALERTS_BY_SUBJECT, version, columns(&alert, &day)));
        out.push(Write::new(&ALERTS_BY_DAY, version, columns(&alert, &day)));
        out.push(Write::new(&DAYS, 0, [alert.tenant.into(), ALERTS.into(), day.into()]));
        Ok(())
    }
}

fn columns(alert: &Alert, day: &str) -> [Value; 15] {
    [
        alert.tenant.as_str().into(),
        alert.subject.as_str().into(),
        day.into(),
        alert.event_time.into(),
        alert.detected_at.into(),
        alert.id.to_string().into(),
        alert.state.as_str().into(),
        alert.condition_name.as_str().into(),
        alert.detector.as_str().into(),
        alert.measure.as_str().into(),
        alert.place.as_str().into(),
        alert.value.as_str().into(),
        alert.unit.as_str().into(),
        alert.limit.as_str().into(),
        alert.band.as_str().into(),
    ]
}
