//! From messages to batches: what librdkafka hands over, one by one and in any order of partitions,
//! becomes chunks, which are what crosses every border from here on.

use crate::chunk::{Chunk, ChunkBuilder};
use crate::kafka::native::Message;
use crate::record::Batch;
use tocsin_domain::{Micros, TopicPartition};

/// The records of one partition out of one poll.
#[derive(Debug, Default)]
pub(super) struct Gather {
    builder: ChunkBuilder,
    /// What the builder's offsets and times count from.
    base: u64,
    time: Micros,
    next: u64,
    chunks: Vec<Chunk>,
}

impl Gather {
    /// Adds a record behind those before.
    pub(super) fn push(&mut self, message: &Message<'_>) {
        let (offset, time) = (message.offset as u64, Micros(message.millis.max(0) * 1000));
        // A time before the base cannot be told as a distance from it.
        if time < self.time || self.builder.count() == 0 {
            self.close();
            (self.base, self.time) = (offset, time);
        }
        let late = time.0.abs_diff(self.time.0);
        self.builder.push_at(offset - self.base, late, message.key, message.value);
        self.next = offset + 1;
    }

    fn close(&mut self) {
        let (base, time) = (self.base, self.time);
        self.chunks.extend(self.builder.parts().map(|part| {
            let (base, count) = (base + part.base, part.count);
            Chunk { base, time, count, bytes: part.bytes.into() }
        }));
        self.builder.clear();
    }

    /// Everything that was added, as one batch; `None` if that is nothing.
    pub(super) fn take(&mut self, at: &TopicPartition) -> Option<Batch> {
        self.close();
        let chunks = std::mem::take(&mut self.chunks);
        let from = chunks.first()?.base;
        let (topic, partition) = (at.topic.clone(), at.partition);
        Some(Batch { topic, partition, from, next: self.next, chunks })
    }
}
