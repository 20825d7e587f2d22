//! A chunk: consecutive records of one partition in one buffer. Whole chunks cross every border
//! (thread, transaction, disk), so the cost of a border is paid once for many records.
//!
//! ```text
//! record = offset delta · time delta · key length · key · value length + 1 (0: tombstone) · value
//! ```
//! All four numbers are LEB128; both deltas count from the chunk's base.

use crate::record::Record;
use std::sync::Arc;
use tocsin_domain::Micros;

/// Records that have their offsets.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The offset that the deltas count from.
    pub base: u64,
    /// The time that the deltas count from.
    pub time: Micros,
    /// How many records there are.
    pub count: u32,
    /// The encoded records. Shared, so that a reader never copies.
    pub bytes: Arc<[u8]>,
}

impl Chunk {
    /// The records in order. Bytes that are no record end the iteration: a chunk's checksum is
    /// verified where it is read from disk.
    pub fn records<'a>(&'a self, topic: &'a Arc<str>, partition: u32) -> Records<'a> {
        Records { chunk: self, topic, partition, rest: &self.bytes, left: self.count }
    }
}

/// Iterates over a chunk.
pub struct Records<'a> {
    chunk: &'a Chunk,
    topic: &'a Arc<str>,
    partition: u32,
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.chunk.base.checked_add(read_number(&mut self.rest)?)?;
        let time = self.chunk.time.0.checked_add_unsigned(read_number(&mut self.rest)?)?;
        let (key, value) = read_pair(&mut self.rest)?;
        let (topic, partition) = (self.topic, self.partition);
        Some(Record { topic, partition, offset, time: Micros(time), key, value })
    }
}

/// A chunk is closed when it has this many bytes: a read that begins in its middle loads the rest
/// for nothing, and a row on disk has costs that want to be shared.
pub const CHUNK_BYTES: usize = 256 << 10;
/// A chunk is closed when it has this many records: whole chunks are what a poll can give.
pub const CHUNK_RECORDS: u32 = 4096;

/// Collects records that shall be appended to one partition. The log gives them their offsets.
#[derive(Clone, Debug, Default)]
pub struct ChunkBuilder {
    bytes: Vec<u8>,
    count: u32,
    next_delta: u64,
    /// Where the part that is being written began; what is before it is in `closed`.
    part: Cut,
    closed: Vec<Cut>,
}

/// The state of a builder at a border between two parts.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    bytes: usize,
    count: u32,
    delta: u64,
}

/// Records of a builder that become one chunk.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// What the part's deltas count from, itself counted from the builder's base.
    pub base: u64,
    /// The offset after the part, counted from the builder's base.
    pub next: u64,
    /// How many records there are.
    pub count: u32,
    /// The encoded records.
    pub bytes: &'a [u8],
}

impl<'a> Part<'a> {
    /// Keys and values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            read_number(&mut rest)?;
            read_number(&mut rest)?;
            read_pair(&mut rest)
        })
    }
}

impl ChunkBuilder {
    /// Appends a record at the next offset.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.push_at(self.next_delta, 0, key, value);
    }

    /// Appends a record whose value `write` writes; its length is filled in afterwards.
    pub fn push_with(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.head(self.next_delta, 0, key);
        // Most values are shorter than 2^14 bytes, so two bytes are kept free for the length.
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        write(&mut self.bytes);
        let length = (self.bytes.len() - at - 2) as u64 + 1;
        if length < 1 << 14 {
            self.bytes[at] = (length & 0x7f) as u8 | 0x80;
            self.bytes[at + 1] = (length >> 7) as u8;
        } else {
            let mut number = Vec::with_capacity(5);
            write_number(&mut number, length);
            self.bytes.splice(at..at + 2, number);
        }
        self.pushed(self.next_delta + 1);
    }

    /// Appends a record that keeps its distance from the base; for compaction, which leaves gaps.
    pub fn push_at(&mut self, delta: u64, time_delta: u64, key: &[u8], value: Option<&[u8]>) {
        self.head(delta, time_delta, key);
        match value {
            None => self.bytes.push(0),
            Some(value) => {
                write_number(&mut self.bytes, value.len() as u64 + 1);
                self.bytes.extend_from_slice(value);
            }
        }
        self.pushed(delta + 1);
    }

    fn pushed(&mut self, next_delta: u64) {
        self.count += 1;
        self.next_delta = next_delta;
        let full = self.bytes.len() - self.part.bytes >= CHUNK_BYTES;
        if full || self.count - self.part.count >= CHUNK_RECORDS {
            self.closed.push(self.part);
            self.part = self.here();
        }
    }

    fn here(&self) -> Cut {
        Cut { bytes: self.bytes.len(), count: self.count, delta: self.next_delta }
    }

    fn head(&mut self, delta: u64, time_delta: u64, key: &[u8]) {
        write_number(&mut self.bytes, delta - self.part.delta);
        write_number(&mut self.bytes, time_delta);
        write_number(&mut self.bytes, key.len() as u64);
        self.bytes.extend_from_slice(key);
    }

    /// How many records there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The offsets that the records take: the last delta and one.
    pub fn span(&self) -> u64 {
        self.next_delta
    }

    /// The encoded records. They are one chunk only as long as there is one part: the deltas begin
    /// anew in each of the [`ChunkBuilder::parts`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records as chunks of about [`CHUNK_BYTES`] bytes, at most [`CHUNK_RECORDS`] records.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let starts = self.closed.iter().copied().chain([self.part]);
        let ends = self.closed.iter().skip(1).copied().chain(self.tail()).chain([self.here()]);
        starts.zip(ends).filter(|(from, to)| from.count < to.count).map(|(from, to)| Part {
            base: from.delta,
            next: to.delta,
            count: to.count - from.count,
            bytes: &self.bytes[from.bytes..to.bytes],
        })
    }

    /// The end of the last closed part.
    fn tail(&self) -> Option<Cut> {
        (!self.closed.is_empty()).then_some(self.part)
    }

    /// Forgets every record and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.next_delta = 0;
        self.part = Cut::default();
        self.closed.clear();
    }
}

