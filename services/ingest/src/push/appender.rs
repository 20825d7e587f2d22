//! The one thread that writes: it takes everything that waits into one transaction, commits it, and
//! only then has the answers given. Of a commit whose outcome is not known it finds out, by a mark
//! that the log then has or has not; it never says yes to what it has not seen.

use super::keys::{self, Given, Key, Keys};
use super::lot::{Answer, DEAD, Lot};
use super::room::Share;
use super::settings::Pushed;
use crate::cursor;
use crate::pause::Guard;
use crate::tally::Tally;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tocsin_domain::topics::DEAD_LETTERS;
use tocsin_domain::upstream::Pause;
use tocsin_domain::{Id, Micros};
use tocsin_service::{Metrics, Stop};
use tocsin_stream::{CommitError, Log, LogError, Transaction, Worker, WorkerSpec};
use tokio::sync::oneshot;

/// How much one transaction takes, about.
const GROUP_BYTES: usize = 8 << 20;
/// How long a look for work lasts.
const LOOK: Duration = Duration::from_millis(200);
/// How long a group is tried before its producers are told to come again.
const PATIENCE: Duration = Duration::from_secs(5);
/// What metrics call it.
pub(super) const PART: &str = "push";

/// What one request wants written.
pub(super) struct Job {
    pub(super) lot: Lot,
    pub(super) answer: Answer,
    /// What its events have become once it is written.
    pub(super) tally: Tally,
    pub(super) key: Option<Key>,
    /// Who stands before its producer.
    pub(super) guard: Arc<Guard>,
    /// Why only its first dead letters are written, and nothing is taken in.
    pub(super) stopped: Option<Pause>,
    pub(super) reply: oneshot::Sender<Outcome>,
    /// Its share of the room, given back when it is done.
    pub(super) _share: Share,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the log: what is answered.
    Written(Answer),
    /// Only that its producer is paused: whose name this is, and why.
    Paused(String, String),
    /// Another request had its key before, with another body.
    OtherBody,
    /// Nobody knows that it is in the log, and why.
    Later(String),
}

/// Writes.
pub(super) struct Appender {
    log: Arc<dyn Log>,
    keys: Arc<Keys>,
    metrics: Arc<Metrics>,
    now: Arc<dyn Fn() -> Micros + Send + Sync>,
    spec: WorkerSpec,
    /// None after an outcome that is not known.
    worker: Option<Box<dyn Worker>>,
    transaction: Transaction,
    topics: Vec<usize>,
    cursors: usize,
    answers: usize,
    mark: Vec<u8>,
    /// What tells this start of the program from others.
    begun: Micros,
    groups: u64,
    pub(super) patience: Duration,
}

/// Why a group is not written.
enum Failed {
    /// It may be tried again.
    Again(String),
    /// This appender is at its end.
    End(String),
}

impl From<LogError> for Failed {
    fn from(error: LogError) -> Failed {
        match error {
            LogError::Unavailable(reason) => Failed::Again(reason),
            other => Failed::End(other.to_string()),
        }
    }
}

