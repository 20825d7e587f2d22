//! Tables: compacted topics that a service holds in memory and looks things up in. They are read
//! beside the inputs and caught up before each batch, so an input never meets a table older than
//! the moment it was polled.

use crate::log::{Log, LogError};
use crate::record::Record;
use crate::topology::{Scope, Table};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use tocsin_domain::TopicPartition;

/// How far the tables of one service have been read.
#[derive(Debug, Default)]
pub struct Tables {
    cursors: BTreeMap<TopicPartition, u64>,
}

impl Tables {
    /// The partitions to hold: all of a global table, those in `assigned` of a co-partitioned one.
    pub fn assign(
        &mut self,
        log: &dyn Log,
        tables: &[Table],
        assigned: &[u32],
    ) -> Result<(), LogError> {
        for table in tables {
            let all: Vec<u32> = (0..log.partitions(table.topic)?).collect();
            let held = if table.scope == Scope::Global { &all } else { assigned };
            for partition in held {
                let at = TopicPartition::new(table.topic, *partition);
                if let Entry::Vacant(place) = self.cursors.entry(at) {
                    let start = log.span(place.key())?.start;
                    place.insert(start);
                }
            }
        }
        Ok(())
    }

    /// Reads everything that is committed and has not been read. After an error of `take` the same
    /// records come again.
    pub fn catch_up(
        &mut self,
        log: &dyn Log,
        take: &mut dyn FnMut(&Record<'_>) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let places: Vec<TopicPartition> = self.cursors.keys().cloned().collect();
        let ends = log.ends(&places)?;
        let behind = || self.cursors.iter().zip(&ends).filter(|((_, next), end)| *next < end);
        behind().for_each(|((at, next), _)| log.fetch_ahead(at, *next));
        for ((at, next), end) in self.cursors.iter_mut().zip(ends) {
            *next = log.scan_to(at, (*next, end), |record| take(record))?;
        }
        Ok(())
    }
}
