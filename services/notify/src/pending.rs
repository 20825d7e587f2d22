//! One delivery that is under way: what was requested, which attempt runs or when the next is due.
//! It turns outcomes and wakes into the next fact, and refuses outcomes of attempts that are not
//! the current one.

use crate::retry::Retry;
use tocsin_domain::Micros;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_stream::chunk::{read_number, write_number};
use tocsin_stream::state::{State, Wake};

/// The state of a delivery; the default is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    requested: Option<Delivery>,
    attempt: i32,
    /// When the next attempt begins; `None` while one runs.
    due: Option<Micros>,
}

impl Pending {
    /// The state after the first attempt has begun, and the fact that says so.
    pub fn begin(requested: Delivery, now: Micros) -> (Pending, Delivery) {
        let attempt =
            Delivery { state: DeliveryState::Attempt, attempt: 1, at: now, ..requested.clone() };
        (Pending { requested: Some(requested), attempt: 1, due: None }, attempt)
    }

    /// Whether there is a delivery under way.
    pub fn is_open(&self) -> bool {
        self.requested.is_some()
    }

    /// Whether `fact` is an outcome that changes something. A final one may come after one that
    /// was not, for the same attempt; nothing counts for an attempt that is over.
    pub fn awaits(&self, fact: &Delivery) -> bool {
        use DeliveryState::{Deferred, Refused, Sent, Unknown};
        self.requested.is_some()
            && fact.attempt == self.attempt
            && match fact.state {
                Sent | Refused => true,
                Deferred | Unknown => self.due.is_none(),
                _ => false,
            }
    }

    /// Takes an outcome that is awaited; gives back the fact that the delivery has expired, if so.
    pub fn on_outcome(&mut self, fact: &Delivery, now: Micros, retry: &Retry) -> Option<Delivery> {
        if fact.state.is_final() {
            *self = Pending::default();
            return None;
        }
        let planned = fact.next_attempt_at;
        let next = planned.unwrap_or_else(|| retry.next(fact.id, fact.attempt, fact.state, now));
        let requested = self.requested.as_ref()?.at;
        match retry.give_up(self.attempt, requested, next) {
            None => {
                self.due = Some(next);
                None
            }
            Some(why) => {
                *self = Pending::default();
                let last = &fact.reason;
                Some(Delivery {
                    state: DeliveryState::Expired,
                    at: now,
                    reason: format!("{why}; the last one said: {last}"),
                    next_attempt_at: None,
                    ..fact.clone()
                })
            }
        }
    }

    /// The next attempt is due: the fact that it begins.
    pub fn on_wake(&mut self, now: Micros) -> Option<Delivery> {
        self.due.take()?;
        self.attempt += 1;
        let requested = self.requested.clone()?;
        Some(Delivery {
            state: DeliveryState::Attempt,
            attempt: self.attempt,
            at: now,
            ..requested
        })
    }
}

/// `attempt · due + 1 (0: none) · the requested delivery, framed as on the wire`.
impl State for Pending {
    fn encode(&self, out: &mut Vec<u8>) {
        let Some(requested) = &self.requested else { return };
        write_number(out, u64::from(self.attempt.unsigned_abs()));
        write_number(out, self.due.map_or(0, |due| due.0.max(0) as u64 + 1));
        wire::write(requested, out);
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let attempt = i32::try_from(read_number(&mut bytes)?).ok()?;
        let due = match read_number(&mut bytes)? {
            0 => None,
            due => Some(Micros(i64::try_from(due - 1).ok()?)),
        };
        let requested = wire::read_owned(bytes, &SchemaIds::default()).ok()?;
        Some(Pending { requested: Some(requested), attempt, due })
    }

    fn is_empty(&self) -> bool {
        self.requested.is_none()
    }

    fn wake(&self) -> Wake {
        Wake { event: None, processing: self.due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{NOON, requested};
    use DeliveryState::{
        Attempt, Deferred, Expired, Refused, Requested, Sent, Suppressed, Unknown,
    };
    use std::time::Duration;

    fn outcome(state: DeliveryState, attempt: i32) -> Delivery {
        Delivery { state, attempt, reason: "said so".into(), ..requested("ada@example.org") }
    }

    fn begun() -> Pending {
        Pending::begin(requested("ada@example.org"), NOON).0
    }

    #[test]
    fn an_attempt_begins_with_the_request() {
        let (pending, attempt) = Pending::begin(requested("ada@example.org"), NOON);
        assert_eq!((attempt.state, attempt.attempt), (Attempt, 1));
        assert_eq!(attempt.notices.len(), 1);
        assert_eq!(pending.wake(), Wake::default());
    }

    #[test]
    fn only_outcomes_of_the_current_attempt_count() {
        for (state, attempt, counts) in [
            (Sent, 1, true),
            (Refused, 1, true),
            (Deferred, 1, true),
            (Unknown, 1, true),
            (Sent, 0, false),
            (Deferred, 2, false),
            (Requested, 1, false),
            (Attempt, 1, false),
            (Suppressed, 1, false),
            (Expired, 1, false),
        ] {
            assert_eq!(begun().awaits(&outcome(state, attempt)), counts, "{state:?} {attempt}");
        }
        assert!(!Pending::default().awaits(&outcome(Sent, 0)));
    }

    #[test]
    fn a_final_outcome_removes_the_state_and_another_sets_a_wake() {
        for state in [Sent, Refused] {
            let mut pending = begun();
            assert_eq!(pending.on_outcome(&outcome(state, 1), NOON, &Retry::default()), None);
            assert!(pending.is_empty());
        }
        let mut pending = begun();
        assert_eq!(pending.on_outcome(&outcome(Deferred, 1), NOON, &Retry::default()), None);
        assert!(pending.wake().processing.is_some_and(|due| due > NOON));
        assert!(!pending.awaits(&outcome(Deferred, 1)), "the same outcome counts once");
        assert!(pending.awaits(&outcome(Sent, 1)), "a late answer is better than a second copy");
        let again = pending.on_wake(NOON.plus(Duration::from_secs(9)));
        assert_eq!(again.map(|fact| (fact.state, fact.attempt)), Some((Attempt, 2)));
        assert_eq!((pending.wake(), pending.on_wake(NOON)), (Wake::default(), None));
    }

    #[test]
    fn the_sender_may_say_when() {
        let (mut pending, when) = (begun(), NOON.plus(Duration::from_secs(77)));
        let fact = Delivery { next_attempt_at: Some(when), ..outcome(Deferred, 1) };
        pending.on_outcome(&fact, NOON, &Retry::default());
        assert_eq!(pending.wake().processing, Some(when));
    }

    #[test]
    fn it_is_given_up() {
        let once = Retry { max_attempts: 1, ..Retry::default() };
        let mut pending = begun();
        let end = pending.on_outcome(&outcome(Unknown, 1), NOON, &once).unwrap();
        assert_eq!((end.state, end.attempt, end.next_attempt_at), (Expired, 1, None));
        assert!(end.reason.contains("all 1 attempts") && end.reason.contains("said so"));
        assert!(pending.is_empty());
    }

    #[test]
    fn state_goes_there_and_back() {
        for due in [None, Some(NOON)] {
            let (pending, mut bytes) = (Pending { due, ..begun() }, Vec::new());
            pending.encode(&mut bytes);
            assert_eq!(Pending::decode(&bytes), Some(pending));
            assert_eq!(Pending::decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
