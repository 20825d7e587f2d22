//! Warm copies of the partitions that other processes have: their changelogs are read along, so that
//! taking one over needs its tail only. A copy decides nothing. Once its partition is ours, it is read
//! to the end as any other state is, and only then opened.

use crate::failure::Failure;
use crate::held::Origin;
use crate::log::LogError;
use crate::partition::Restore;
use crate::state::State;
use std::collections::BTreeMap;
use std::time::Duration;
use tocsin_domain::Micros;

/// How often it is looked whether a changelog has grown.
const LOOK: Duration = Duration::from_millis(100);
/// How long nothing is tried after trouble.
const PAUSE: Duration = Duration::from_secs(5);

/// The copies, by the partition's number.
pub(crate) struct Standby<S> {
    /// `None` where a copy cannot be made: the partition is then restored as if there were none.
    copies: BTreeMap<u32, Option<Restore<S>>>,
    /// The one whose turn was last.
    turn: u32,
    /// Nothing is read before.
    next: Micros,
}

impl<S: State> Standby<S> {
    pub(crate) fn new() -> Standby<S> {
        Standby { copies: BTreeMap::new(), turn: 0, next: Micros::MIN }
    }

    /// Reads a piece of the copy whose turn it is, among those partitions that are not `ours`. What
    /// goes wrong costs the copy at most.
    pub(crate) fn follow(&mut self, origin: &Origin<'_>, ours: &dyn Fn(u32) -> bool) {
        let Some(topic) = origin.changelog.filter(|_| origin.now >= self.next) else { return };
        let read = origin.log.partitions(topic).map_err(Failure::Log).and_then(|partitions| {
            let mut turns = (1..=partitions).map(|step| (self.turn + step) % partitions);
            let Some(number) = turns.find(|number| !ours(*number)) else { return Ok(()) };
            self.turn = number;
            self.piece(origin, number)
        });
        let wait = match &read {
            Ok(()) if self.behind() > 0 => Duration::ZERO,
            Ok(()) => LOOK,
            Err(_) => PAUSE,
        };
        self.next = origin.now.plus(wait);
        if let Err(reason) = read {
            tracing::warn!(topic, partition = self.turn, %reason, "cannot keep a copy of state now");
            if !matches!(reason, Failure::Log(LogError::Unavailable(_))) {
                self.copies.insert(self.turn, None);
            }
        }
    }

    fn piece(&mut self, origin: &Origin<'_>, number: u32) -> Result<(), Failure> {
        match self.copies.get_mut(&number) {
            Some(None) => Ok(()),
            Some(Some(copy)) if !copy.is_old(origin.now) => copy.follow(origin),
            _ => {
                self.copies.insert(number, Some(Restore::copy(origin, number)?));
                Ok(())
            }
        }
    }

    /// The copy of a partition that is ours now: all that it misses is its tail. `None` if there is
    /// no copy that can be trusted; after an error it is still there.
    pub(crate) fn claim(
        &mut self,
        origin: &Origin<'_>,
        number: u32,
    ) -> Result<Option<Restore<S>>, Failure> {
        let trusted = match self.copies.get_mut(&number) {
            Some(Some(copy)) => !copy.is_old(origin.now) && copy.claim(origin)?,
            _ => false,
        };
        Ok(self.copies.remove(&number).flatten().filter(|_| trusted))
    }

    /// How many offsets the copies were behind their changelogs at the last look.
    pub(crate) fn behind(&self) -> u64 {
        self.copies.values().flatten().map(Restore::left).sum()
    }

    /// Whether there is something to read now.
    pub(crate) fn is_eager(&self, now: Micros) -> bool {
        now >= self.next && self.behind() > 0
    }
}
