//! Where messages come from: the queue of a partition that a member of a group has, and the cursor of
//! a reader without a group.

use super::messages::Messages;
use super::{last_error, millis};
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::{CString, c_void};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::TopicPartition;

/// A queue of a consumer: of one partition, or of what the client says of itself.
pub(in crate::kafka) struct Queue<C: ConsumerContext + 'static> {
    queue: *mut sys::rd_kafka_queue_t,
    _bell: Arc<UnixStream>,
    _consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

impl<C: ConsumerContext> Queue<C> {
    /// The queue of the client itself; a byte is written to `bell` when something comes.
    pub(in crate::kafka) fn of_client(
        consumer: &Arc<BaseConsumer<C>>,
        bell: &Arc<UnixStream>,
    ) -> Option<Queue<C>> {
        // SAFETY: the client lives as long as `consumer`.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Queue::new(queue, consumer, bell)
    }

    /// The queue of a partition, which from now on is the only place where its messages come. Made
    /// before the partition is assigned, so that none comes elsewhere.
    pub(in crate::kafka) fn of_partition(
        consumer: &Arc<BaseConsumer<C>>,
        bell: &Arc<UnixStream>,
        at: &TopicPartition,
    ) -> Option<Queue<C>> {
        let topic = CString::new(&*at.topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives and the name is a C string; no target ends the forwarding.
        unsafe {
            let partition = at.partition as i32;
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            if !queue.is_null() {
                sys::rd_kafka_queue_forward(queue, ptr::null_mut());
            }
            Queue::new(queue, consumer, bell)
        }
    }

    fn new(
        queue: *mut sys::rd_kafka_queue_t,
        consumer: &Arc<BaseConsumer<C>>,
        bell: &Arc<UnixStream>,
    ) -> Option<Queue<C>> {
        if queue.is_null() {
            return None;
        }
        // SAFETY: the descriptor stays open as long as the queue may write to it; the byte is copied.
        unsafe {
            let byte: *const c_void = ptr::from_ref(&1_u8).cast();
            sys::rd_kafka_queue_io_event_enable(queue, bell.as_raw_fd(), byte, 1);
        }
        Some(Queue { queue, _bell: bell.clone(), _consumer: consumer.clone() })
    }

    /// Adds what is there, up to `max` messages.
    pub(in crate::kafka) fn take(
        &self,
        messages: &mut Messages,
        max: usize,
    ) -> Result<(), RDKafkaErrorCode> {
        messages.add(max, &|out| {
            // SAFETY: the slice is writable and as long as it says.
            unsafe { sys::rd_kafka_consume_batch_queue(self.queue, 0, out.as_mut_ptr(), out.len()) }
        })
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: ours, silenced before the descriptor may close, and given back once.
        unsafe {
            sys::rd_kafka_queue_io_event_enable(self.queue, -1, ptr::null(), 0);
            sys::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// Reads one partition from an offset on, without a group. A client can have one cursor a partition.
pub(in crate::kafka) struct Cursor<C: ConsumerContext + 'static> {
    topic: *mut sys::rd_kafka_topic_t,
    partition: i32,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl<C: ConsumerContext> Send for Cursor<C> {}

impl<C: ConsumerContext> Cursor<C> {
    pub(in crate::kafka) fn start(
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

    /// Adds up to `max` messages; waits for the first. The C function would wait for all.
    pub(in crate::kafka) fn take(
        &self,
        messages: &mut Messages,
        max: usize,
        wait: Duration,
    ) -> Result<(), RDKafkaErrorCode> {
        // What the client says of itself is logged from here, as nobody else polls it.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        let take = |out: &mut [*mut sys::rd_kafka_message_t], wait| {
            let (out, length) = (out.as_mut_ptr(), out.len());
            // SAFETY: the partition was started, the slice is writable and as long as it says.
            unsafe { sys::rd_kafka_consume_batch(self.topic, self.partition, wait, out, length) }
        };
        let before = messages.len();
        messages.add(1, &|out| take(out, millis(wait)))?;
        if messages.len() > before && max > 1 {
            messages.add(max - 1, &|out| take(out, 0))?;
        }
        Ok(())
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