impl Appender {
    pub(super) fn new(
        (log, keys): (Arc<dyn Log>, Arc<Keys>),
        slot: u32,
        metrics: Arc<Metrics>,
        now: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Result<Appender, LogError> {
        let id = format!("push-{slot}");
        let spec = WorkerSpec { id, group: PART.to_owned(), inputs: Vec::new() };
        let worker = Some(log.worker(&spec)?);
        let mut transaction = Transaction::default();
        let mut register = |topic: &str| -> Result<usize, LogError> {
            Ok(transaction.register(topic, log.partitions(topic)?))
        };
        let mut topics = Vec::new();
        for kind in Pushed::ALL {
            topics.push(register(kind.topic())?);
        }
        topics.insert(DEAD, register(DEAD_LETTERS)?);
        let cursors = register(cursor::TOPIC)?;
        let answers = register(keys::TOPIC)?;
        let (mark, begun) = (keys::mark(slot), now());
        Ok(Appender {
            log,
            keys,
            metrics,
            now,
            spec,
            worker,
            transaction,
            topics,
            cursors,
            answers,
            mark,
            begun,
            groups: 0,
            patience: PATIENCE,
        })
    }

    /// Writes until it is told to stop and nothing waits any more.
    pub(super) fn run(mut self, queue: &Receiver<Job>, stop: &Stop) -> Result<(), String> {
        loop {
            match queue.recv_timeout(LOOK) {
                Ok(first) => self.write(gather(first, queue), stop)?,
                Err(RecvTimeoutError::Timeout) if !stop.stopped() => {}
                Err(_) => return Ok(()),
            }
        }
    }

    /// Writes a group, and has everybody answered.
    fn write(&mut self, mut jobs: Vec<Job>, stop: &Stop) -> Result<(), String> {
        let until = Instant::now() + self.patience;
        let mut pause = Duration::from_millis(20);
        self.groups += 1;
        let number = self.groups.to_be_bytes();
        let mark = Id::of("push", &[&self.mark, &self.begun.0.to_be_bytes(), &number]);
        loop {
            let failed = match self.attempt(&mut jobs, mark) {
                Ok(()) => {
                    jobs.into_iter().for_each(Job::done);
                    return Ok(());
                }
                Err(failed) => failed,
            };
            self.metrics.aborted(PART);
            match failed {
                Failed::Again(reason) if Instant::now() < until && !stop.stopped() => {
                    tracing::warn!(reason, "what was pushed is not written yet; trying again");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Failed::Again(reason) => {
                    jobs.into_iter().for_each(|job| job.reply(Outcome::Later(reason.clone())));
                    // What is left in it must not come with the next group.
                    self.worker = None;
                    return Ok(());
                }
                Failed::End(reason) => {
                    jobs.into_iter().for_each(|job| job.reply(Outcome::Later(reason.clone())));
                    return Err(reason);
                }
            }
        }
    }

    fn attempt(&mut self, jobs: &mut Vec<Job>, mark: Id) -> Result<(), Failed> {
        if self.worker.is_none() {
            // The new worker shuts the old one out: from here on, what is not in the log never will
            // be, and what is there can be seen.
            let worker = self.log.worker(&self.spec)?;
            let is_there = self.keys.last(&self.mark)? == Some(mark);
            self.worker = Some(worker);
            if is_there {
                jobs.iter().for_each(|job| self.note(job));
                return Ok(());
            }
        }
        self.leave_out_known(jobs);
        if jobs.is_empty() {
            return Ok(());
        }
        self.fill(jobs, mark).map_err(Failed::End)?;
        let begun = Instant::now();
        self.commit()?;
        self.metrics.committed(PART, begun.elapsed());
        jobs.iter().for_each(|job| self.note(job));
        Ok(())
    }

    /// Answers those whose key has an answer already.
    fn leave_out_known(&self, jobs: &mut Vec<Job>) {
        for job in std::mem::take(jobs) {
            let given = job.key.as_ref().and_then(|key| Some((self.keys.peek(key.id)?, key.body)));
            match given {
                Some((given, body)) => {
                    let outcome = outcome(given, body);
                    if let Outcome::Written(answer) = &outcome {
                        repeated(&self.metrics, &job.guard, answer);
                    }
                    job.reply(outcome);
                }
                None => jobs.push(job),
            }
        }
    }

    fn fill(&mut self, jobs: &[Job], mark: Id) -> Result<(), String> {
        let transaction = &mut self.transaction;
        transaction.clear();
        transaction.time = (self.now)();
        for job in jobs {
            for record in job.lot.records() {
                let builder = transaction.to(self.topics[record.topic], record.key);
                builder.push(record.key, Some(record.value));
            }
            if let Some(pause) = &job.stopped {
                job.guard.whom().write(pause, transaction, self.cursors)?;
            } else if let Some(key) = &job.key {
                let name = key.name.as_bytes();
                let value = keys::value(key.body, &job.answer);
                transaction.to(self.answers, name).push(name, Some(&value));
            }
        }
        transaction.to(self.answers, &self.mark).push(&self.mark, Some(mark.as_bytes()));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Failed> {
        let Some(worker) = &mut self.worker else {
            return Err(Failed::Again("there is no worker".to_owned()));
        };
        match worker.commit_patiently(&mut self.transaction, self.patience) {
            Ok(()) => Ok(()),
            Err(CommitError::Abort(reason)) => {
                worker.rewind()?;
                Err(Failed::Again(reason))
            }
            // Part of it may be under way: only a new worker is sure of where it begins.
            Err(CommitError::Retriable(reason) | CommitError::Unknown(reason)) => {
                self.worker = None;
                Err(Failed::Again(reason))
            }
            Err(CommitError::Fatal(reason)) => Err(Failed::End(reason)),
        }
    }

    /// Its key has an answer from now on, and its events are counted.
    fn note(&self, job: &Job) {
        self.metrics.came_in(PART, &job.guard.whom().name, job.tally.outcomes());
        if job.stopped.is_some() {
            return;
        }
        self.metrics.pushed(job.answer.received as u64);
        if let Some(key) = &job.key {
            let given = Given { body: key.body, answer: job.answer.clone() };
            self.keys.note(key.id, given, self.transaction.time);
        }
    }
}

impl Job {
    fn done(self) {
        let outcome = match &self.stopped {
            None => Outcome::Written(self.answer.clone()),
            Some(pause) => Outcome::Paused(self.guard.whom().name.clone(), pause.reason.clone()),
        };
        self.reply(outcome);
    }

    /// Who asked may have gone; then the key tells them when they come again.
    fn reply(self, outcome: Outcome) {
        let Job { reply, key, _share, .. } = self;
        // A key is free before its answer is read, so that who asks again at once is not refused.
        drop((key, _share));
        let _ = reply.send(outcome);
    }
}

/// Counts what comes again with its key: nothing more is to come of it.
pub(super) fn repeated(metrics: &Metrics, guard: &Guard, answer: &Answer) {
    let tally = Tally::repeats(answer.received as u64);
    metrics.came_in(PART, &guard.whom().name, tally.outcomes());
}

/// What is said to who comes with a key that has an answer.
pub(super) fn outcome(given: Given, body: Id) -> Outcome {
    match given.body == body {
        true => Outcome::Written(given.answer),
        false => Outcome::OtherBody,
    }
}

/// Everything that waits, up to a limit.
fn gather(first: Job, queue: &Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.lot.bytes();
    let mut jobs = vec![first];
    while bytes < GROUP_BYTES
        && let Ok(next) = queue.try_recv()
    {
        bytes += next.lot.bytes();
        jobs.push(next);
    }
    jobs
}
