//! `POST /v1/events`: events that somebody pushes, as CloudEvents or as JSON that a mapping reads.
//! What is answered with 202 is durable in the log; what is refused has written nothing. It reads no
//! file and asks no upstream.
//!
//! Read in this order: who may ([`settings`], `producers`, `site`), what a request says (`form`,
//! `body`, `room`), what its events are (`read`, `cloud`, `builtin`, `mapped`, `take`), what is kept
//! of them (`lot`, `keys`), who writes it (`appender`), who may upload sets (`gate`), and what a dead
//! letter is today (`again`).

pub mod settings;

mod again;
mod appender;
mod body;
mod builtin;
mod cloud;
mod form;
mod gate;
mod json;
mod keys;
mod lot;
mod mapped;
mod problem;
mod producers;
mod read;
mod room;
mod site;
mod take;

pub(crate) use again::Again;
pub use lot::Answer;
pub use problem::{Refusal, Wrong};
pub use producers::whom;
pub use settings::{PushSettings, section, token_hash};

use crate::datasets::http::Authorise;
use crate::pause::{Counted, Guard};
use crate::settings::SourceConfig;
use crate::tally::Tally;
use appender::{Appender, Job, Outcome, PART};
use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use form::Form;
use keys::{Key, Keys};
use producers::{Producer, Producers};
use read::Reader;
use room::{Room, Share};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};
use take::Taken;
use tocsin_domain::{Id, Micros};
use tocsin_service::{Metrics, Stop};
use tocsin_stream::{Log, LogError};
use tokio::sync::oneshot;

/// The route.
pub const ROUTE: &str = "/v1/events";

/// Takes what is pushed.
pub struct Push {
    producers: Arc<Producers>,
    reader: Reader,
    keys: Arc<Keys>,
    queue: Sender<Job>,
    room: Arc<Room>,
    max_body: usize,
    /// How long a body may take.
    patience: Duration,
    metrics: Arc<Metrics>,
    now: Arc<dyn Fn() -> Micros + Send + Sync>,
}

/// Writes what was taken; runs on a thread of its own.
pub struct Writer {
    appender: Appender,
    queue: Receiver<Job>,
}

impl Writer {
    /// Gives up on a group after that long; for tests.
    #[cfg(test)]
    fn patience(mut self, patience: Duration) -> Writer {
        self.appender.patience = patience;
        self
    }

    /// Writes until it is told to stop and nothing waits any more.
    ///
    /// # Errors
    /// If the log takes nothing more from this process.
    pub fn run(self, stop: &Stop) -> Result<(), String> {
        self.appender.run(&self.queue, stop)
    }
}

/// Why events cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The log does not answer.
    #[error("cannot take events: {0}")]
    Log(#[from] LogError),
    /// What is configured wrong.
    #[error("{0}")]
    Configuration(String),
}

impl Push {
    /// Who takes events into `log`, and who writes them; the slot tells this process from others.
    ///
    /// # Errors
    /// If the log does not answer, or two sources map one type.
    pub fn new(
        log: &Arc<dyn Log>,
        (settings, sources): (&PushSettings, &[SourceConfig]),
        slot: u32,
        metrics: Arc<Metrics>,
        now: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Result<(Push, Writer), PushError> {
        let limits = &settings.limits;
        let reader = Reader::new(sources, limits.max_events).map_err(PushError::Configuration)?;
        let keys = Arc::new(Keys::read(log.clone(), limits.idempotency_keys)?);
        let producers = Producers::new(settings, sources).map_err(PushError::Configuration)?;
        producers.guards().iter().try_for_each(|guard| guard.look(&**log, now()))?;
        let to = (log.clone(), keys.clone());
        let appender = Appender::new(to, slot, metrics.clone(), now.clone())?;
        let (sender, queue) = std::sync::mpsc::channel();
        let push = Push {
            producers: Arc::new(producers),
            reader,
            keys,
            queue: sender,
            room: Room::new(limits.queue_bytes),
            max_body: limits.max_body_bytes,
            patience: body::PATIENCE,
            metrics,
            now,
        };
        Ok((push, Writer { appender, queue }))
    }

    /// Who stands before each of the producers; somebody must keep looking after them.
    pub fn guards(&self) -> Vec<Arc<Guard>> {
        self.producers.guards()
    }

    /// Who may upload data sets, which counts as what they push.
    pub fn gate(&self) -> Authorise {
        gate::gate(self.producers.clone())
    }

    /// The route that takes events. Needs a tokio runtime.
    pub fn router(self) -> Router {
        let push = Arc::new(self);
        let other = push.clone();
        let take = move |request: Request| {
            let push = push.clone();
            async move { push.answer(request).await }
        };
        let refuse = move || {
            let detail = "events are posted: POST /v1/events";
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail);
            let response = other.refused(refusal);
            async move { response }
        };
        Router::new().route(ROUTE, post(take).fallback(refuse))
    }

