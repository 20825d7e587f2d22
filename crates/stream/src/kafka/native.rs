//! librdkafka's C interface, where the safe wrapper costs too much or hides a call: batches in and
//! out, offsets and commit of a transaction, reading one partition without a group. The only unsafe
//! code of Tocsin. Every pointer is owned by one of the types here and given back when it is dropped,
//! and each of them keeps its client alive.
#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// So many records go into one call.
const PRODUCE_BATCH: usize = 1000;

/// Messages that librdkafka handed over.
#[derive(Default)]
pub(super) struct Messages(Vec<*mut sys::rd_kafka_message_t>);

// SAFETY: a message belongs to whoever took it, on whichever thread.
unsafe impl Send for Messages {}

/// One of them.
pub(super) struct Message<'a> {
    /// The same number for the same topic, as long as the client lives.
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Milliseconds since 1970; negative if the broker has none.
    pub(super) millis: i64,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
    /// Then it is no record but an event of the partition.
    pub(super) error: Option<RDKafkaErrorCode>,
    native: &'a sys::rd_kafka_message_t,
}

impl Message<'_> {
    /// The topic's name.
    pub(super) fn topic_name(&self) -> String {
        if self.native.rkt.is_null() {
            return String::new();
        }
        // SAFETY: the message keeps its topic, and the name lives as long as that.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.native.rkt)) }
            .to_string_lossy()
            .into_owned()
    }
}

impl Messages {
    /// Gives all of them back.
    pub(super) fn clear(&mut self) {
        // SAFETY: each pointer came from librdkafka and is destroyed once.
        self.0.drain(..).for_each(|message| unsafe { sys::rd_kafka_message_destroy(message) });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        self.0.iter().map(|message| {
            // SAFETY: the pointer is not null and the message lives until `clear`.
            let native = unsafe { &**message };
            // SAFETY: key and payload are as long as the message says; null only if there is none.
            let (key, value) =
                unsafe { (bytes(native.key, native.key_len), bytes(native.payload, native.len)) };
            // SAFETY: the message is valid; the kind of its time is not asked for.
            let millis = unsafe { sys::rd_kafka_message_timestamp(*message, ptr::null_mut()) };
            Message {
                topic: native.rkt as usize,
                partition: native.partition,
                offset: native.offset,
                millis,
                key: key.unwrap_or_default(),
                value,
                error: native.err.is_error().then(|| native.err.into()),
                native,
            }
        })
    }

    /// Waits for one message, then takes what else is there already: at most `max` in all. The C
    /// function would wait for a full batch.
    fn fill(
        &mut self,
        max: usize,
        wait: Duration,
        take: &Take<'_>,
    ) -> Result<(), RDKafkaErrorCode> {
        for (wanted, wait) in [(1.min(max), wait), (max.saturating_sub(1), Duration::ZERO)] {
            let before = self.0.len();
            self.0.resize(before + wanted, ptr::null_mut());
            let found = take(&mut self.0[before..], millis(wait));
            self.0.truncate(before + usize::try_from(found).unwrap_or(0));
            if found < 0 {
                return Err(last_error());
            }
            if found == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Fills the slice with messages; gives their number or -1.
type Take<'a> = dyn Fn(&mut [*mut sys::rd_kafka_message_t], i32) -> isize + 'a;

impl Drop for Messages {
    fn drop(&mut self) {
        self.clear();
    }
}

/// # Safety
/// `start` must be null or point to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as above.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

fn millis(time: Duration) -> i32 {
    time.as_millis().try_into().unwrap_or(i32::MAX)
}

fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a variable of this thread.
    unsafe { sys::rd_kafka_last_error() }.into()
}

/// One queue for the partitions of a consumer that are ready.
pub(super) struct Queue<C: ConsumerContext + 'static> {
    queue: *mut sys::rd_kafka_queue_t,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}
// SAFETY: as above.
unsafe impl<C: ConsumerContext> Sync for Queue<C> {}

impl<C: ConsumerContext> Queue<C> {
    pub(super) fn new(consumer: Arc<BaseConsumer<C>>) -> Queue<C> {
        // SAFETY: the client lives as long as `consumer`.
        let queue = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Queue { queue, consumer }
    }

    /// Messages of the partition wait where they are; call it before the partition is assigned.
    pub(super) fn hold(&self, topic: &str, partition: u32) {
        self.forward(topic, partition, ptr::null_mut());
    }

    /// Messages of the partition come here.
    pub(super) fn open(&self, topic: &str, partition: u32) {
        self.forward(topic, partition, self.queue);
    }

    fn forward(&self, topic: &str, partition: u32, to: *mut sys::rd_kafka_queue_t) {
        let Ok(topic) = CString::new(topic) else { return };
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client lives, the name is a C string, and the queue is given back at once; a
        // null target ends the forwarding.
        unsafe {
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition as i32);
            if !queue.is_null() {
                sys::rd_kafka_queue_forward(queue, to);
                sys::rd_kafka_queue_destroy(queue);
            }
        }
    }

    /// Adds up to `max` messages; waits for the first.
    pub(super) fn take(
        &self,
        messages: &mut Messages,
        max: usize,
        wait: Duration,
    ) -> Result<(), RDKafkaErrorCode> {
        messages.fill(max, wait, &|out, wait| {
            // SAFETY: the slice is writable and as long as it says.
            unsafe {
                sys::rd_kafka_consume_batch_queue(self.queue, wait, out.as_mut_ptr(), out.len())
            }
        })
    }

