//! Moving a log into another one, offset by offset: what stands at each of them, and whether what is
//! there already is the same. Positions stand in facts as values, so none may move. It writes nothing.

use crate::fingerprint::{Hash, View, of_record};
use crate::log::{Log, LogError};
use std::collections::BTreeMap;
use tocsin_domain::TopicPartition;

/// The key of a filler, a tombstone that stands where the source has no record any more. No fact has
/// such a key. Who reads passes fillers over, and compaction drops them.
pub const FILLER: &[u8] = b"\0tocsin.gap";

/// About how much is compared at a time.
const PIECE: usize = 1 << 20;

/// What stands at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// Which offset.
    pub offset: u64,
    /// As [`crate::Record::millis`].
    pub millis: i64,
    /// [`FILLER`] where the source has no record.
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl Slot<'_> {
    /// A filler has the time of a record beside it, so that it is kept no longer and no shorter.
    fn filler(offset: u64, millis: i64) -> Slot<'static> {
        Slot { offset, millis, key: FILLER, value: None }
    }
}

/// Whether a record is a filler.
pub(crate) fn is_filler(key: &[u8], value: Option<&[u8]>) -> bool {
    value.is_none() && key == FILLER
}

/// Gives `put` what stands at each offset of `from..end`, in order and without a gap.
///
/// # Errors
/// If the source does not answer, or `put` says so.
pub fn slots<E: From<LogError>>(
    source: &dyn Log,
    at: &TopicPartition,
    (from, end): (u64, u64),
    mut put: impl FnMut(Slot<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let start = source.span(at)?.start.max(from);
    let (mut next, mut millis) = (from, 1);
    source.scan_to(at, (start, end), |record| {
        if record.offset >= end {
            return Ok(());
        }
        millis = record.millis();
        (next..record.offset).try_for_each(|offset| put(Slot::filler(offset, millis)))?;
        next = record.offset + 1;
        let (key, value) = (record.key, record.value);
        put(Slot { offset: record.offset, millis, key, value })
    })?;
    (next..end).try_for_each(|offset| put(Slot::filler(offset, millis)))
}

/// The first offset at which `copy` does not hold what `source` holds, among those that `copy` has:
/// it may end earlier, but not later. By [`View::Keys`], compaction may have dropped records of it.
///
/// # Errors
/// If one of the logs does not answer.
pub fn first_difference(
    source: &dyn Log,
    copy: &dyn Log,
    at: &TopicPartition,
    view: View,
) -> Result<Option<u64>, LogError> {
    let (start, span) = (source.span(at)?.start, copy.span(at)?);
    let (mut next, mut wrong) = (span.start, None);
    while next < span.end && wrong.is_none() {
        let batch = copy.read(at, next, PIECE)?;
        let until = if batch.is_empty() { span.end } else { batch.next.min(span.end) };
        let ours = batch.records().filter(|record| record.offset < until);
        let mut there: BTreeMap<u64, Hash> = ours.map(|r| (r.offset, of_record(&r))).collect();
        source.scan_to(at, (next.max(start), until), |record| {
            let same = match there.remove(&record.offset) {
                Some(hash) => hash == of_record(record),
                None => record.offset >= until || view == View::Keys,
            };
            if !same && wrong.is_none() {
                wrong = Some(record.offset);
            }
            Ok::<(), LogError>(())
        })?;
        // What is left, the source does not have.
        wrong = wrong.into_iter().chain(there.keys().copied()).min();
        next = until;
    }
    copy.forget(at);
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryLog;
    use crate::{Transaction, WorkerSpec};
    use std::sync::Arc;
    use tocsin_domain::Micros;
    use tocsin_domain::topics::{ALERTS, Topics};

    /// A log whose partition has these offsets; the value of each is its own number and `mark`.
    fn log(offsets: &[u64], mark: &str) -> Arc<MemoryLog> {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let mut work = Transaction::default();
        work.time = Micros(9_000_000);
        let topic = work.register(ALERTS, 8);
        for offset in offsets {
            let value = format!("{offset}{mark}");
            work.to_partition(topic, 0).push_at(*offset, 0, b"k", Some(value.as_bytes()));
        }
        log.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
        log
    }

    fn at() -> TopicPartition {
        TopicPartition::new(ALERTS, 0)
    }

    #[test]
    fn every_offset_is_filled_once_and_in_order_from_wherever_one_goes_on() {
        let source = log(&[2, 3, 7], "");
        for (from, end, wanted) in [
            (0, 8, "__23___7"),
            (3, 8, "3___7"),
            (4, 8, "___7"),
            (8, 8, ""),
            // Behind the last record compaction may have dropped more.
            (0, 4, "__23"),
        ] {
            let (mut found, mut next) = (String::new(), from);
            slots(&*source, &at(), (from, end), |slot| {
                assert_eq!((slot.offset, slot.millis), (next, 9_000));
                next += 1;
                match slot.value {
                    Some(value) => found.push_str(std::str::from_utf8(value).unwrap()),
                    None => found.push(if is_filler(slot.key, None) { '_' } else { '?' }),
                }
                Ok::<(), LogError>(())
            })
            .unwrap();
            assert_eq!(found, wanted, "{from}..{end}");
        }
    }

    #[test]
    fn a_gap_at_the_end_is_filled_with_the_last_time() {
        let source = log(&[0], "");
        let mut found = Vec::new();
        slots(&*source, &at(), (0, 3), |slot| {
            found.push((slot.offset, slot.millis, is_filler(slot.key, slot.value)));
            Ok::<(), LogError>(())
        })
        .unwrap();
        assert_eq!(found, [(0, 9_000, false), (1, 9_000, true), (2, 9_000, true)]);
    }

    #[test]
    fn only_what_the_copy_has_must_be_the_same() {
        let source = log(&[0, 1, 2, 5, 6], "");
        for (copy, mark, of_records, of_keys) in [
            (&[][..], "", None, None),
            (&[0, 1], "", None, None),
            (&[0, 1, 2, 5, 6], "", None, None),
            (&[0, 1], "x", Some(0), Some(0)),
            // A record of the source is missing: compaction may do that.
            (&[0, 2], "", Some(1), None),
            // One that the source does not have.
            (&[0, 1, 2, 3], "", Some(3), Some(3)),
        ] {
            let copy = log(copy, mark);
            let found = |view| first_difference(&*source, &*copy, &at(), view).unwrap();
            assert_eq!((found(View::Records), found(View::Keys)), (of_records, of_keys));
        }
    }
}