    async fn answer(self: Arc<Push>, request: Request) -> Response {
        let begun = Instant::now();
        let lenient = form::lenient(request.headers());
        let mut response = match self.clone().take(request).await {
            Ok(answer) => accepted(&answer, lenient),
            Err(refusal) => self.refused(refusal),
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.metrics.http(ROUTE, response.status().as_u16(), begun.elapsed());
        response
    }

    fn refused(&self, refusal: Refusal) -> Response {
        self.metrics.push_refused(refusal.code);
        refusal.into_response()
    }

    /// From the head of a request to its events being in the log.
    async fn take(self: Arc<Push>, request: Request) -> Result<Answer, Refusal> {
        let (head, body) = request.into_parts();
        let producer = self.producers.find(&head.headers)?;
        producer.may(Instant::now())?;
        let form = Form::read(&head.headers, head.uri.query())?;
        let mut share = self.room.enter(&producer.name)?;
        // Who says how much will come need not send it in vain.
        let announced = body::announced(&head.headers, self.max_body)?;
        share.look(announced.unwrap_or_default())?;
        let body = body::collect(body, &mut share, (self.max_body, self.patience)).await?;
        self.metrics.push_bytes(body.len() as u64);
        // Reading takes its time, and may look into the log: not on a thread that serves others.
        let push = self.clone();
        let work = move || push.hand_over(&form, &producer, body, share);
        let handed = tokio::task::spawn_blocking(work).await;
        match handed.unwrap_or_else(|error| Err(Refusal::later("internal", error.to_string())))? {
            Handed::Known(answer) => Ok(answer),
            Handed::Waits(reply) => match reply.await {
                Ok(outcome) => judge(outcome),
                Err(_) => Err(Refusal::later("stopping", "the process ends; send it again")),
            },
        }
    }

    fn hand_over(
        &self,
        form: &Form,
        producer: &Producer,
        body: Vec<u8>,
        mut share: Share,
    ) -> Result<Handed, Refusal> {
        let body = self.unpacked(form, body, &mut share)?;
        let now = (self.now)();
        let hash = Id::of("push-body", &[form.described().as_bytes(), &body]);
        let key = match &form.key {
            None => None,
            Some(key) => match self.key(producer, key, hash, now)? {
                Ok(key) => Some(key),
                Err(answer) => {
                    appender::repeated(&self.metrics, &producer.guard, &answer);
                    return Ok(Handed::Known(answer));
                }
            },
        };
        let request = read::Request { form, producer, body: &body, hash, now };
        let read = self.reader.read(&request);
        // What is refused has cost as much.
        let events = read.as_ref().map_or_else(|refusal| refusal.wrong, |it| it.answer.received);
        producer.pushed(events.max(1), Instant::now());
        let Taken { mut lot, answer, dead, mut tally } = read?;
        drop(body);
        share.turn_into(lot.bytes())?;
        // Only what would be written counts: of what is refused, its producer still has everything.
        let place = format!("POST {ROUTE}");
        let stopped = match producer.guard.count(answer.received, &dead, (&place, now)) {
            Counted::Fine => None,
            Counted::Shut(reason) => return Err(producer.paused(&reason)),
            Counted::Over(dead, pause) => {
                lot = lot.letters(dead);
                tally = Tally::dead(lot.len() as u64);
                Some(pause)
            }
        };
        self.metrics.push_batch(answer.received);
        if lot.len() == 0 && key.is_none() {
            self.metrics.pushed(answer.received as u64);
            self.metrics.came_in(PART, &producer.guard.whom().name, tally.outcomes());
            return Ok(Handed::Known(answer));
        }
        let (reply, waits) = oneshot::channel();
        let guard = producer.guard.clone();
        let job = Job { lot, answer, tally, key, guard, stopped, reply, _share: share };
        match self.queue.send(job) {
            Ok(()) => Ok(Handed::Waits(waits)),
            Err(_) => Err(Refusal::later("stopping", "the process ends; send it again")),
        }
    }

    fn unpacked(&self, form: &Form, body: Vec<u8>, share: &mut Share) -> Result<Vec<u8>, Refusal> {
        if !form.gzip {
            return Ok(body);
        }
        let unpacked = body::unpack(&body, share, self.max_body)?;
        share.less(body.len());
        Ok(unpacked)
    }

    /// The request's key, held; or the answer that was given to it before.
    fn key(
        &self,
        producer: &Producer,
        key: &str,
        body: Id,
        now: Micros,
    ) -> Result<Result<Key, Answer>, Refusal> {
        let name = format!("{}/{key}", producer.name);
        let id = Keys::id(&name);
        let hold = self.keys.hold(id).ok_or_else(|| {
            let detail = "a request with this `Idempotency-Key` is under way; send it again later";
            let refusal = Refusal::new(StatusCode::CONFLICT, "key-under-way", detail);
            Refusal { retry_after: Some(Duration::from_secs(1)), ..refusal }
        })?;
        let given = self.keys.find(id, now);
        let given = given.map_err(|error| Refusal::later("log", error.to_string()))?;
        match given.map(|given| judge(appender::outcome(given, body))) {
            None => Ok(Ok(Key { id, name, body, _hold: hold })),
            Some(answer) => answer.map(Err),
        }
    }
}

/// What a request has come to.
enum Handed {
    /// It is in the log, or there is nothing to write.
    Known(Answer),
    /// It waits to be written.
    Waits(oneshot::Receiver<Outcome>),
}

fn judge(outcome: Outcome) -> Result<Answer, Refusal> {
    match outcome {
        Outcome::Written(answer) => Ok(answer),
        Outcome::Paused(name, reason) => Err(Refusal::paused(&name, &reason)),
        Outcome::OtherBody => {
            let detail = "this `Idempotency-Key` came with another body before; take a new key";
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail))
        }
        Outcome::Later(reason) => {
            tracing::error!(reason, "what was pushed could not be written in time");
            let detail = "the log does not answer, and it is not known whether the events are in \
                          it; send them again, with the same `Idempotency-Key` if there was one";
            Err(Refusal::later("log", detail))
        }
    }
}

fn accepted(answer: &Answer, lenient: bool) -> Response {
    // Numbers and texts only: it cannot fail.
    let body = serde_json::to_string(answer).unwrap_or_default();
    let headers = [(CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::ACCEPTED, headers, body).into_response();
    if lenient {
        let applied = HeaderValue::from_static("handling=lenient");
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), applied);
    }
    response
}

#[cfg(test)]
mod tests;
