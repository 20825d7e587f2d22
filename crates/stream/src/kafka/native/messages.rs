//! Messages as librdkafka hands them over: borrowed until they are given back.

use super::{CALL_MESSAGES, last_error};
use rdkafka::bindings as sys;
use rdkafka::error::{IsError, RDKafkaErrorCode};
use std::ffi::c_void;
use std::ptr;

/// Messages that librdkafka handed over.
#[derive(Default)]
pub(in crate::kafka) struct Messages(Vec<*mut sys::rd_kafka_message_t>);

// SAFETY: a message belongs to whoever took it, on whichever thread.
unsafe impl Send for Messages {}

/// One of them.
pub(in crate::kafka) struct Message<'a> {
    pub(in crate::kafka) offset: i64,
    /// Milliseconds since 1970; negative if the broker has none.
    pub(in crate::kafka) millis: i64,
    pub(in crate::kafka) key: &'a [u8],
    pub(in crate::kafka) value: Option<&'a [u8]>,
    /// Then it is no record but an event of the partition.
    pub(in crate::kafka) error: Option<RDKafkaErrorCode>,
}

impl Messages {
    /// Gives all of them back.
    pub(in crate::kafka) fn clear(&mut self) {
        // SAFETY: each pointer came from librdkafka and is destroyed once.
        self.0.drain(..).for_each(|message| unsafe { sys::rd_kafka_message_destroy(message) });
    }

    pub(in crate::kafka) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        self.0.iter().map(|message| {
            // SAFETY: the pointer is not null and the message lives until `clear`.
            let native = unsafe { &**message };
            // SAFETY: key and payload are as long as the message says; null only if there is none.
            let (key, value) =
                unsafe { (bytes(native.key, native.key_len), bytes(native.payload, native.len)) };
            // SAFETY: the message is valid; the kind of its time is not asked for.
            let millis = unsafe { sys::rd_kafka_message_timestamp(*message, ptr::null_mut()) };
            Message {
                offset: native.offset,
                millis,
                key: key.unwrap_or_default(),
                value,
                error: native.err.is_error().then(|| native.err.into()),
            }
        })
    }

    pub(in crate::kafka) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds up to `max` messages that `take` writes, as long as it fills what it is given.
    pub(super) fn add(&mut self, max: usize, take: &Take<'_>) -> Result<(), RDKafkaErrorCode> {
        let mut left = max;
        while left > 0 {
            let (before, wanted) = (self.0.len(), left.min(CALL_MESSAGES));
            self.0.resize(before + wanted, ptr::null_mut());
            let found = take(&mut self.0[before..]);
            self.0.truncate(before + usize::try_from(found).unwrap_or(0));
            if found < 0 {
                return Err(last_error());
            }
            if (found as usize) < wanted {
                break;
            }
            left -= wanted;
        }
        Ok(())
    }
}

/// Fills the slice with messages; gives their number or -1.
pub(super) type Take<'a> = dyn Fn(&mut [*mut sys::rd_kafka_message_t]) -> isize + 'a;

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
