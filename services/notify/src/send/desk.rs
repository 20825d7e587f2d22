//! The loop of the sender: poll, start, commit what has finished, all on one thread; the attempts
//! themselves run on a small runtime beside it and report back. One slow recipient holds one slot.

mod takeover;

use super::window::{Waiting, Window};
use super::{SendError, Sender, attempt, outcome_fact};
use crate::channel::Outcome;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::{Micros, TopicPartition, topics, wire};
use tocsin_stream::log::PATIENCE;
use tocsin_stream::{Batch, LogError, Polled, Progress, Transaction, Worker, WorkerSpec, crash};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

/// How long a turn waits for something to happen.
const PAUSE: Duration = Duration::from_millis(250);
/// The same while it waits until a partition can be taken up.
const AGAIN: Duration = Duration::from_millis(20);
/// How old progress without an outcome may become before it is committed.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How many outcomes may be ahead of the oldest attempt without one, in all partitions.
const AHEAD: usize = 16_384;
/// How often in a row a worker may fail before the sender gives up.
const FAILURES: u32 = 10;

/// Partition and offset of an attempt.
type Place = (u32, u64);

/// An attempt that has a slot.
struct Running {
    fact: Arc<Delivery>,
    task: AbortHandle,
}

/// A sender at work.
pub(super) struct Desk<'a> {
    sender: &'a Sender,
    clock: &'a dyn Fn() -> Micros,
    observe: &'a mut dyn FnMut(&Delivery),
    worker: Box<dyn Worker>,
    transaction: Transaction,
    deliveries: usize,
    changelog: usize,
    windows: BTreeMap<u32, Window>,
    /// Partitions that are ours, and up to where their changelogs must be decided before it is known
    /// how they were left: what the last sender has committed need not be seen yet.
    coming: BTreeMap<u32, u64>,
    running: HashMap<Place, Running>,
    /// Outcomes that are not committed. They outlive a worker that fails.
    outcomes: BTreeMap<Place, Delivery>,
    report: mpsc::Sender<(Place, Outcome)>,
    reports: Receiver<(Place, Outcome)>,
    runtime: Runtime,
    /// The partition that was served last: the next slot is for the one after it.
    served: u32,
    committed: Instant,
    failures: u32,
}

