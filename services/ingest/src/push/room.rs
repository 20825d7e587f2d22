//! How many bytes of pushes are in memory, and whose: bodies as they come and as they are unpacked, then
//! the records that wait to be written. Nobody has more than is left for all others: one alone leaves
//! half of it, and of several greedy ones each leaves as much as it has, however slow they are.

use super::problem::Refusal;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a request takes beside its body.
const HEAD: usize = 1 << 10;

/// The room for all pushes.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// By the name of the producer; nobody who holds nothing.
    by: HashMap<String, usize>,
}

/// What one request takes of it; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    whose: String,
    bytes: usize,
}

impl Room {
    /// For so many bytes.
    pub(super) fn new(most: usize) -> Arc<Room> {
        Arc::new(Room { most, held: Mutex::default() })
    }

    /// Room for a request of this producer, of whose body nothing has come.
    pub(super) fn enter(self: &Arc<Room>, whose: &str) -> Result<Share, Refusal> {
        let mut share = Share { room: self.clone(), whose: whose.to_owned(), bytes: 0 };
        share.more(HEAD)?;
        Ok(share)
    }

    /// How much is taken; for tests.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, held: &Held, whose: &str, bytes: usize) -> bool {
        held.of(whose) + bytes + held.all + bytes <= self.most
    }
}

impl Held {
    fn of(&self, whose: &str) -> usize {
        self.by.get(whose).copied().unwrap_or_default()
    }

    fn add(&mut self, whose: &str, bytes: usize) {
        self.all += bytes;
        match self.by.get_mut(whose) {
            Some(own) => *own += bytes,
            None => _ = self.by.insert(whose.to_owned(), bytes),
        }
    }

    fn take(&mut self, whose: &str, bytes: usize) {
        self.all -= bytes;
        if let Some(own) = self.by.get_mut(whose) {
            *own -= bytes;
            if *own == 0 {
                self.by.remove(whose);
            }
        }
    }
}

impl Share {
    /// Whether so many bytes more would fit now; takes none.
    pub(super) fn look(&self, bytes: usize) -> Result<(), Refusal> {
        match self.room.fits(&self.room.lock(), &self.whose, bytes) {
            true => Ok(()),
            false => Err(busy()),
        }
    }

    /// So many bytes more.
    pub(super) fn more(&mut self, bytes: usize) -> Result<(), Refusal> {
        let mut held = self.room.lock();
        if !self.room.fits(&held, &self.whose, bytes) {
            return Err(busy());
        }
        held.add(&self.whose, bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// So many bytes less.
    pub(super) fn less(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.room.lock().take(&self.whose, bytes);
        self.bytes -= bytes;
    }

    /// Its body is gone, and records of so many bytes are there. Those of the only request of a producer
    /// fit always, or a body of many small events would never pass.
    pub(super) fn turn_into(&mut self, records: usize) -> Result<(), Refusal> {
        let bytes = HEAD + records;
        if bytes <= self.bytes {
            self.less(self.bytes - bytes);
            return Ok(());
        }
        let more = bytes - self.bytes;
        let mut held = self.room.lock();
        let is_only = held.of(&self.whose) == self.bytes;
        if !is_only && !self.room.fits(&held, &self.whose, more) {
            return Err(busy());
        }
        held.add(&self.whose, more);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.less(self.bytes);
    }
}

fn busy() -> Refusal {
    let detail = "more is being received or waits to be written than there is room for, or as much \
                  of it is this producer's as is left for all others; send it again";
    Refusal::later("busy", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    /// Takes as much as it gets, a kibibyte at a time.
    fn greedy(room: &Arc<Room>, whose: &str) -> Vec<Share> {
        std::iter::from_fn(|| room.enter(whose).ok()).collect()
    }

    #[test]
    fn however_many_are_greedy_each_leaves_as_much_as_it_has() {
        let room = Room::new(64 * KIB);
        let first = greedy(&room, "a");
        assert_eq!(first.len(), 32);
        let second = greedy(&room, "b");
        assert_eq!(second.len(), 16);
        assert_eq!(greedy(&room, "c").len(), 8);
        assert_eq!(room.enter("a").unwrap_err().code, "busy");
        drop(first);
        assert_eq!(greedy(&room, "c").len(), 24, "what is given back is there for others");
        drop(second);
        assert_eq!(greedy(&room, "c").len(), 32);
        let held = room.lock();
        assert_eq!((held.all, held.by.len()), (0, 0));
    }

    #[test]
    fn a_share_is_what_is_in_memory_now() {
        let room = Room::new(64 * KIB);
        let all = || room.taken();
        let mut one = room.enter("a").unwrap();
        one.more(9 * KIB).unwrap();
        assert!(one.look(22 * KIB).is_ok() && one.look(22 * KIB + 1).is_err());
        assert_eq!(all(), 10 * KIB, "to look takes nothing");
        one.less(4 * KIB);
        assert_eq!(all(), 6 * KIB);
        one.turn_into(2 * KIB).unwrap();
        assert_eq!(all(), 3 * KIB);
        one.turn_into(99 * KIB).unwrap();
        assert_eq!(all(), 100 * KIB, "the only one of its producer passes, and is counted");
        assert!(room.enter("b").is_err());
        drop(one);
        let (mut one, _two) = (room.enter("a").unwrap(), room.enter("a").unwrap());
        assert_eq!(one.turn_into(99 * KIB).unwrap_err().code, "busy");
        one.turn_into(30 * KIB).unwrap();
        assert_eq!(all(), 32 * KIB);
    }
}
