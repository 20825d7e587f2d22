//! Chunks, which cross every border of a log: any bytes as the records of one. Offsets and times never
//! go beyond what there is, and what is read can be written and read again.

use crate::target::Target;
use std::sync::Arc;
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::{Batch, Chunk, ChunkBuilder};

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "chunks", open: |_| Box::new(suffer) }]
}

/// Base, time and count stand before the records.
fn suffer(bytes: &[u8]) {
    let Some((base, rest)) = bytes.split_first_chunk() else { return };
    let Some((time, rest)) = rest.split_first_chunk() else { return };
    let Some((count, rest)) = rest.split_first_chunk() else { return };
    let (base, time) = (u64::from_le_bytes(*base), Micros(i64::from_le_bytes(*time)));
    let count = u32::from_le_bytes(*count);
    let chunk = Chunk { base, time, count, bytes: rest.into() };
    let at = TopicPartition::new("t", 3);
    let mut builder = ChunkBuilder::default();
    let mut records = 0;
    for record in chunk.records(&at.topic, at.partition) {
        assert!(record.offset >= base && record.time >= time && record.millis() > 0);
        builder.push(record.key, record.value);
        records += 1;
    }
    assert!(records <= count && records as usize <= rest.len());
    written(&chunk, &builder, &at.topic);
    let batch =
        Batch { topic: at.topic, partition: 3, from: base, next: u64::MAX, chunks: vec![chunk] };
    assert_eq!(batch.records().count(), records as usize);
}

/// A builder's parts hold what was read.
fn written(read: &Chunk, builder: &ChunkBuilder, topic: &Arc<str>) {
    let mut before = read.records(topic, 3);
    for part in builder.parts() {
        let (bytes, time) = (part.bytes.into(), Micros(0));
        let chunk = Chunk { base: part.base, time, count: part.count, bytes };
        assert!(part.pairs().eq(chunk.records(topic, 3).map(|record| (record.key, record.value))));
        for record in chunk.records(topic, 3) {
            let same =
                before.next().is_some_and(|b| (b.key, b.value) == (record.key, record.value));
            assert!(same, "a record was written in another way than it was read");
        }
    }
    assert!(before.next().is_none(), "a record was lost");
}
