//! Where messages go, and the two steps of a transaction that the wrapper makes slow or impossible.

use super::{CALL_MESSAGES, millis};
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often it is looked whether a call is to be given up.
const GLANCE: Duration = Duration::from_secs(1);

/// A topic that a producer writes to.
pub(in crate::kafka) struct Outlet<C: ProducerContext + 'static> {
    topic: *mut sys::rd_kafka_topic_t,
    _producer: Arc<ThreadedProducer<C>>,
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl<C: ProducerContext> Send for Outlet<C> {}

impl<C: ProducerContext> Outlet<C> {
    pub(in crate::kafka) fn new(
        producer: Arc<ThreadedProducer<C>>,
        topic: &str,
    ) -> Option<Outlet<C>> {
        let name = CString::new(topic).ok()?;
        // SAFETY: the client lives, the name is a C string, no configuration is given.
        let topic = unsafe {
            sys::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut())
        };
        (!topic.is_null()).then_some(Outlet { topic, _producer: producer })
    }

    /// Hands copies of the records over, in order; waits while the producer's queue is full.
    pub(in crate::kafka) fn produce<'a>(
        &self,
        partition: u32,
        records: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut batch = Vec::with_capacity(CALL_MESSAGES);
        for (key, value) in records {
            batch.push(outgoing(key, value));
            if batch.len() == CALL_MESSAGES {
                self.hand_over(partition, &mut batch)?;
                batch.clear();
            }
        }
        self.hand_over(partition, &mut batch)
    }

    fn hand_over(
        &self,
        partition: u32,
        batch: &mut [sys::rd_kafka_message_t],
    ) -> Result<(), RDKafkaErrorCode> {
        let mut rest = batch;
        while !rest.is_empty() {
            // SAFETY: the messages point to keys and values that outlive the call, which copies them.
            unsafe {
                sys::rd_kafka_produce_batch(
                    self.topic,
                    partition as i32,
                    sys::RD_KAFKA_MSG_F_COPY,
                    rest.as_mut_ptr(),
                    rest.len() as i32,
                )
            };
            // Once the queue is full, everything behind is refused too: the order is kept.
            let Some(refused) = rest.iter().position(|message| message.err.is_error()) else {
                break;
            };
            match rest[refused].err.into() {
                RDKafkaErrorCode::QueueFull => std::thread::sleep(Duration::from_millis(1)),
                error => return Err(error),
            }
            rest = &mut rest[refused..];
        }
        Ok(())
    }
}

fn outgoing(key: &[u8], value: Option<&[u8]>) -> sys::rd_kafka_message_t {
    // SAFETY: a plain C structure, for which zeros are "not set".
    let mut message: sys::rd_kafka_message_t = unsafe { std::mem::zeroed() };
    (message.key, message.key_len) = (key.as_ptr() as *mut c_void, key.len());
    if let Some(value) = value {
        (message.payload, message.len) = (value.as_ptr() as *mut c_void, value.len());
    }
    message
}

impl<C: ProducerContext> Drop for Outlet<C> {
    fn drop(&mut self) {
        // SAFETY: ours, and given back once.
        unsafe { sys::rd_kafka_topic_destroy(self.topic) };
    }
}

/// What librdkafka says about a step of a transaction that did not succeed.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct Refusal {
    pub(in crate::kafka) code: RDKafkaErrorCode,
    pub(in crate::kafka) text: String,
    /// The same call may be made again.
    pub(in crate::kafka) retriable: bool,
    /// The transaction must be aborted.
    pub(in crate::kafka) abort: bool,
}

impl Refusal {
    fn hangs() -> Refusal {
        let text = "the offsets were not taken, although Kafka answers".to_owned();
        Refusal { code: RDKafkaErrorCode::OperationTimedOut, text, retriable: false, abort: false }
    }
}

/// Whose offsets they are.
pub(in crate::kafka) enum Group<'a, C: ConsumerContext + 'static> {
    /// Those of a member: the broker refuses them if it is none any more.
    Member(&'a BaseConsumer<C>),
    /// Those of a group without members.
    Named(&'a str),
}

/// Adds offsets to the open transaction.
///
/// librdkafka's call hears three times at most who coordinates the group, and then waits for ever, over its
/// own timeout, until some connection comes or goes. So it runs aside; once `given_up`, which is asked every
/// now and then, it is left alone, and its producer is of no more use.
pub(in crate::kafka) fn send_offsets<P: ProducerContext + 'static, C: ConsumerContext>(
    producer: &Arc<ThreadedProducer<P>>,
    offsets: &TopicPartitionList,
    group: &Group<'_, C>,
    wait: Duration,
    mut given_up: impl FnMut() -> bool,
) -> Result<(), Refusal> {
    let (producer, offsets) = (producer.clone(), offsets.clone());
    let metadata = Metadata::of(group);
    let (told, answer) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // SAFETY: client, list and metadata live during the call.
        let done = unsafe {
            check(sys::rd_kafka_send_offsets_to_transaction(
                producer.client().native_ptr(),
                offsets.ptr(),
                metadata.ptr(),
                millis(wait),
            ))
        };
        // Nobody waits any more for what was given up.
        let _ = told.send(done);
    });
    loop {
        match answer.recv_timeout(GLANCE) {
            Ok(done) => return done,
            Err(RecvTimeoutError::Timeout) if !given_up() => {}
            Err(_) => return Err(Refusal::hangs()),
        }
    }
}

/// Who writes a group's offsets.
struct Metadata(*mut sys::rd_kafka_consumer_group_metadata_t);

// SAFETY: a structure of its own, which refers to no client.
unsafe impl Send for Metadata {}

impl Metadata {
    fn of<C: ConsumerContext>(group: &Group<'_, C>) -> Metadata {
        // SAFETY: the client lives, the name is a C string that is copied.
        Metadata(unsafe {
            match group {
                Group::Member(consumer) => {
                    sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr())
                }
                Group::Named(name) => {
                    let name = CString::new(*name).unwrap_or_default();
                    sys::rd_kafka_consumer_group_metadata_new(name.as_ptr())
                }
            }
        })
    }

    fn ptr(&self) -> *const sys::rd_kafka_consumer_group_metadata_t {
        self.0
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        // SAFETY: ours, and given back once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0) };
    }
}

/// Flushes and commits. The wrapper's own commit takes 100 ms.
pub(in crate::kafka) fn commit<P: ProducerContext>(
    producer: &ThreadedProducer<P>,
    wait: Duration,
) -> Result<(), Refusal> {
    let native = producer.client().native_ptr();
    // SAFETY: the client lives; its events are served by the producer's own thread.
    unsafe { check(sys::rd_kafka_commit_transaction(native, millis(wait))) }
}

/// # Safety
/// `error` must be null or an error that is ours.
unsafe fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), Refusal> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, ours, and destroyed once, after the last look at it.
    unsafe {
        let refusal = Refusal {
            code: sys::rd_kafka_error_code(error).into(),
            text: CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
            abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(refusal)
    }
}
