//! From messages to batches: what librdkafka hands over, one by one and in any order of partitions,
//! becomes chunks, which are what crosses every border from here on.

use crate::chunk::{Chunk, ChunkBuilder};
use crate::kafka::native::Message;
use crate::record::Batch;
use crate::transfer::is_filler;
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
    /// Adds a record behind those before. A filler is none: it only takes up an offset.
    pub(super) fn push(&mut self, message: &Message<'_>) {
        if is_filler(message.key, message.value) {
            return;
        }
        // Whoever wrote the record chose its time, and no hour is too late for that.
        let time = Micros(message.millis.max(0).saturating_mul(1000));
        let offset = message.offset as u64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::FILLER;

    #[test]
    fn fillers_take_up_offsets_and_are_no_records() {
        let (at, mut gather) = (TopicPartition::new("t", 0), Gather::default());
        let mut push = |offset, key, value| {
            gather.push(&Message { offset, millis: 5, key, value, error: None });
        };
        push(0, FILLER, None);
        push(1, b"a", Some(b"1"));
        push(2, FILLER, None);
        // Only a tombstone can be one.
        push(3, FILLER, Some(b"2"));
        push(4, b"a", None);
        push(5, FILLER, None);
        let batch = gather.take(&at).unwrap();
        let found: Vec<_> = batch.records().map(|r| (r.offset, r.key, r.value)).collect();
        assert_eq!(
            found,
            [(1, &b"a"[..], Some(&b"1"[..])), (3, FILLER, Some(b"2")), (4, b"a", None)]
        );
        gather.push(&Message { offset: 6, millis: 5, key: FILLER, value: None, error: None });
        assert!(gather.take(&at).is_none());
    }

    #[test]
    fn a_record_may_have_any_time() {
        let (at, mut gather) = (TopicPartition::new("t", 0), Gather::default());
        let all = [-1, 0, 7, i64::MAX / 1000 + 1, i64::MAX, i64::MIN, 5];
        for (offset, millis) in (0..).zip(all) {
            gather.push(&Message { offset, millis, key: b"k", value: None, error: None });
        }
        let batch = gather.take(&at).unwrap();
        let found: Vec<_> = batch.records().map(|r| (r.offset, r.time.0)).collect();
        let last = i64::MAX;
        assert_eq!(found, [(0, 0), (1, 0), (2, 7000), (3, last), (4, last), (5, 0), (6, 5000)]);
    }
}
