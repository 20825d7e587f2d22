//! The service: which topics it reads, what it does with a record, and where its rows go.

use crate::projection::Projection;
use crate::projections::PROJECTIONS;
use crate::totals::Total;
use std::sync::Arc;
use tocsin_domain::Micros;
use tocsin_domain::topics::PROJECT_TOTALS_CHANGELOG;
use tocsin_domain::wire::SchemaIds;
use tocsin_store::{Store as Tables, StoreError, Write};
use tocsin_stream::processor::{Sink, SinkError};
use tocsin_stream::state::Store;
use tocsin_stream::{Effects, Poison, Record, Step, Topology};

/// What the service reads and keeps. It publishes nothing, so a replay can never mail.
pub fn topology() -> Topology {
    Topology {
        service: "project",
        does: "turns facts into tables",
        inputs: PROJECTIONS.iter().map(|projection| projection.topic()).collect(),
        tables: Vec::new(),
        changelog: Some(PROJECT_TOTALS_CHANGELOG),
        outputs: Vec::new(),
        foreign: None,
    }
}

/// Gives each record to the projection of its topic.
#[derive(Debug, Default)]
pub struct ProjectStep {
    ids: SchemaIds,
}

impl ProjectStep {
    /// A step that reads these registry ids beside single-object frames.
    pub fn new(ids: SchemaIds) -> ProjectStep {
        ProjectStep { ids }
    }
}

impl Step for ProjectStep {
    type State = Total;
    type Write = Write;

    fn learn(&mut self, id: u32, schema: &str) -> Result<(), Poison> {
        Ok(self.ids.learn(id, schema)?)
    }

    fn on_record(
        &mut self,
        record: &Record<'_>,
        _now: Micros,
        store: &mut Store<Total>,
        effects: &mut Effects<Write>,
    ) -> Result<(), Poison> {
        let reads = |projection: &&&dyn Projection| projection.topic() == &**record.topic;
        let (Some(projection), Some(fact)) = (PROJECTIONS.iter().find(reads), record.value) else {
            return Ok(());
        };
        let before = effects.writes.len();
        projection.project(fact, &self.ids, store, &mut effects.writes)?;
        // No store takes such a row, today or later, so the fact must not be in the way of others.
        let fault = |write: &Write| Some((write.table.name, write.table.fault(&write.row)?));
        let Some((table, fault)) = effects.writes[before..].iter().find_map(fault) else {
            return Ok(());
        };
        effects.writes.truncate(before);
        Err(Poison::new("value", format!("its row of {table} {fault}")))
    }
}

/// Writes the rows of a batch in one transaction of the store.
pub struct StoreSink(Arc<dyn Tables>);

impl StoreSink {
    /// A sink whose tables [`crate::prepare`] has made.
    pub fn new(store: Arc<dyn Tables>) -> StoreSink {
        StoreSink(store)
    }
}

impl Sink<Write> for StoreSink {
    fn write(&mut self, rows: &mut Vec<Write>) -> Result<(), SinkError> {
        if !rows.is_empty() {
            self.0.apply(rows).map_err(|error| match error {
                StoreError::Refused { .. } => SinkError::Refused(error.to_string()),
                StoreError::Failed { .. } => SinkError::Away(error.to_string()),
            })?;
            rows.clear();
        }
        Ok(())
    }
}
