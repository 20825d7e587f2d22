//! How far a restore is, and how long it will still take at the pace that it has kept. It follows
//! from what was left when; no clock is read here.

use std::time::{Duration, Instant};

/// How often a restore is told of in the log.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A restore that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Restoring {
    began: Instant,
    told: Instant,
    /// Records that were read since it began.
    pub restored: u64,
    /// Records that are still to be read.
    pub left: u64,
}

impl Restoring {
    /// It begins with so many records to read.
    pub fn begin(left: u64, now: Instant) -> Restoring {
        Restoring { began: now, told: now, restored: 0, left }
    }

    /// So many are left now: fewer, because some were read; or more, because partitions have come.
    #[must_use]
    pub fn on(self, left: u64) -> Restoring {
        let restored = self.restored + self.left.saturating_sub(left);
        Restoring { restored, left, ..self }
    }

    /// Records that there are to read in all, as far as is known.
    pub fn total(&self) -> u64 {
        self.restored + self.left
    }

    /// How long it has taken.
    pub fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// How long the rest will take if it goes on as it went; `None` before anything was read.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        let seconds = self.took(now).as_secs_f64() * self.left as f64 / self.restored as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether it is time to say how far it is; then it counts as said.
    pub fn tell(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.told) >= TELL_EVERY;
        if due {
            self.told = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_pace_so_far() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let restoring = Restoring::begin(1_000, begin);
        assert_eq!(restoring.time_left(at(5)), None, "nothing was read");
        // What is left, when, then: how much was read, of how much, and the seconds that are left.
        let steps = [
            (900, 10, 100, 1_000, 90),
            (500, 20, 500, 1_000, 20),
            // It stands still, and so its pace falls.
            (500, 40, 500, 1_000, 40),
            // Another partition has come.
            (1_500, 40, 500, 2_000, 120),
            (0, 80, 2_000, 2_000, 0),
        ];
        steps.into_iter().fold(restoring, |restoring, (left, now, restored, total, seconds)| {
            let on = restoring.on(left);
            assert_eq!((on.restored, on.total()), (restored, total), "{left} left at {now}");
            assert_eq!(on.time_left(at(now)), Some(Duration::from_secs(seconds)));
            on
        });
    }

    #[test]
    fn it_is_told_of_now_and_then() {
        let begin = Instant::now();
        let mut restoring = Restoring::begin(10, begin);
        let told = [0, 9, 10, 11, 19, 20].map(|at| restoring.tell(begin + Duration::from_secs(at)));
        assert_eq!(told, [false, false, true, false, false, true]);
    }
}
