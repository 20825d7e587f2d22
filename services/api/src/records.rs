//! Single records of the log: the one at a position, and what a compacted topic says about a key.

use tocsin_domain::partition::partition_of;
use tocsin_domain::{Position, TopicPartition};
use tocsin_stream::{Batch, Log, LogError, Record};

/// About how much of a topic is read at a time.
const READ_BYTES: usize = 1 << 20;

/// Calls `take` with the record at a position; `None` if the log holds none there any more.
pub(crate) fn at<T>(
    log: &dyn Log,
    position: &Position,
    take: impl FnOnce(&Record<'_>) -> T,
) -> Result<Option<T>, LogError> {
    let at = TopicPartition::new(&position.topic, position.partition);
    let batch: Batch = match log.read(&at, position.offset, 1) {
        Err(LogError::OutOfRange { .. }) => return Ok(None),
        read => read?,
    };
    let mut records = batch.records();
    Ok(records.find(|record| record.offset == position.offset).map(|record| take(&record)))
}

/// What the log still says about a key, oldest first: nothing that stands before a tombstone.
pub(crate) fn history(log: &dyn Log, topic: &str, key: &[u8]) -> Result<Vec<Vec<u8>>, LogError> {
    let at = TopicPartition::new(topic, partition_of(key, log.partitions(topic)?));
    let span = log.span(&at)?;
    let (mut next, mut values) = (span.start, Vec::new());
    while next < span.end {
        let batch = log.read(&at, next, READ_BYTES)?;
        for record in batch.records().filter(|record| record.key == key) {
            match record.value {
                Some(value) => values.push(value.to_vec()),
                None => values.clear(),
            }
        }
        next = if batch.is_empty() { span.end } else { batch.next };
    }
    Ok(values)
}
