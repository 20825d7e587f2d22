//! Reading a partition record by record, for everything that is no worker: tables, restores,
//! cursors, whoever looks something up.

use crate::log::{Log, LogError};
use crate::record::Record;
use tocsin_domain::TopicPartition;

/// About how much is read at a time.
const READ_BYTES: usize = 1 << 20;

impl dyn Log + '_ {
    /// Gives `take` every record from `from` to the end that the partition has now, and the offset
    /// to go on from. An error of `take` ends the reading and is returned as it is.
    ///
    /// # Errors
    /// If the log does not answer, or `take` says so.
    pub fn scan<E: From<LogError>>(
        &self,
        at: &TopicPartition,
        from: u64,
        mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let end = self.span(at)?.end;
        self.scan_to(at, (from, end), &mut take)
    }

    /// The same up to `end`, which the partition must have reached; it may give records behind it.
    ///
    /// # Errors
    /// As [`Log::scan`](#method.scan).
    pub fn scan_to<E: From<LogError>>(
        &self,
        at: &TopicPartition,
        (from, end): (u64, u64),
        mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut next = from;
        while next < end {
            let batch = self.read(at, next, READ_BYTES)?;
            batch.records().try_for_each(|record| take(&record))?;
            // A gap at the end holds nothing to read.
            next = if batch.is_empty() { end } else { batch.next };
        }
        Ok(next)
    }

    /// Everything in each of these partitions, one after the other.
    ///
    /// # Errors
    /// As [`Log::scan`](#method.scan).
    pub fn scan_each<E: From<LogError>>(
        &self,
        places: &[TopicPartition],
        mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut spans = Vec::with_capacity(places.len());
        for at in places {
            let span = self.span(at)?;
            if span.start < span.end {
                self.fetch_ahead(at, span.start);
                spans.push((at, (span.start, span.end)));
            }
        }
        for (at, span) in spans {
            self.scan_to(at, span, &mut take)?;
        }
        Ok(())
    }

    /// The same from the first record that is kept.
    ///
    /// # Errors
    /// As [`Log::scan`](#method.scan).
    pub fn scan_all<E: From<LogError>>(
        &self,
        at: &TopicPartition,
        take: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let start = self.span(at)?.start;
        self.scan(at, start, take)
    }
}
