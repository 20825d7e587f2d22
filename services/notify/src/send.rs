//! The only exit for messages. Takes attempts, sends each once through its channel, and commits
//! the outcomes with its progress. That an attempt is due is committed before it comes here, so
//! nothing is lost; that it is begun is committed before it leaves, so that after a crash it says
//! `unknown` of whatever may have left, of nothing else, and sends none of it itself. It decides
//! nothing: whether and when there is another attempt is up to `deliver`.

mod desk;
mod window;

use crate::channel::{Message, Outcome};
use crate::channels::Channels;
use crate::render::render;
use crate::retry::Retry;
use desk::Desk;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::wire::SchemaIds;
use tocsin_domain::{Micros, topics};
use tocsin_stream::{CommitError, Log, LogError, Observer, Topology};

/// What `send` reads, keeps and publishes.
pub fn topology() -> Topology {
    Topology {
        service: "send",
        does: "sends each attempt and says what came of it",
        inputs: vec![topics::DELIVERIES],
        tables: Vec::new(),
        changelog: Some(topics::NOTIFY_SENDS_CHANGELOG),
        outputs: vec![topics::DELIVERIES],
        foreign: None,
    }
}

/// How a sender works.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many attempts are under way at a time, at least 1. As many messages, at most, have a
    /// second copy after a crash.
    pub in_flight: usize,
    /// About how many attempts are held in memory.
    pub window: usize,
    /// How long one attempt may take in all; after it the outcome is unknown.
    pub deadline: Duration,
    /// How long a stop waits for attempts that are under way.
    pub grace: Duration,
    /// The slot, for a group of several processes.
    pub slot: u32,
    /// When the next attempt will be, for the ledger; the same as `deliver` has.
    pub retry: Retry,
    /// Schema ids that are read beside single-object frames.
    pub ids: SchemaIds,
    /// Who is told how far it is.
    pub observer: Observer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            in_flight: 16,
            window: 1024,
            deadline: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            slot: 0,
            retry: Retry::default(),
            ids: SchemaIds::default(),
            observer: Observer::default(),
        }
    }
}

/// Why a sender cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The outcomes cannot be committed, although it was tried again and again.
    #[error("cannot commit the outcomes of attempts: {0}")]
    Commit(#[from] CommitError),
    /// The runtime for the attempts.
    #[error("cannot start the runtime for sending: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Sends attempts.
pub struct Sender {
    log: Arc<dyn Log>,
    channels: Arc<Channels>,
    options: Options,
}

impl Sender {
    /// A sender that has not begun.
    pub fn new(log: Arc<dyn Log>, channels: Channels, options: Options) -> Sender {
        Sender { log, channels: Arc::new(channels), options }
    }

    /// Sends until `stop` says so, on this thread; then waits for what is under way. `observe`
    /// sees each outcome once it is committed.
    ///
    /// # Errors
    /// If the log fails for long; nothing is lost.
    pub fn run(
        &self,
        stop: &dyn Fn() -> bool,
        clock: &dyn Fn() -> Micros,
        observe: &mut dyn FnMut(&Delivery),
    ) -> Result<(), SendError> {
        let mut desk = Desk::new(self, clock, observe)?;
        while !stop() {
            desk.turn()?;
        }
        desk.leave(Instant::now() + self.options.grace)
    }
}

/// Renders and sends once.
async fn attempt(channels: Arc<Channels>, fact: Arc<Delivery>, deadline: Duration) -> Outcome {
    let Some(channel) = channels.get(&fact.channel) else {
        let name = &fact.channel;
        return Outcome::Deferred(format!("no channel {name:?} is set up: add [channels.{name}]"));
    };
    let message = match render(&fact, &channels.site) {
        Ok(mail) => Message {
            id: fact.message_id.clone(),
            from: channels.site.sender(),
            to: fact.address.clone(),
            bytes: mail.bytes,
        },
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    match tokio::time::timeout(deadline, channel.send(&message)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Unknown(format!("it took longer than {} s", deadline.as_secs())),
    }
}

/// The fact that says what came of an attempt.
fn outcome_fact(attempt: &Delivery, outcome: Outcome, now: Micros, retry: &Retry) -> Delivery {
    let (state, reason) = match outcome {
        Outcome::Sent(reason) => (DeliveryState::Sent, reason),
        Outcome::Refused(reason) => (DeliveryState::Refused, reason),
        Outcome::Deferred(reason) => (DeliveryState::Deferred, reason),
        Outcome::Unknown(reason) => (DeliveryState::Unknown, reason),
    };
    let next = (!state.is_final()).then(|| retry.next(attempt.id, attempt.attempt, state, now));
    Delivery {
        id: attempt.id,
        tenant: attempt.tenant.clone(),
        subscriber: attempt.subscriber,
        channel: attempt.channel.clone(),
        state,
        attempt: attempt.attempt,
        at: now,
        message_id: attempt.message_id.clone(),
        address: String::new(),
        name: String::new(),
        time_zone: String::new(),
        notices: Vec::new(),
        reason,
        next_attempt_at: next,
    }
}
