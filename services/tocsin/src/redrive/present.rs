//! What stands in the topics already of what would be written, and how far their subjects have come.
//! Reads the partitions that the keys belong to, from their start.

use super::Fate;
use crate::settings::Settings;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;
use tocsin_domain::event::{Listing, OrderRow, Reading};
use tocsin_domain::partition::partition_of;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, Micros, TopicPartition, topics};
use tocsin_ingest::redrive::Made;
use tocsin_stream::{Log, LogError, Record};

/// What is known of topics beside what stands in them.
pub(super) struct Terms {
    lateness: BTreeMap<String, Duration>,
    ids: SchemaIds,
}

impl Terms {
    pub fn of(settings: &Settings) -> Terms {
        Terms { lateness: settings.lateness.clone(), ids: settings.schema_ids.clone() }
    }
}

/// What was found.
#[derive(Default)]
pub(super) struct Present {
    /// Facts that are there.
    ids: HashSet<Id>,
    /// The newest event time of a key that matters, less the lateness that its topic allows.
    seen: HashMap<Vec<u8>, Micros>,
}

impl Present {
    /// The partitions in which it would stand.
    pub fn places(log: &dyn Log, fates: &[Fate]) -> Result<Vec<TopicPartition>, LogError> {
        let mut places = BTreeSet::new();
        for made in fates.iter().flat_map(|fate| &fate.records) {
            let number = partition_of(&made.key, log.partitions(made.topic)?);
            places.insert(TopicPartition::new(made.topic, number));
        }
        Ok(places.into_iter().collect())
    }

    /// Looks there.
    pub fn look(
        log: &dyn Log,
        places: &[TopicPartition],
        fates: &[Fate],
        terms: &Terms,
    ) -> Result<Present, LogError> {
        let records = || fates.iter().flat_map(|fate| &fate.records);
        let wanted: HashSet<Id> = records().map(|made| made.id).collect();
        let keys: HashSet<&[u8]> = records().map(|made| made.key.as_slice()).collect();
        // The record that a letter is about stands there, and does not count.
        let own: HashSet<&str> = fates
            .iter()
            .filter(|fate| is_put_back(fate))
            .map(|fate| fate.origin.as_str())
            .collect();
        let mut found = Present::default();
        for at in places {
            let lateness = terms.lateness.get(&*at.topic).copied().unwrap_or_default();
            log.scan_all(at, |record| {
                found.take(record, (&wanted, &keys, &own), (lateness, &terms.ids));
                Ok::<(), LogError>(())
            })?;
        }
        Ok(found)
    }

    fn take(
        &mut self,
        record: &Record<'_>,
        (wanted, keys, own): (&HashSet<Id>, &HashSet<&[u8]>, &HashSet<&str>),
        (lateness, ids): (Duration, &SchemaIds),
    ) {
        let Some(value) = record.value.filter(|_| keys.contains(record.key)) else { return };
        let id = wire::id_of(value).filter(|id| wanted.contains(id));
        if let Some(id) = id
            && (own.is_empty() || !own.contains(record.position().to_string().as_str()))
        {
            self.ids.insert(id);
        }
        if let Some(time) = event_time(record.topic, value, ids) {
            let time = time.minus(lateness);
            let seen = self.seen.entry(record.key.to_vec()).or_insert(time);
            *seen = time.max(*seen);
        }
    }

    /// Leaves of the fates' records those that are to be written.
    pub fn sort_out(&self, fates: &mut [Fate], planned: &mut HashSet<Id>) {
        fates.iter_mut().for_each(|fate| self.sort_out_one(fate, planned));
    }

    fn sort_out_one(&self, fate: &mut Fate, planned: &mut HashSet<Id>) {
        let records = std::mem::take(&mut fate.records);
        for made in records {
            if self.ids.contains(&made.id) || !planned.insert(made.id) {
                fate.present.push(made.id);
                continue;
            }
            // What is put back was never judged, so it cannot come after others.
            let time = event_time(made.topic, &made.value, &SchemaIds::default());
            let time = time.filter(|_| !made.is_put_back);
            fate.late +=
                usize::from(time.is_some_and(|time| self.seen.get(&made.key) > Some(&time)));
            fate.written.push(made.id);
            fate.records.push(made);
        }
    }
}

/// Whether a record goes back to its own topic.
fn is_put_back(fate: &Fate) -> bool {
    fate.records.iter().any(|made: &Made| made.is_put_back)
}

fn event_time(topic: &str, value: &[u8], ids: &SchemaIds) -> Option<Micros> {
    match topic {
        topics::AQI_READINGS => wire::read::<Reading<'_>>(value, ids).ok().map(|e| e.event_time),
        topics::MARKET_LISTINGS => wire::read::<Listing<'_>>(value, ids).ok().map(|e| e.event_time),
        topics::ORDERS_ROWS => wire::read::<OrderRow<'_>>(value, ids).ok().map(|e| e.event_time),
        _ => None,
    }
}
