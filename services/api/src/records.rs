//! Single records of the log: the one at a position, and what a compacted topic says about a key.

use tocsin_domain::partition::partition_of;
use tocsin_domain::{Position, TopicPartition};
use tocsin_stream::{Batch, Log, LogError, Record};

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
    let mut values = Vec::new();
    log.scan_all(&at, |record| {
        match record.value {
            _ if record.key != key => {}
            Some(value) => values.push(value.to_vec()),
            None => values.clear(),
        }
        Ok::<(), LogError>(())
    })?;
    Ok(values)
}
