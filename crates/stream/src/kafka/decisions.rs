//! How the transactions of an id ended, as their coordinator has written it down in a topic that Kafka keeps
//! for itself. No call of librdkafka tells it.

use crate::kafka::cluster::Cluster;
use crate::log::LogError;
use tocsin_domain::TopicPartition;

/// A partition of it is chosen by the id, as Java hashes it; its keys are ids, and its values say how each
/// one's transaction stands.
const TOPIC: &str = "__transaction_state";

/// So many offsets are looked through first, from the end; then four times as many, and so on.
const TAIL: u64 = 4096;

impl Cluster {
    /// Whether the last transaction of the id that was decided was committed; `None` if none is known.
    pub(super) fn last_decision(&self, id: &str) -> Result<Option<bool>, LogError> {
        let partition = partition_of(id, self.partitions(TOPIC)?);
        let at = TopicPartition::new(TOPIC, partition);
        let span = self.span(&at)?;
        let (mut until, mut tail) = (span.end, TAIL);
        let mut found = None;
        while found.is_none() && until > span.start {
            let from = until.saturating_sub(tail).max(span.start);
            found = self.decision_within(&at, from, until, id)?;
            (until, tail) = (from, tail * 4);
        }
        self.readers.forget(&at);
        Ok(found)
    }

    fn decision_within(
        &self,
        at: &TopicPartition,
        from: u64,
        until: u64,
        id: &str,
    ) -> Result<Option<bool>, LogError> {
        let (mut next, mut found) = (from, None);
        while next < until {
            let batch = self.readers.read(at, next, 1 << 20, &|| self.span(at))?;
            let within = batch.records().filter(|record| record.offset < until);
            let decisions = within.filter_map(|record| decision(record.key, record.value?, id));
            found = decisions.last().or(found);
            next = batch.next.max(next + 1);
        }
        Ok(found)
    }
}

/// As `org.apache.kafka.common.utils.Utils.abs(id.hashCode()) % partitions`.
fn partition_of(id: &str, partitions: u32) -> u32 {
    let hash = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = id.encode_utf16().fold(0, hash);
    hash.checked_abs().unwrap_or_default().unsigned_abs() % partitions.max(1)
}

/// What a record says of this id, if it is a decision: whether the transaction commits.
///
/// A key is a version (0) and the id behind its length. A value begins with its version, the producer's id
/// and epoch, the timeout and the state, in versions 0 and 1 alike (`TransactionLogValue.json` of Kafka).
fn decision(key: &[u8], value: &[u8], id: &str) -> Option<bool> {
    const STATE: usize = 2 + 8 + 2 + 4;
    let (version, named) = key.split_first_chunk::<2>()?;
    let (length, named) = named.split_first_chunk::<2>()?;
    let this = *version == [0, 0] && usize::from(u16::from_be_bytes(*length)) == id.len();
    if !this || named != id.as_bytes() {
        return None;
    }
    match value.get(STATE)? {
        2 | 4 => Some(true),  // to be committed, committed
        3 | 5 => Some(false), // to be aborted, aborted
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_the_one_that_java_computes() {
        // The hash of the first is the least number, which has no absolute value.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("ab", 1000), 97 * 31 + 98 - 3000);
    }

    #[test]
    fn only_decisions_of_this_id_count() {
        let key = |id: &str| [&[0, 0, 0, id.len() as u8], id.as_bytes()].concat();
        let value = |state: u8| [&[0u8, 1][..], &[7; 14], &[state], b"more"].concat();
        let told = |key: &[u8], value: &[u8]| decision(key, value, "detect-0");
        let states: Vec<_> = (0..7).map(|state| told(&key("detect-0"), &value(state))).collect();
        let expected = [None, None, Some(true), Some(false), Some(true), Some(false), None];
        assert_eq!(states, expected);
        assert_eq!(told(&key("detect-1"), &value(4)), None);
        assert_eq!(told(&key("detect-00"), &value(4)), None);
        assert_eq!(told(b"", &value(4)), None);
        assert_eq!(told(&key("detect-0"), &[0; 16]), None);
    }
}
