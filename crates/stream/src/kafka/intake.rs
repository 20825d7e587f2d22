//! Writing records at the offsets that they have: without transactions, whose marks would take offsets,
//! and one after the other into a partition that nobody else writes to. Each acknowledgement must name
//! the offset that was meant; otherwise nothing more is written.

use crate::kafka::client::{Context, KafkaOptions};
use crate::kafka::producer::tune;
use crate::log::LogError;
use crate::transfer::Slot;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tocsin_domain::TopicPartition;

/// After so many records it is waited until all of them are there.
const STEP: usize = 8192;

/// Writes partitions anew.
pub struct KafkaIntake {
    options: KafkaOptions,
    producer: ThreadedProducer<Acknowledged>,
}

/// What the broker has said so far.
#[derive(Default)]
struct Acknowledged {
    context: Context,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Handed over and not acknowledged.
    open: usize,
    /// Why nothing more may be written.
    fault: Option<String>,
}

impl KafkaIntake {
    /// Connects with the first record.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the options are wrong.
    pub fn new(options: &KafkaOptions) -> Result<KafkaIntake, LogError> {
        let mut config = options.config()?;
        // Whatever cannot be written must not be left out before what can.
        config.set("enable.idempotence", "true").set("enable.gapless.guarantee", "true");
        tune(&mut config);
        let made = config.create_with_context(Acknowledged::default());
        let producer = made.map_err(|error| options.not_started(error))?;
        Ok(KafkaIntake { options: options.clone(), producer })
    }

    /// Hands over what stands at the next offset of a partition; from time to time waits until
    /// everything is there.
    ///
    /// # Errors
    /// As [`KafkaIntake::settle`]; then nothing more may be put.
    pub fn put(&self, at: &TopicPartition, slot: Slot<'_>) -> Result<(), LogError> {
        let open = {
            let mut state = self.producer.context().lock();
            state.open += 1;
            state.open
        };
        let mut record = BaseRecord::with_opaque_to(&at.topic, slot.offset as usize)
            .partition(at.partition as i32)
            .timestamp(slot.millis)
            .key(slot.key);
        record.payload = slot.value;
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                self.producer.context().done(None);
                return Err(self.refused(at, slot.offset, &error));
            }
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        if open >= STEP { self.settle() } else { Ok(()) }
    }

    /// Waits until everything that was put is in the log.
    ///
    /// # Errors
    /// [`LogError::Refused`] if something stands at another offset than it should: somebody else has
    /// written. [`LogError::Unavailable`] if the cluster did not take it in time.
    pub fn settle(&self) -> Result<(), LogError> {
        let acknowledged = self.producer.context();
        let mut state = acknowledged.lock();
        while state.open > 0 && state.fault.is_none() {
            let waited = acknowledged.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        match &state.fault {
            Some(fault) => Err(LogError::Refused(fault.clone())),
            None => Ok(()),
        }
    }

    fn refused(&self, at: &TopicPartition, offset: u64, error: &KafkaError) -> LogError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => LogError::Refused(format!(
                "the record at offset {offset} of {at} is larger than message.max.bytes allows; raise it in [log.options], and max.message.bytes of the topic"
            )),
            _ => self.options.unavailable(&format!("write offset {offset} of {at}"), error),
        }
    }
}

impl Acknowledged {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, fault: Option<String>) {
        let mut state = self.lock();
        state.open -= 1;
        if state.fault.is_none() {
            state.fault = fault;
        }
        if state.open == 0 || state.fault.is_some() {
            self.changed.notify_all();
        }
    }
}

impl ClientContext for Acknowledged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Acknowledged {
    /// The offset that was meant.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, meant: usize) {
        self.done(match result {
            Ok(there) => misplaced(there.topic(), there.partition(), meant, there.offset()),
            Err((error, record)) => {
                let (topic, partition) = (record.topic(), record.partition());
                Some(format!(
                    "{topic}/{partition} did not take offset {meant}: {error}; run the same command again, and it goes on where it is"
                ))
            }
        });
    }
}

/// What is wrong with a record that stands elsewhere than it should.
fn misplaced(topic: &str, partition: i32, meant: usize, found: i64) -> Option<String> {
    (found != meant as i64).then(|| {
        format!(
            "{topic}/{partition}: what belongs at offset {meant} stands at {found}, as something else writes there; stop every process of Tocsin, delete the topic, `tocsin topics apply`, and import again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_at_another_offset_stops_everything() {
        assert_eq!(misplaced("t", 3, 7, 7), None);
        let acknowledged = Acknowledged::default();
        acknowledged.lock().open = 3;
        acknowledged.done(misplaced("t", 3, 6, 6));
        assert_eq!(acknowledged.lock().fault, None);
        acknowledged.done(misplaced("t", 3, 7, 9));
        acknowledged.done(misplaced("t", 3, 8, 10));
        let fault = acknowledged.lock().fault.clone().unwrap();
        assert!(fault.contains("t/3") && fault.contains("offset 7 stands at 9"), "{fault}");
    }
}
