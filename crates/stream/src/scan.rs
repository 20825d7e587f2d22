//! Reading a partition record by record, for everything that is no worker: tables, restores,
//! cursors, whoever looks something up.

use crate::log::{Log, LogError};
use crate::record::Record;
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;

/// About how much is read at a time.
const READ_BYTES: usize = 1 << 20;
/// How long [`Log::settle`](#method.settle) waits where nobody waits for an answer: longer than a log
/// needs to end what somebody who died has left open, and less than a loop may stand still.
pub const SETTLES: Duration = Duration::from_secs(40);
/// The first pause between two looks whether it is decided; it is doubled each time.
const LOOK: Duration = Duration::from_millis(1);

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

    /// Every partition of a topic.
    ///
    /// # Errors
    /// As [`Log::partitions`].
    pub fn places(&self, topic: &str) -> Result<Vec<TopicPartition>, LogError> {
        Ok((0..self.partitions(topic)?).map(|number| TopicPartition::new(topic, number)).collect())
    }

    /// [`settle`](#method.settle) for all of these topics, where nobody waits for an answer.
    ///
    /// # Errors
    /// As there.
    pub fn settle_topics(&self, topics: &[&str]) -> Result<(), LogError> {
        for topic in topics {
            self.settle(&self.places(topic)?, SETTLES)?;
        }
        Ok(())
    }

    /// Returns once everything is decided that anybody had begun to write in these partitions when
    /// this was called. For whoever takes something over and goes on from what stands there: what the
    /// one before has committed may be acknowledged and not to be seen yet.
    ///
    /// # Errors
    /// If the log does not answer, or something is still undecided after `patience`.
    pub fn settle(&self, places: &[TopicPartition], patience: Duration) -> Result<(), LogError> {
        let wanted = places.iter().map(|at| self.undecided_end(at));
        let wanted = wanted.collect::<Result<Vec<u64>, _>>()?;
        let (until, mut pause) = (Instant::now() + patience, LOOK);
        loop {
            let ends = self.ends(places)?;
            let behind = (0..places.len()).find(|one| ends[*one] < wanted[*one]);
            let Some(one) = behind else { return Ok(()) };
            if Instant::now() >= until {
                let (at, end, wanted) = (&places[one], ends[one], wanted[one]);
                return Err(LogError::Unavailable(format!(
                    "{at} is decided up to offset {end} and written up to {wanted}: somebody's transaction has been open there for more than {} s; try again when it has ended",
                    patience.as_secs()
                )));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}
