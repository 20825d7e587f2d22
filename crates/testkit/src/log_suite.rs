//! What every log promises, promise by promise. The embedded log, the one in memory and Kafka are
//! held to it by the same code, so nothing here knows which of them it talks to. Topics are named
//! after the promise, because a cluster is not made anew for each.

mod bench;
mod records;
mod workers;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::topics::{DataClass, Retention, Topic};
use tocsin_stream::Log;

/// Makes a log that the promise has for itself, or gives access to a shared one.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Log>;
/// An error that the log gave where it should not have. What is wrong otherwise is asserted.
pub type Outcome = Result<(), Box<dyn Error>>;
/// One promise.
pub type Promise = fn(Make<'_>) -> Outcome;

/// Every promise with its name.
pub const ALL: &[(&str, Promise)] = &[
    ("what was committed is read in order", records::committed_is_read_in_order),
    ("a key's partition is the one of Java's producer", records::keys_have_their_partition),
    ("what was not committed is not visible", records::uncommitted_is_invisible),
    ("outputs and progress are one", workers::outputs_and_progress_are_one),
    ("an empty commit is nothing", records::empty_commit_is_nothing),
    ("rewind delivers exactly what was not committed", workers::rewind_delivers_the_uncommitted),
    ("a group goes on where it has committed", workers::group_goes_on),
    ("two groups are independent", workers::groups_are_independent),
    ("a second worker fences the first", workers::second_worker_fences),
    ("a tombstone is a record", records::tombstones_are_records),
    ("offsets grow, and times stay", records::offsets_grow),
    ("a read begins in the middle", records::reads_begin_anywhere),
    ("offsets outside are refused", records::outside_is_refused),
    ("topics that do not exist are refused", records::unknown_is_refused),
    ("the number of partitions cannot change", records::partitions_cannot_change),
    ("inputs need equally many partitions", workers::inputs_match),
    ("a poll and a wait end with a commit", workers::commits_wake),
    ("a waker ends a poll", workers::waker_wakes),
    ("a partition that is not open keeps its records", workers::closed_partitions_wait),
    ("only the owner can confirm", workers::only_the_owner_confirms),
    ("large records and many small ones", records::large_and_many),
    ("a poll is fair and bounded", workers::polls_are_fair),
    ("writers on four threads lose nothing", workers::concurrent_writers),
];

/// Holds a log to every promise.
pub fn run(make: Make<'_>) {
    for (name, promise) in ALL {
        let outcome = promise(make);
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}

/// A topic with nothing but a name, partitions and a retention.
pub fn topic(name: &str, partitions: u32, retention: Retention) -> Topic {
    Topic {
        name: name.into(),
        purpose: "a test".into(),
        key: "anything".into(),
        why: "order".into(),
        partitions,
        retention,
        schema: None,
        data_class: DataClass::Internal,
        writers: Vec::new(),
        readers: Vec::new(),
        allowed_lateness: Duration::ZERO,
    }
}