    /// Ends a [`Queue::take`] that waits, or the next one.
    pub(super) fn wake(&self) {
        // SAFETY: the queue lives as long as `self`; the call is made for other threads.
        unsafe { sys::rd_kafka_queue_yield(self.queue) };
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: ours, and given back once.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

/// Reads one partition from an offset on, without a group. A client can have one cursor a partition.
pub(super) struct Cursor<C: ConsumerContext + 'static> {
    topic: *mut sys::rd_kafka_topic_t,
    partition: i32,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl<C: ConsumerContext> Send for Cursor<C> {}

impl<C: ConsumerContext> Cursor<C> {
    pub(super) fn start(
        consumer: Arc<BaseConsumer<C>>,
        topic: &str,
        partition: u32,
        offset: u64,
    ) -> Result<Cursor<C>, RDKafkaErrorCode> {
        let partition = partition as i32;
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client lives, the name is a C string, no configuration is given.
        let topic = unsafe {
            sys::rd_kafka_topic_new(consumer.client().native_ptr(), name.as_ptr(), ptr::null_mut())
        };
        if topic.is_null() {
            return Err(last_error());
        }
        // SAFETY: the handle was made a moment ago.
        let started = unsafe { sys::rd_kafka_consume_start(topic, partition, offset as i64) };
        if started != 0 {
            let error = last_error();
            // SAFETY: ours, and given back once.
            unsafe { sys::rd_kafka_topic_destroy(topic) };
            return Err(error);
        }
        Ok(Cursor { topic, partition, consumer })
    }

    /// Adds up to `max` messages; waits for the first.
    pub(super) fn take(
        &self,
        messages: &mut Messages,
        max: usize,
        wait: Duration,
    ) -> Result<(), RDKafkaErrorCode> {
        // What the client says of itself is logged from here, as nobody else polls it.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        messages.fill(max, wait, &|out, wait| {
            // SAFETY: the partition was started, the slice is writable and as long as it says.
            unsafe {
                sys::rd_kafka_consume_batch(
                    self.topic,
                    self.partition,
                    wait,
                    out.as_mut_ptr(),
                    out.len(),
                )
            }
        })
    }
}

impl<C: ConsumerContext> Drop for Cursor<C> {
    fn drop(&mut self) {
        // SAFETY: started once, stopped once; the handle is ours and given back once.
        unsafe {
            sys::rd_kafka_consume_stop(self.topic, self.partition);
            sys::rd_kafka_topic_destroy(self.topic);
        }
    }
}

/// A topic that a producer writes to.
pub(super) struct Outlet<C: ProducerContext + 'static> {
    topic: *mut sys::rd_kafka_topic_t,
    _producer: Arc<ThreadedProducer<C>>,
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl<C: ProducerContext> Send for Outlet<C> {}

impl<C: ProducerContext> Outlet<C> {
    pub(super) fn new(producer: Arc<ThreadedProducer<C>>, topic: &str) -> Option<Outlet<C>> {
        let name = CString::new(topic).ok()?;
        // SAFETY: the client lives, the name is a C string, no configuration is given.
        let topic = unsafe {
            sys::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut())
        };
        (!topic.is_null()).then_some(Outlet { topic, _producer: producer })
    }

    /// Hands copies of the records over, in order; waits while the producer's queue is full.
    pub(super) fn produce<'a>(
        &self,
        partition: u32,
        records: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut batch = Vec::with_capacity(PRODUCE_BATCH);
        for (key, value) in records {
            batch.push(outgoing(key, value));
            if batch.len() == PRODUCE_BATCH {
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
pub(super) struct Refusal {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
    /// The same call may be made again.
    pub(super) retriable: bool,
    /// The transaction must be aborted.
    pub(super) abort: bool,
}

/// Whose offsets they are.
pub(super) enum Group<'a, C: ConsumerContext + 'static> {
    /// Those of a member: the broker refuses them if it is none any more.
    Member(&'a BaseConsumer<C>),
    /// Those of a group without members.
    Named(&'a str),
}

/// Adds offsets to the open transaction.
pub(super) fn send_offsets<P: ProducerContext, C: ConsumerContext>(
    producer: &ThreadedProducer<P>,
    offsets: &TopicPartitionList,
    group: &Group<'_, C>,
    wait: Duration,
) -> Result<(), Refusal> {
    // SAFETY: clients and list live during the call; the metadata is ours and given back once.
    unsafe {
        let metadata = match group {
            Group::Member(consumer) => {
                sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr())
            }
            Group::Named(name) => {
                let name = CString::new(*name).unwrap_or_default();
                sys::rd_kafka_consumer_group_metadata_new(name.as_ptr())
            }
        };
        let native = producer.client().native_ptr();
        let error = sys::rd_kafka_send_offsets_to_transaction(
            native,
            offsets.ptr(),
            metadata,
            millis(wait),
        );
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        check(error)
    }
}

/// Flushes and commits. The wrapper's own commit takes 100 ms.
pub(super) fn commit<P: ProducerContext>(
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
