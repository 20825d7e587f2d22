//! Who is uploading: so many at a time, and of one producer half of them at most, so that whoever is slow
//! leaves seats for others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many uploads are received or written at a time.
pub(super) const AT_ONCE: usize = 4;
/// How many of those may be one producer's.
pub(super) const OF_ONE: usize = 2;

/// Whose the uploads are that are under way.
#[derive(Default)]
pub(super) struct Seats(Mutex<Vec<String>>);

/// One of them; free again when it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    whose: String,
}

impl Seats {
    /// A seat for one more of a producer, if there is one.
    pub(super) fn take(self: &Arc<Seats>, whose: &str) -> Option<Seat> {
        let mut taken = self.lock();
        let own = taken.iter().filter(|name| *name == whose).count();
        if taken.len() >= AT_ONCE || own >= OF_ONE {
            return None;
        }
        taken.push(whose.to_owned());
        Some(Seat { seats: self.clone(), whose: whose.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if let Some(at) = taken.iter().position(|name| *name == self.whose) {
            taken.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_producer_has_half_of_the_seats_and_all_have_no_more_than_there_are() {
        let seats = Arc::new(Seats::default());
        let take = |whose: &str| seats.take(whose);
        let (first, second) = (take("a"), take("a"));
        assert!(first.is_some() && second.is_some() && take("a").is_none());
        let others = (take("b"), take("c"));
        assert!(others.0.is_some() && others.1.is_some() && take("d").is_none());
        drop(first);
        assert!(take("d").is_some() && take("a").is_some());
        drop((second, others));
        assert!(seats.lock().is_empty());
    }
}