/// Takes the key and the value of a record off the front.
#[inline]
fn read_pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let length = read_number(rest)? as usize;
    let key = rest.split_off(..length)?;
    let value = match read_number(rest)? as usize {
        0 => None,
        length => Some(rest.split_off(..length - 1)?),
    };
    Some((key, value))
}

/// Appends LEB128.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes LEB128 off the front; `None` if it is cut off or longer than ten bytes.
#[inline]
pub fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    // Most numbers are one byte or two.
    match *bytes {
        [byte @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some((*byte).into())
        }
        [low, high @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u64::from(low & 0x7f) | u64::from(*high) << 7)
        }
        _ => read_longer(bytes),
    }
}

fn read_longer(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(builder: &ChunkBuilder) -> Chunk {
        Chunk { base: 100, time: Micros(7), count: builder.count(), bytes: builder.bytes().into() }
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_read(records in prop::collection::vec((any::<Vec<u8>>(), any::<Option<Vec<u8>>>()), 0..20)) {
            let mut builder = ChunkBuilder::default();
            for (key, value) in &records {
                builder.push(key, value.as_deref());
            }
            let (chunk, topic) = (chunk(&builder), Arc::from("t"));
            let read: Vec<_> = chunk.records(&topic, 3).map(|r| (r.key.to_vec(), r.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&read, &records);
            for (i, record) in chunk.records(&topic, 3).enumerate() {
                prop_assert_eq!(record.offset, 100 + i as u64);
            }
        }

        #[test]
        fn bytes_that_are_no_chunk_never_panic(bytes: Vec<u8>, count: u32) {
            let chunk = Chunk { base: 0, time: Micros(0), count, bytes: bytes.into() };
            let topic = Arc::from("t");
            let _ = chunk.records(&topic, 0).count();
        }
    }

    #[test]
    fn big_builders_are_cut_at_record_borders_and_lose_nothing() {
        for (records, length, parts) in [(0, 1, 0), (4096, 1, 1), (10_000, 1, 3), (700, 1000, 3)] {
            let mut builder = ChunkBuilder::default();
            let value = vec![7; length];
            for i in 0..records as u64 {
                builder.push_at(i * 2, 0, b"k", Some(&value));
            }
            let topic = Arc::from("t");
            let mut offsets = Vec::new();
            for part in builder.parts() {
                let (base, count) = (5 + part.base, part.count);
                assert_eq!(base, offsets.last().map_or(5, |last| last + 1));
                let chunk = Chunk { base, time: Micros(0), count, bytes: part.bytes.into() };
                assert_eq!(part.pairs().count() as u32, count);
                assert!(part.pairs().eq(chunk.records(&topic, 0).map(|r| (r.key, r.value))));
                offsets.extend(chunk.records(&topic, 0).map(|record| record.offset));
                assert_eq!(offsets.last().map(|last| last + 1), Some(5 + part.next));
            }
            assert_eq!(builder.parts().count(), parts, "{records} of {length}");
            assert!(offsets.into_iter().eq((0..records as u64).map(|i| 5 + i * 2)));
            builder.clear();
            assert_eq!(builder.parts().count(), 0);
        }
    }

    #[test]
    fn values_of_every_size_are_written_in_place() {
        for length in [0, 1, 126, 127, 128, 16_382, 16_383, 16_384, 70_000] {
            let mut builder = ChunkBuilder::default();
            builder.push_with(b"k", |out| out.extend(std::iter::repeat_n(9, length)));
            builder.push(b"after", None);
            let (chunk, topic) = (chunk(&builder), Arc::from("t"));
            let read: Vec<_> = chunk.records(&topic, 0).collect();
            assert_eq!(read[0].value.map(<[u8]>::len), Some(length));
            assert_eq!((read[1].key, read[1].offset), (&b"after"[..], 101));
        }
    }
}
