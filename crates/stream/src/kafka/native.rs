//! librdkafka's C interface, where the safe wrapper costs too much or hides a call: batches in and
//! out, offsets and commit of a transaction, reading one partition without a group. The only unsafe
//! code of Tocsin. Every pointer is owned by one of the types here and given back when it is dropped,
//! and each of them keeps its client alive.
#![allow(unsafe_code)]

mod consume;
#[cfg(target_os = "linux")]
mod leaders;
mod messages;
mod produce;

pub(super) use consume::{Cursor, Queue};
#[cfg(target_os = "linux")]
pub(super) use leaders::{linked, mended};
pub(super) use messages::{Message, Messages};
pub(super) use produce::{Group, Outlet, Refusal, commit, send_offsets};

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

/// So many messages go into, or come out of, one call.
const CALL_MESSAGES: usize = 1000;

fn millis(time: Duration) -> i32 {
    time.as_millis().try_into().unwrap_or(i32::MAX)
}

fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a variable of this thread.
    unsafe { sys::rd_kafka_last_error() }.into()
}
