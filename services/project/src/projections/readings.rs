//! Readings → the latest value of each subject, and each day's values.

use crate::projection::Projection;
use crate::tables::{READINGS_BY_DAY, READINGS_LATEST, SUBJECTS};
use crate::totals::Totals;
use tocsin_domain::event::Reading;
use tocsin_domain::topics::AQI_READINGS;
use tocsin_domain::wire::{Fact, SchemaIds, open};
use tocsin_store::{TableSpec, Write};
use tocsin_stream::Poison;

/// See the module.
#[derive(Debug)]
pub struct Readings;

impl Projection for Readings {
    fn topic(&self) -> &'static str {
        AQI_READINGS
    }

    fn tables(&self) -> &'static [&'static TableSpec] {
        const { &[&READINGS_LATEST, &READINGS_BY_DAY, &SUBJECTS] }
    }

    fn project(
        &self,
        fact: &[u8],
        ids: &SchemaIds,
        _totals: Totals<'_>,
        out: &mut Vec<Write>,
    ) -> Result<(), Poison> {
        let body = open::<Reading>(fact, ids)?;
        let reading = Reading::decode(&body)?;
        let Reading { tenant, subject, measure, place, unit, averaging, .. } = reading;
        let at = reading.event_time;
        let (value, id) = (reading.value.to_string(), reading.id.to_string());
        let latest = [
            tenant.into(),
            subject.into(),
            measure.into(),
            place.into(),
            value.clone().into(),
            unit.into(),
            averaging.into(),
            at.into(),
            id.clone().into(),
        ];
        let shown = [
            tenant.into(),
            subject.into(),
            measure.into(),
            place.into(),
            value.clone().into(),
            unit.into(),
            averaging.into(),
            at.into(),
        ];
        let day = [
            tenant.into(),
            subject.into(),
            measure.into(),
            at.date().into(),
            at.into(),
            value.into(),
            unit.into(),
            id.into(),
        ];
        // Of two values for one moment the one that came later corrects the other.
        let version = (at.0, reading.arrival_time.0);
        out.push(Write::new(&READINGS_LATEST, version, latest));
        out.push(Write::new(&SUBJECTS, version, shown));
        out.push(Write::new(&READINGS_BY_DAY, reading.arrival_time.0, day));
        Ok(())
    }
}
