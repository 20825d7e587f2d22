//! Restoring partitions between the batches of those that are ready.

use super::Processor;
use crate::failure::Failure;
use crate::held::Origin;
use crate::log::LogError;
use crate::step::Step;
use std::time::{Duration, Instant};
use tocsin_domain::Micros;

/// How long at least nothing is restored after it did not work, while other partitions are ready.
const STALL: Duration = Duration::from_secs(1);

impl<S: Step> Processor<S> {
    /// Restores on: everything if nothing is ready, else one piece, so that nobody has to wait. While
    /// that does not work it takes a small part of the time, if others are ready.
    pub(super) fn restore_pieces(&mut self, now: Micros) -> Result<(), Failure> {
        if self.stalled.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.stalled = None;
        let pieces = if self.held.ready.is_empty() { self.held.restoring() } else { 1 };
        for _ in 0..pieces {
            let begun = Instant::now();
            match self.restore_piece(now) {
                Ok(restored) => self.unopened.extend(restored),
                Err(Failure::Log(LogError::Unavailable(reason))) if !self.held.ready.is_empty() => {
                    tracing::warn!(service = self.topology.service, reason, "cannot restore yet");
                    self.stalled = Some(Instant::now() + STALL.max(begun.elapsed() * 9));
                    break;
                }
                Err(error) => return Err(error),
            }
            self.open_restored()?;
        }
        let origin = Origin::of((&*self.log, &*self.worker), &self.topology, &self.options, now);
        self.held.follow(&origin);
        Ok(())
    }

    fn restore_piece(&mut self, now: Micros) -> Result<Option<u32>, Failure> {
        self.tables.assign(&*self.log, &self.topology.tables, self.held.coming())?;
        let origin = Origin::of((&*self.log, &*self.worker), &self.topology, &self.options, now);
        self.held.restore_piece(&origin)
    }

    fn open_restored(&mut self) -> Result<(), Failure> {
        if self.unopened.is_empty() {
            return Ok(());
        }
        self.read_tables()?;
        for number in std::mem::take(&mut self.unopened) {
            self.worker.open(&[number]);
            self.tell_partitions();
            self.tell_position(number);
        }
        Ok(())
    }
}
