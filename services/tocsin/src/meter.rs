//! Counts the facts of the log as they are committed, for `/metrics`. It reads along from the end;
//! what was there before the start is not counted again. It follows the partitions that `project`
//! has here, which reads the same topics: so of many processes, one counts each fact.

use crate::vitals::Vitals;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::alert::Alert;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, Micros, TopicPartition, topics};
use tocsin_service::{Metrics, Stop};
use tocsin_stream::{Log, LogError, Record};

/// Reads along.
pub struct Meter {
    log: Arc<dyn Log>,
    vitals: Vitals,
    cursors: HashMap<TopicPartition, u64>,
    waits: Waits,
}

/// When the first alert of each delivery that is not final yet was detected.
type Waits = HashMap<Id, Micros>;

/// What is counted.
const TOPICS: [&str; 3] = [topics::ALERTS, topics::DELIVERIES, topics::DEAD_LETTERS];

impl Meter {
    /// Stands at the end of what there is to count.
    pub fn new(log: Arc<dyn Log>, vitals: Vitals) -> Meter {
        Meter { log, vitals, cursors: HashMap::new(), waits: Waits::new() }
    }

    /// Counts until it is told to stop.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn run(&mut self, stop: &Stop) -> Result<(), LogError> {
        let mut seen = 0;
        while !stop.stopped() {
            seen = self.log.wait(seen, Duration::from_millis(500));
            match self.read_on() {
                // What cannot be counted now is counted later.
                Err(LogError::Unavailable(reason)) => tracing::warn!(reason, "counting later"),
                read => read?,
            }
            // Numbers for people need not be younger than this, and idle time is cheap.
            stop.sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn read_on(&mut self) -> Result<(), LogError> {
        let ours = self.vitals.partitions("project");
        self.cursors.retain(|at, _| ours.contains(&at.partition));
        for partition in ours {
            for topic in TOPICS {
                self.read_partition(TopicPartition::new(topic, partition))?;
            }
        }
        Ok(())
    }

    fn read_partition(&mut self, at: TopicPartition) -> Result<(), LogError> {
        let from = match self.cursors.get(&at) {
            Some(next) => *next,
            None => self.log.span(&at)?.end,
        };
        let (metrics, waits) = (&self.vitals.metrics, &mut self.waits);
        let next = self.log.scan(&at, from, |record| {
            count(metrics, waits, record);
            Ok::<(), LogError>(())
        })?;
        self.cursors.insert(at, next);
        Ok(())
    }
}

/// What cannot be read is counted where it is dead-lettered.
fn count(metrics: &Metrics, waits: &mut Waits, record: &Record<'_>) {
    let (ids, value) = (SchemaIds::default(), record.value.unwrap_or_default());
    match &**record.topic {
        topics::ALERTS => {
            if let Ok(alert) = wire::read_owned::<Alert>(value, &ids) {
                metrics.alert(&alert.detector, alert.state.as_str());
            }
        }
        topics::DELIVERIES => {
            if let Ok(delivery) = wire::read_owned::<Delivery>(value, &ids) {
                metrics.delivery(delivery.state.as_str());
                time(metrics, waits, &delivery);
            }
        }
        _ => {
            if let Ok(letter) = wire::read_owned::<DeadLetter>(value, &ids) {
                metrics.dead_letters(&letter.topic, &letter.class, 1);
            }
        }
    }
}

/// How long people waited for a message.
fn time(metrics: &Metrics, waits: &mut Waits, delivery: &Delivery) {
    if let (DeliveryState::Requested, Some(notice)) = (delivery.state, delivery.notices.first()) {
        waits.insert(delivery.id, notice.alert.detected_at);
    }
    if delivery.state.is_final()
        && let Some(since) = waits.remove(&delivery.id)
        && delivery.state == DeliveryState::Sent
    {
        metrics.alert_to_sent(delivery.at.since(since));
    }
}
