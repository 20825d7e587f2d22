//! What a partition holds, as a hash: equal hashes are equal records, whatever log they stand in. It
//! reads and counts; it does not know which logs there are.

use crate::log::{Log, LogError, Span};
use crate::record::Record;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::{Retention, Topic};

/// What of a partition counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Every record: its offset, its time to the millisecond, its key and its value.
    Records,
    /// Of each key the newest value, in the order of the keys: what stays the same however much of the
    /// rest compaction has dropped. Of a changelog this is the state.
    Keys,
}

impl View {
    /// What counts in a topic.
    pub fn of(topic: &Topic) -> View {
        match topic.retention {
            Retention::Compact => View::Keys,
            Retention::Keep(_) => View::Records,
        }
    }

    /// What it counts, `records` or `keys`.
    pub fn word(self) -> &'static str {
        match self {
            View::Records => "records",
            View::Keys => "keys",
        }
    }
}

/// A SHA-256; shown in 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A hash in the making.
#[derive(Clone, Debug, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Adds bytes after their length, so that no two sequences of parts look alike.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The hash of everything that was added.
    pub fn hash(self) -> Hash {
        Hash(self.0.finalize().into())
    }

    fn record(&mut self, record: &Record<'_>) {
        self.0.update(record.offset.to_le_bytes());
        self.0.update(record.millis().to_le_bytes());
        self.part(record.key);
        self.0.update([u8::from(record.value.is_some())]);
        self.part(record.value.unwrap_or_default());
    }
}

/// The hash of one record.
pub(crate) fn of_record(record: &Record<'_>) -> Hash {
    let mut digest = Digest::default();
    digest.record(record);
    digest.hash()
}

/// What a partition holds at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Which.
    pub at: TopicPartition,
    /// From where to where.
    pub span: Span,
    /// What was counted.
    pub view: View,
    /// How many of it there are.
    pub count: u64,
    /// Of all of it.
    pub hash: Hash,
}

impl Fingerprint {
    /// Reads the partition from its start to the end that it has now.
    ///
    /// # Errors
    /// If the log does not answer, or retention overtakes the reading.
    pub fn take(log: &dyn Log, at: &TopicPartition, view: View) -> Result<Fingerprint, LogError> {
        let span = log.span(at)?;
        let (count, hash) = match view {
            View::Records => records(log, at, span)?,
            View::Keys => keys(log, at, span)?,
        };
        Ok(Fingerprint { at: at.clone(), span, view, count, hash })
    }
}

/// `alerts/3  0..120  118 records  <hash>`
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicPartition { topic, partition } = &self.at;
        let (Span { start, end }, count, word) = (self.span, self.count, self.view.word());
        write!(f, "{topic}/{partition}  {start}..{end}  {count} {word}  {}", self.hash)
    }
}

fn records(log: &dyn Log, at: &TopicPartition, span: Span) -> Result<(u64, Hash), LogError> {
    let (mut digest, mut count) = (Digest::default(), 0);
    each(log, at, span, |record| {
        digest.record(record);
        count += 1;
    })?;
    Ok((count, digest.hash()))
}

/// Holds every key and a hash of its value.
fn keys(log: &dyn Log, at: &TopicPartition, span: Span) -> Result<(u64, Hash), LogError> {
    let mut newest: BTreeMap<Box<[u8]>, [u8; 32]> = BTreeMap::new();
    each(log, at, span, |record| match record.value {
        Some(value) => _ = newest.insert(record.key.into(), Sha256::digest(value).into()),
        None => _ = newest.remove(record.key),
    })?;
    let mut digest = Digest::default();
    for (key, value) in &newest {
        digest.part(key);
        digest.part(value);
    }
    Ok((newest.len() as u64, digest.hash()))
}

fn each(
    log: &dyn Log,
    at: &TopicPartition,
    span: Span,
    mut take: impl FnMut(&Record<'_>),
) -> Result<(), LogError> {
    let scanned = log.scan_to(at, (span.start, span.end), |record| {
        if record.offset < span.end {
            take(record);
        }
        Ok(())
    });
    log.forget(at);
    scanned.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryLog;
    use crate::{Transaction, WorkerSpec};
    use tocsin_domain::Micros;
    use tocsin_domain::topics::{ALERTS, Topics};

    type Pair = (&'static str, Option<&'static str>);

    /// The hash of a partition with these records.
    fn hash(view: View, time: i64, records: &[Pair]) -> (u64, String) {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let mut work = Transaction::default();
        work.time = Micros(time);
        let topic = work.register(ALERTS, 8);
        for (key, value) in records {
            work.to_partition(topic, 2).push(key.as_bytes(), value.map(str::as_bytes));
        }
        log.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
        let taken = Fingerprint::take(&*log, &TopicPartition::new(ALERTS, 2), view).unwrap();
        assert_eq!(taken.span, Span { start: 0, end: records.len() as u64 });
        (taken.count, taken.hash.to_string())
    }

    #[test]
    fn of_records_everything_counts_but_parts_of_a_millisecond() {
        let hash = |time, records| hash(View::Records, time, records);
        let base = hash(5_000, &[("a", Some("1")), ("b", Some("2"))]);
        assert_eq!(base.0, 2);
        assert_eq!(base, hash(5_999, &[("a", Some("1")), ("b", Some("2"))]));
        for (time, other) in [
            (6_000, &[("a", Some("1")), ("b", Some("2"))][..]),
            (5_000, &[("b", Some("2")), ("a", Some("1"))]),
            (5_000, &[("a", Some("1")), ("b", Some("3"))]),
            (5_000, &[("a", Some("1")), ("c", Some("2"))]),
            (5_000, &[("a", Some("1")), ("b", None)]),
            (5_000, &[("a", Some("1b")), ("", Some("2"))]),
            (5_000, &[("a", Some("1"))]),
        ] {
            assert_ne!(base.1, hash(time, other).1, "{other:?}");
        }
        assert_ne!(hash(1, &[("a", Some(""))]).1, hash(1, &[("a", None)]).1);
    }

    #[test]
    fn of_keys_only_the_newest_values_count() {
        let hash = |records| hash(View::Keys, 7_000, records);
        let base = hash(&[("a", Some("1")), ("b", Some("2"))]);
        for same in [
            &[("b", Some("2")), ("a", Some("1"))][..],
            &[("a", Some("0")), ("b", Some("2")), ("a", Some("1"))],
            &[("c", Some("3")), ("a", Some("1")), ("b", Some("2")), ("c", None)],
            &[("a", Some("1")), ("a", None), ("b", Some("2")), ("a", Some("1"))],
        ] {
            assert_eq!(base, hash(same), "{same:?}");
        }
        for other in [
            &[("a", Some("1"))][..],
            &[("a", Some("2")), ("b", Some("1"))],
            &[("a", Some("1")), ("b", Some("2")), ("b", None)],
            &[("ab", Some("12"))],
        ] {
            assert_ne!(base.1, hash(other).1, "{other:?}");
        }
    }
}
