//! A partition that a member has, and where it stands in it.

use crate::kafka::client::Context;
use crate::kafka::gather::Gather;
use crate::kafka::native::{Messages, Queue};
use crate::record::Batch;
use rdkafka::error::RDKafkaErrorCode;
use tocsin_domain::TopicPartition;

/// A partition of an input that this member has.
pub(super) struct Seat {
    pub(super) at: TopicPartition,
    /// Where the group goes on; `None` before its first commit.
    pub(super) committed: Option<u64>,
    /// The offset that a record must have at least.
    pub(super) next: u64,
    /// Where it begins if nothing was ever committed.
    pub(super) start: u64,
    pub(super) open: bool,
    pub(super) queue: Queue<Context>,
}

impl Seat {
    /// The messages as a batch, or the error that came instead of one.
    pub(super) fn gather(
        &mut self,
        messages: &Messages,
    ) -> Result<Option<Batch>, RDKafkaErrorCode> {
        let mut gather = Gather::default();
        for message in messages.iter() {
            if let Some(code) = message.error {
                return Err(code);
            }
            // What was fetched before a rewind may still come.
            if message.offset as u64 >= self.next {
                self.next = message.offset as u64 + 1;
                gather.push(&message);
            }
        }
        Ok(gather.take(&self.at))
    }
}
