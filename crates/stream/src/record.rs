//! Records as they are read: borrowed from the chunk that holds them.

use crate::chunk::Chunk;
use std::sync::Arc;
use tocsin_domain::{Micros, Position};

/// One record, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The topic it stands in.
    pub topic: &'a Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// Its offset. Offsets of a partition grow and may have gaps.
    pub offset: u64,
    /// When the log took it.
    pub time: Micros,
    /// Decides the partition; may be empty.
    pub key: &'a [u8],
    /// `None` is a tombstone: in a compacted topic it deletes the key.
    pub value: Option<&'a [u8]>,
}

impl Record<'_> {
    /// Where it stands, owned.
    pub fn position(&self) -> Position {
        Position { topic: self.topic.to_string(), partition: self.partition, offset: self.offset }
    }

    /// When the log took it, as exactly as every log keeps it: milliseconds since 1970. At least 1,
    /// because to Kafka 0 is no time.
    pub fn millis(&self) -> i64 {
        (self.time.0 / 1000).max(1)
    }
}

/// Consecutive records of one partition.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// Records before this offset are skipped: a read may begin inside a chunk.
    pub from: u64,
    /// The offset after the last record of the batch, where the next read begins.
    pub next: u64,
    /// The records, in order.
    pub chunks: Vec<Chunk>,
}

impl Batch {
    /// Every record from [`Batch::from`] on, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.records(&self.topic, self.partition))
            .skip_while(|record| record.offset < self.from)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.from >= self.next
    }
}
