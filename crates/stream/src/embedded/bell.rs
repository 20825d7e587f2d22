//! Wakes whoever waits for a commit. It counts, so that nobody sleeps through one that happened
//! between a look and the wait. It does not say what was committed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rung after each commit.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Bell {
    /// A commit is visible.
    pub(crate) fn ring(&self) {
        *lock(&self.rung) += 1;
        self.changed.notify_all();
    }

    /// How often it has rung.
    pub(crate) fn count(&self) -> u64 {
        *lock(&self.rung)
    }

    /// Wakes the one that waits with `flag`, and stays set until it has noticed.
    pub(crate) fn wake(&self, flag: &AtomicBool) {
        let _rung = lock(&self.rung);
        flag.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Returns how often it has rung as soon as that is not `seen`, or `flag` is set, or at `until`.
    pub(crate) fn wait(&self, seen: u64, until: Instant, flag: &AtomicBool) -> u64 {
        let left = until.saturating_duration_since(Instant::now());
        let asleep = |rung: &mut u64| *rung == seen && !flag.load(Ordering::Acquire);
        match self.changed.wait_timeout_while(lock(&self.rung), left, asleep) {
            Ok((rung, _)) => *rung,
            Err(poisoned) => *poisoned.into_inner().0,
        }
    }
}

/// `timeout` from now; a year stands for ever, because the clock cannot count further.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(365 * 86_400))
}

/// Locks. What our locks guard is valid between statements, so that a thread that died while it held
/// one is no reason for the others to die.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_slept_through() {
        let (bell, flag) = (Bell::default(), AtomicBool::new(false));
        let far = deadline(Duration::MAX);
        bell.ring();
        assert_eq!(bell.wait(0, far, &flag), 1);
        bell.wake(&flag);
        assert_eq!(bell.wait(1, far, &flag), 1);
        assert_eq!(bell.wait(1, Instant::now(), &AtomicBool::new(false)), 1);
    }
}
