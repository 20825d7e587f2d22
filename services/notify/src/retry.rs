//! When a delivery is tried again, and when it is given up. Draws no randomness: what spreads the
//! attempts is derived from the delivery's id, so a replay decides the same.

use std::time::Duration;
use tocsin_domain::delivery::DeliveryState;
use tocsin_domain::{Id, Micros};

/// How patient deliveries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; then the delivery expires.
    pub max_attempts: i32,
    /// How long after it was requested an attempt may still begin; then the delivery expires.
    pub deadline: Duration,
    /// The pause after the first attempt; it doubles each time.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// The pause after a first attempt whose outcome is unknown.
    pub unknown_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 12,
            deadline: Duration::from_hours(24),
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_hours(1),
            unknown_pause: Duration::from_secs(1),
        }
    }
}

impl Retry {
    /// When to try again after attempt number `attempt` of a delivery ended, at `now`, deferred or
    /// unknown. The pause is up to a fifth shorter or longer, so that what failed together does
    /// not come back together.
    pub fn next(&self, delivery: Id, attempt: i32, state: DeliveryState, now: Micros) -> Micros {
        let pause = if state == DeliveryState::Unknown && attempt <= 1 {
            self.unknown_pause
        } else {
            let doublings = attempt.saturating_sub(1).clamp(0, 30) as u32;
            self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause)
        };
        let hash = Id::of("jitter", &[delivery.as_bytes(), &attempt.to_be_bytes()]);
        let [a, b, ..] = *hash.as_bytes();
        let share = f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX);
        now.plus(pause.mul_f64(0.8 + 0.4 * share))
    }

    /// Why there is no further attempt at `next` after attempt number `attempt`; `None` if there
    /// is one.
    pub fn give_up(&self, attempt: i32, requested: Micros, next: Micros) -> Option<String> {
        if attempt >= self.max_attempts {
            Some(format!("all {} attempts are used up", self.max_attempts))
        } else if next > requested.plus(self.deadline) {
            let hours = self.deadline.as_secs_f64() / 3600.0;
            Some(format!("the next attempt would begin later than {hours:.0} h after the request"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeliveryState::{Deferred, Unknown};

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let (retry, id) = (Retry::default(), Id::of("delivery", &[]));
        for (attempt, state, seconds) in [
            (1, Deferred, 5.0),
            (2, Deferred, 10.0),
            (5, Deferred, 80.0),
            (11, Deferred, 3600.0),
            (i32::MAX, Deferred, 3600.0),
            (1, Unknown, 1.0),
            (2, Unknown, 10.0),
        ] {
            let pause = retry.next(id, attempt, state, Micros(0)).since(Micros(0)).as_secs_f64();
            assert!(
                (seconds * 0.8..=seconds * 1.2).contains(&pause),
                "{attempt} {state:?} {pause}"
            );
        }
        let other = Id::of("delivery", &[b"other"]);
        let at = |id| retry.next(id, 1, Deferred, Micros(0));
        assert_eq!(at(id), at(id));
        assert_ne!(at(id), at(other));
    }

    #[test]
    fn an_end_is_found_by_number_and_by_time() {
        let (retry, late) = (Retry::default(), Micros(0).plus(Duration::from_hours(25)));
        assert_eq!(retry.give_up(11, Micros(0), Micros(1)), None);
        assert!(retry.give_up(12, Micros(0), Micros(1)).is_some_and(|why| why.contains("12")));
        assert!(retry.give_up(1, Micros(0), late).is_some_and(|why| why.contains("24 h")));
    }
}
