//! How batches come to the step. A partition whose next record needs a schema that nobody knows yet
//! waits, as do those of a source that is paused: what was polled of it is kept, nothing more of it
//! comes, and the others go on.

use super::Processor;
use crate::log::LogError;
use crate::progress::Progress;
use crate::record::Batch;
use crate::schemas::{Refusal, knowing};
use crate::step::Step;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tocsin_domain::{Micros, TopicPartition};

/// How soon it is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// The partitions that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    partitions: BTreeMap<u32, Queue>,
    /// Whether it was told.
    told: bool,
}

/// What was polled of a partition, from the record on that cannot be processed yet.
#[derive(Debug)]
struct Queue {
    batches: VecDeque<Batch>,
    why: Why,
}

/// Why a partition waits.
#[derive(Debug)]
enum Why {
    /// For something outside.
    Outside(String),
    /// For a person: whoever has paused the source tells of it.
    Paused(String),
}

/// What came of a batch: how many records were processed, and where and why it stopped.
type Taken = (u64, Option<(u64, Why)>);

impl Waiting {
    /// How long a poll may wait.
    pub(super) fn patience(&self, timeout: Duration) -> Duration {
        // Nobody resumes a source so fast that this matters.
        let soon = self.partitions.values().any(|queue| matches!(queue.why, Why::Outside(_)));
        if soon { timeout.min(AGAIN) } else { timeout }
    }

    /// Whether this partition waits: then its event time stands still as well.
    pub(super) fn has(&self, partition: u32) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// These are not ours any more.
    pub(super) fn go(&mut self, partitions: &[u32]) {
        self.partitions.retain(|number, _| !partitions.contains(number));
    }

    /// Forgets everything, because it is polled again; gives who waited.
    pub(super) fn clear(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.partitions).into_keys().collect()
    }
}

impl<S: Step> Processor<S> {
    /// Processes what waits, if it can be by now, and what has come; gives the number of records.
    pub(super) fn take_all(&mut self, batches: Vec<Batch>, now: Micros) -> u64 {
        let mut count = self.try_again(now);
        for batch in batches {
            let number = batch.partition;
            if let Some(queue) = self.waiting.partitions.get_mut(&number) {
                queue.batches.push_back(batch);
                continue;
            }
            let (taken, stopped) = self.take(&batch, now);
            count += taken;
            if let Some((from, why)) = stopped {
                let service = self.topology.service;
                let at = format!("{}/{number}/{from}", batch.topic);
                let (Why::Outside(reason) | Why::Paused(reason)) = &why;
                tracing::warn!(service, at, reason, "the partition waits");
                let batches = VecDeque::from([Batch { from, ..batch }]);
                self.waiting.partitions.insert(number, Queue { batches, why });
                self.worker.close(&[number]);
            }
        }
        self.tell_waiting();
        count
    }

    fn try_again(&mut self, now: Micros) -> u64 {
        let mut count = 0;
        for (number, mut queue) in std::mem::take(&mut self.waiting.partitions) {
            while let Some(batch) = queue.batches.pop_front() {
                let (taken, stopped) = self.take(&batch, now);
                count += taken;
                if let Some((from, why)) = stopped {
                    queue.batches.push_front(Batch { from, ..batch });
                    queue.why = why;
                    break;
                }
            }
            if !queue.batches.is_empty() {
                self.waiting.partitions.insert(number, queue);
                continue;
            }
            tracing::info!(service = self.topology.service, partition = number, "it goes on");
            self.worker.open(&[number]);
            if let Some(partition) = self.held.ready.get_mut(&number) {
                // Its subjects were not quiet: nobody has listened.
                partition.store.touch_all();
            }
        }
        count
    }

    fn take(&mut self, batch: &Batch, now: Micros) -> Taken {
        let Some(partition) = self.held.ready.get_mut(&batch.partition) else { return (0, None) };
        let (store, effects, schemas) =
            (&mut partition.store, &mut self.effects, self.options.schemas.as_ref());
        let (mut count, mut stopped) = (0, None);
        for record in batch.records() {
            effects.begin(&record);
            let done = knowing(&mut self.step, schemas, |step| {
                step.on_record(&record, now, store, effects)
            });
            match done {
                Ok(()) => {}
                Err(Refusal::Poison(poison)) => {
                    effects.dead_letter(&record, poison.class, &poison.reason);
                }
                Err(Refusal::NotYet(reason)) => {
                    stopped = Some((record.offset, Why::Outside(reason)));
                    break;
                }
                Err(Refusal::Paused(reason)) => {
                    stopped = Some((record.offset, Why::Paused(reason)));
                    break;
                }
            }
            let is_dead = effects.end();
            self.step.on_end(&record, is_dead, now, effects);
            count += 1;
        }
        let next = stopped.as_ref().map_or(batch.next, |(from, _)| *from);
        if count > 0 || stopped.is_none() {
            let at = TopicPartition { topic: batch.topic.clone(), partition: batch.partition };
            effects.transaction.progress.insert(at, next);
        }
        (count, stopped)
    }

    fn tell_waiting(&mut self) {
        let mut reasons = self.waiting.partitions.values().filter_map(|queue| match &queue.why {
            Why::Outside(reason) => Some(reason.as_str()),
            Why::Paused(_) => None,
        });
        let waits = reasons.next().map(|first| (1 + reasons.count(), first));
        if waits.is_some() || self.waiting.told {
            self.options.observer.tell(Progress::Waits(waits));
        }
        self.waiting.told = waits.is_some();
    }

    /// Reads on in the tables, to their ends: what nobody can read yet holds up everything.
    pub(super) fn read_tables(&mut self) -> Result<(), LogError> {
        let (step, options) = (&mut self.step, &self.options);
        let told = &mut self.waiting.told;
        self.tables.catch_up(&*self.log, &mut |record| {
            let done = knowing(step, options.schemas.as_ref(), |step| {
                step.on_table(record.topic, record.key, record.value)
            });
            match done {
                Ok(()) => {}
                Err(Refusal::Poison(poison)) => {
                    tracing::error!(position = %record.position(), %poison, "a table's record cannot be read and is left out");
                }
                Err(Refusal::NotYet(reason) | Refusal::Paused(reason)) => {
                    let reason = format!("{}: {reason}", record.position());
                    *told = true;
                    options.observer.tell(Progress::Waits(Some((1, &reason))));
                    return Err(LogError::Unavailable(reason));
                }
            }
            Ok(())
        })
    }
}