impl<'a> Desk<'a> {
    pub fn new(
        sender: &'a Sender,
        clock: &'a dyn Fn() -> Micros,
        observe: &'a mut dyn FnMut(&Delivery),
    ) -> Result<Desk<'a>, SendError> {
        let (log, mut transaction) = (&sender.log, Transaction::default());
        let mut register =
            |topic| Ok::<_, LogError>(transaction.register(topic, log.partitions(topic)?));
        let deliveries = register(topics::DELIVERIES)?;
        let changelog = register(topics::NOTIFY_SENDS_CHANGELOG)?;
        let (report, reports) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("send")
            .enable_all()
            .build()?;
        Ok(Desk {
            sender,
            clock,
            observe,
            worker: open_worker(sender)?,
            transaction,
            deliveries,
            changelog,
            windows: BTreeMap::new(),
            coming: BTreeMap::new(),
            running: HashMap::new(),
            outcomes: BTreeMap::new(),
            report,
            reports,
            runtime,
            served: 0,
            committed: Instant::now(),
            failures: 0,
        })
    }

    /// Waits for something to happen and does what follows from it.
    pub fn turn(&mut self) -> Result<(), SendError> {
        let pause = match (self.outcomes.is_empty(), self.coming.is_empty()) {
            // An outcome that is left over from a failed commit must not wait.
            (false, _) => Duration::from_millis(1),
            (true, false) => AGAIN,
            (true, true) => PAUSE,
        };
        match self.poll(pause).and_then(|()| self.take_up()) {
            Err(error @ SendError::Log(LogError::Unavailable(_) | LogError::Lost(_))) => {
                self.start_over(error)?;
            }
            polled => polled?,
        }
        self.listen(Duration::ZERO);
        self.commit(self.sender.options.in_flight.max(1))
    }

    fn poll(&mut self, pause: Duration) -> Result<(), SendError> {
        match self.room() {
            0 => {
                self.listen(pause);
                Ok(())
            }
            room => {
                let polled = self.worker.poll(room, pause)?;
                self.take(polled)
            }
        }
    }

    /// The stop: waits for what is under way and commits it. Nothing else is begun.
    pub fn leave(mut self, until: Instant) -> Result<(), SendError> {
        while !(self.running.is_empty() && self.outcomes.is_empty()) && Instant::now() < until {
            if self.windows.is_empty() {
                // The last commit failed: what has finished can be committed by a new worker.
                let polled = self.worker.poll(1, PAUSE)?;
                self.take(polled)?;
            }
            self.take_up()?;
            self.listen(PAUSE.min(until.saturating_duration_since(Instant::now())));
            self.commit(0)?;
        }
        self.commit_all(0)?;
        self.runtime.shutdown_background();
        Ok(())
    }

    /// How many more attempts may be held in memory.
    fn room(&self) -> usize {
        let sum = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
        let (unfinished, ahead) = self.windows.values().map(Window::load).fold((0, 0), sum);
        if ahead >= AHEAD { 0 } else { self.sender.options.window.saturating_sub(unfinished) }
    }

    fn take(&mut self, polled: Polled) -> Result<(), SendError> {
        match polled {
            Polled::Assigned(partitions) => self.assign(&partitions),
            Polled::Revoked { partitions, lost } => self.revoke(&partitions, lost),
            Polled::Records(batches) => {
                for batch in &batches {
                    for (offset, fact) in self.take_batch(batch) {
                        let why = "the sender stopped while this attempt was under way".to_owned();
                        self.note((batch.partition, offset), &fact, Outcome::Unknown(why));
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes what was polled; gives the suspects among it.
    fn take_batch(&mut self, batch: &Batch) -> Vec<(u64, Delivery)> {
        let mut suspects = Vec::new();
        let Some(window) = self.windows.get_mut(&batch.partition) else { return suspects };
        for record in batch.records() {
            let place = (batch.partition, record.offset);
            let known = self.running.contains_key(&place) || self.outcomes.contains_key(&place);
            let fact = record
                .value
                .map(|value| wire::read_owned::<Delivery>(value, &self.sender.options.ids));
            let attempt = match fact {
                Some(Ok(fact)) => Some(fact).filter(|fact| fact.state == DeliveryState::Attempt),
                Some(Err(error)) => {
                    // `deliver` reads the same record and sets it aside as a dead letter.
                    tracing::warn!(position = %record.position(), %error, "no delivery");
                    None
                }
                None => None,
            };
            let suspect = window.take(record.offset, attempt, known);
            suspects.extend(suspect.map(|fact| (record.offset, fact)));
        }
        suspects
    }

    /// Takes what attempts have reported; waits for the first.
    fn listen(&mut self, pause: Duration) {
        let first = match self.reports.recv_timeout(pause) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        };
        let others: Vec<_> = self.reports.try_iter().collect();
        for (place, outcome) in std::iter::once(first).chain(others) {
            if let Some(running) = self.running.remove(&place) {
                self.note(place, &running.fact, outcome);
            }
        }
    }

    fn note(&mut self, place: Place, attempt: &Delivery, outcome: Outcome) {
        let retry = &self.sender.options.retry;
        self.outcomes.insert(place, outcome_fact(attempt, outcome, (self.clock)(), retry));
    }

    /// Gives so many slots to what waits, partition by partition. It may leave once that is committed.
    fn begin(&mut self, free: usize) -> Vec<(Place, Delivery)> {
        let mut begun = Vec::new();
        while begun.len() < free {
            let after =
                self.windows.range(self.served + 1..).chain(self.windows.range(..=self.served));
            let mut ready = after.filter(|(_, window)| window.has_waiting()).map(|(at, _)| *at);
            let Some(partition) = ready.next() else { break };
            drop(ready);
            self.served = partition;
            let next = self.windows.get_mut(&partition).and_then(Window::begin);
            begun.extend(next.map(|Waiting { offset, fact }| ((partition, offset), fact)));
        }
        begun
    }

    fn spawn(&mut self, place: Place, fact: Delivery) {
        crash::point("before-send");
        let fact = Arc::new(fact);
        let (report, wake) = (self.report.clone(), self.worker.waker());
        let deadline = self.sender.options.deadline;
        let work = attempt(self.sender.channels.clone(), fact.clone(), deadline);
        let work = self.runtime.spawn(work);
        let task = work.abort_handle();
        self.runtime.spawn(async move {
            let outcome = work.await.unwrap_or_else(|error| {
                Outcome::Unknown(format!("the attempt broke off: {error}"))
            });
            crash::point("after-send");
            // Nobody listens any more when the desk is gone; then it is a suspect.
            let _ = report.send((place, outcome));
            wake();
        });
        self.running.insert(place, Running { fact, task });
    }

    /// Commits if there are outcomes, something to begin with so many slots, or progress that is old
    /// enough.
    fn commit(&mut self, slots: usize) -> Result<(), SendError> {
        let idle = self.running.len() >= slots || !self.windows.values().any(Window::has_waiting);
        if self.outcomes.is_empty() && idle && self.committed.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.commit_all(slots)
    }

    /// One transaction with every outcome there is, what is begun in the slots that are free then, the
    /// records and the progress. What is begun leaves after it.
    fn commit_all(&mut self, slots: usize) -> Result<(), SendError> {
        let (windows, observe) = (&mut self.windows, &mut self.observe);
        self.outcomes.retain(|(partition, offset), fact| {
            // A commit whose answer was lost had taken it.
            let done = windows.get(partition).is_some_and(|window| window.is_finished(*offset));
            if done {
                observe(fact);
            }
            !done
        });
        if !self.outcomes.is_empty() {
            crash::point("before-outcome");
        }
        let mut taken = Vec::new();
        for (place, fact) in &self.outcomes {
            let Some(window) = windows.get_mut(&place.0) else { continue };
            let key = fact.key();
            let out = self.transaction.to(self.deliveries, key.as_bytes());
            out.push_with(key.as_bytes(), |bytes| wire::write(fact, bytes));
            window.finish(place.1);
            taken.push(*place);
        }
        let held = self.running.len() + self.outcomes.len() - taken.len();
        let begun = self.begin(slots.saturating_sub(held));
        let mut moved = std::mem::take(&mut self.windows);
        for (partition, window) in moved.iter_mut().filter(|(_, window)| window.has_moved()) {
            window.note();
            self.write_record(*partition, window);
            let at = TopicPartition::new(topics::DELIVERIES, *partition);
            self.transaction.progress.insert(at, window.progress());
        }
        self.windows = moved;
        let positions = self.sender.options.observer.keep(&self.transaction.progress);
        if self.finish_transaction()? {
            self.sender.options.observer.tell(Progress::Positions(&positions));
            for place in taken {
                self.outcomes.remove(&place).iter().for_each(|fact| (self.observe)(fact));
            }
            begun.into_iter().for_each(|(place, fact)| self.spawn(place, fact));
        }
        Ok(())
    }

    fn write_record(&mut self, partition: u32, window: &Window) {
        let key = partition.to_string();
        let out = self.transaction.to_partition(self.changelog, partition);
        out.push_with(key.as_bytes(), |bytes| window.record().encode(bytes));
    }

    /// Commits; whether it is certain that it was. If not, everything is taken up as it is
    /// committed, and what has been sent since is committed then.
    fn finish_transaction(&mut self) -> Result<bool, SendError> {
        self.transaction.time = (self.clock)();
        match self.worker.commit_patiently(&mut self.transaction, PATIENCE) {
            Ok(()) => {
                (self.committed, self.failures) = (Instant::now(), 0);
                Ok(true)
            }
            Err(error) => {
                self.start_over(error.into())?;
                Ok(false)
            }
        }
    }

    /// A new worker. Running attempts go on, and outcomes stay until they are committed.
    fn start_over(&mut self, error: SendError) -> Result<(), SendError> {
        self.failures += 1;
        if self.failures > FAILURES {
            return Err(error);
        }
        tracing::warn!(%error, "taking up what is committed");
        std::thread::sleep(Duration::from_millis(10 << self.failures));
        self.transaction.clear();
        self.windows.clear();
        self.coming.clear();
        self.tell();
        self.worker = open_worker(self.sender)?;
        Ok(())
    }
}

fn open_worker(sender: &Sender) -> Result<Box<dyn Worker>, LogError> {
    sender.log.worker(&WorkerSpec {
        id: format!("send-{}", sender.options.slot),
        group: "send".to_owned(),
        inputs: vec![topics::DELIVERIES.into()],
    })
}

#[cfg(test)]
mod tests;
