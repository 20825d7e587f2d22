//! The consuming half of a worker: a member of a consumer group. The group shares out the first
//! input; a partition's number stands for all inputs, so what is joined stays together. A partition
//! that was not opened yet keeps its records where they are, and holds up no other.

use crate::kafka::client::{Change, Context, KafkaOptions, is_fatal};
use crate::kafka::gather::Gather;
use crate::kafka::native::{Messages, Queue};
use crate::kafka::producer::offsets;
use crate::log::{LogError, Polled, WorkerSpec};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;

/// How long a question to the broker may take.
const CALL: Duration = Duration::from_secs(10);
/// How late a change of the group may be seen while records are waited for.
const GLANCE: Duration = Duration::from_millis(50);

/// A member of a group.
pub(super) struct Member {
    options: KafkaOptions,
    inputs: Vec<Arc<str>>,
    joined: bool,
    seats: Vec<Seat>,
    /// What was announced as gone and is let go with the next poll.
    leaving: Vec<u32>,
    /// What has come and could not be seated yet, because the broker did not answer.
    coming: Vec<u32>,
    messages: Messages,
    queue: Arc<Queue<Context>>,
    consumer: Arc<BaseConsumer<Context>>,
}

/// A partition of an input that this member has.
struct Seat {
    at: TopicPartition,
    /// Where the group goes on; `None` before its first commit.
    committed: Option<u64>,
    /// The offset that a record must have at least.
    next: u64,
    /// Where it begins if nothing was ever committed.
    start: u64,
    open: bool,
    /// The number that messages call its topic by.
    topic: Option<usize>,
    gather: Gather,
}

impl Member {
    /// Joins with the first poll: until then another worker of this slot may still leave.
    pub(super) fn new(options: &KafkaOptions, spec: &WorkerSpec) -> Result<Member, LogError> {
        let mut config = options.reader("read_committed")?;
        config
            .set("group.id", &spec.group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", "500");
        if options.pinned {
            config.set("group.instance.id", &spec.id);
        }
        let failed = |error: KafkaError| options.unavailable("start a consumer", error);
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context::default()).map_err(failed)?;
        let consumer = Arc::new(consumer);
        Ok(Member {
            options: options.clone(),
            inputs: spec.inputs.clone(),
            joined: false,
            seats: Vec::new(),
            leaving: Vec::new(),
            coming: Vec::new(),
            messages: Messages::default(),
            queue: Arc::new(Queue::new(consumer.clone())),
            consumer,
        })
    }

    /// The consumer, to ask who it is in the group.
    pub(super) fn consumer(&self) -> &BaseConsumer<Context> {
        &self.consumer
    }

    pub(super) fn queue(&self) -> &Arc<Queue<Context>> {
        &self.queue
    }

    /// As [`crate::Worker::poll`]; ends early when `woken` is set.
    pub(super) fn poll(
        &mut self,
        max: usize,
        timeout: Duration,
        woken: &AtomicBool,
    ) -> Result<Polled, LogError> {
        let until = Instant::now().checked_add(timeout);
        self.join()?;
        self.let_go()?;
        loop {
            let left =
                until.map_or(GLANCE, |until| until.saturating_duration_since(Instant::now()));
            let wait = left.min(GLANCE);
            let reads = self.seats.iter().any(|seat| seat.open);
            self.serve(if reads { Duration::ZERO } else { wait })?;
            if let Some(change) = self.change()? {
                return Ok(change);
            }
            if reads {
                let taken = self.queue.take(&mut self.messages, max, wait);
                taken.map_err(|code| self.options.unavailable("read", code))?;
            }
            let batches = self.gather()?;
            let woken = woken.swap(false, Ordering::AcqRel);
            if woken || !batches.is_empty() || left.is_zero() {
                return Ok(Polled::Records(batches));
            }
        }
    }

    fn join(&mut self) -> Result<(), LogError> {
        let Some(driving) = self.inputs.first().filter(|_| !self.joined) else { return Ok(()) };
        let joined = self.consumer.subscribe(&[driving]);
        joined.map_err(|error| self.options.unavailable("join the group", error))?;
        self.joined = true;
        Ok(())
    }

    /// Lets the client work: it tells of changes and errors.
    fn serve(&self, wait: Duration) -> Result<(), LogError> {
        match self.consumer.poll(wait) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) if is_fatal(&error) => Err(LogError::Refused(format!(
                "this member cannot stay in its group: {error}; give every process of a service a slot of its own, and see that it may read its topics"
            ))),
            Some(Err(error)) => {
                tracing::warn!(%error, "kafka consumer");
                Ok(())
            }
        }
    }

    fn change(&mut self) -> Result<Option<Polled>, LogError> {
        match self.consumer.context().change() {
            Some(Change::Come(partitions)) => self.coming.extend(partitions),
            Some(Change::Go { partitions, lost }) => {
                self.coming.retain(|coming| !partitions.contains(coming));
                self.leaving.clone_from(&partitions);
                if lost {
                    self.let_go()?;
                }
                return Ok(Some(Polled::Revoked { partitions, lost }));
            }
            None => {}
        }
        if self.coming.is_empty() {
            return Ok(None);
        }
        match self.seat() {
            Ok(()) => Ok(Some(Polled::Assigned(std::mem::take(&mut self.coming)))),
            Err(LogError::Unavailable(reason)) => {
                tracing::warn!(reason, "cannot take up partitions yet");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Every input's partition of these numbers.
    fn places(&self, partitions: &[u32]) -> Vec<TopicPartition> {
        let of = |partition: &u32| {
            let partition = *partition;
            self.inputs.iter().map(move |t| TopicPartition { topic: t.clone(), partition })
        };
        partitions.iter().flat_map(of).collect()
    }

    /// Takes the partitions that have come, from where the group stands.
    fn seat(&mut self) -> Result<(), LogError> {
        let places = self.places(&self.coming);
        let committed = self.ask_committed(&places)?;
        let mut seats = Vec::new();
        for at in places {
            let committed = committed.get(&at).copied().flatten();
            let start = match committed {
                Some(next) => next,
                None => self.low(&at)?,
            };
            let (next, gather) = (committed.unwrap_or(start), Gather::default());
            seats.push(Seat { at, committed, next, start, open: false, topic: None, gather });
        }
        let list = offsets(seats.iter().map(|seat| (&seat.at, seat.next)));
        // Held before they are assigned: no record may come to the main queue.
        seats.iter().for_each(|seat| self.queue.hold(&seat.at.topic, seat.at.partition));
        list.and_then(|list| self.consumer.incremental_assign(&list))
            .map_err(|error| self.options.unavailable("take up partitions", error))?;
        self.seats.extend(seats);
        Ok(())
    }

    fn low(&self, at: &TopicPartition) -> Result<u64, LogError> {
        let asked = self.consumer.fetch_watermarks(&at.topic, at.partition as i32, CALL);
        let (low, _) = asked.map_err(|error| self.options.unavailable("find the start", error))?;
        Ok(low.max(0) as u64)
    }

    fn let_go(&mut self) -> Result<(), LogError> {
        let leaving = std::mem::take(&mut self.leaving);
        let (gone, kept) = std::mem::take(&mut self.seats)
            .into_iter()
            .partition::<Vec<_>, _>(|seat| leaving.contains(&seat.at.partition));
        self.seats = kept;
        if leaving.is_empty() {
            return Ok(());
        }
        gone.iter().for_each(|seat| self.queue.hold(&seat.at.topic, seat.at.partition));
        let list = offsets(gone.iter().map(|seat| (&seat.at, seat.next)));
        list.and_then(|list| self.consumer.incremental_unassign(&list))
            .map_err(|error| self.options.unavailable("let go of partitions", error))
    }

    /// As [`crate::Worker::open`].
    pub(super) fn open(&mut self, partitions: &[u32]) {
        for seat in self.seats.iter_mut().filter(|seat| partitions.contains(&seat.at.partition)) {
            seat.open = true;
            self.queue.open(&seat.at.topic, seat.at.partition);
        }
    }

    /// The messages that were taken, as batches.
    fn gather(&mut self) -> Result<Vec<crate::record::Batch>, LogError> {
        let mut last = None;
        for message in self.messages.iter() {
            let here = |seat: &Seat| {
                seat.topic == Some(message.topic) && seat.at.partition as i32 == message.partition
            };
            let found =
                last.filter(|i: &usize| self.seats.get(*i).is_some_and(here)).or_else(|| {
                    self.seats.iter().position(here).or_else(|| {
                        let name = message.topic_name();
                        let seat = self.seats.iter_mut().find(|seat| {
                            *seat.at.topic == *name && seat.at.partition as i32 == message.partition
                        })?;
                        seat.topic = Some(message.topic);
                        self.seats.iter().position(here)
                    })
                });
            last = found;
            // A message of a partition that has gone.
            let Some(seat) = found.and_then(|i| self.seats.get_mut(i)) else { continue };
            if let Some(code) = message.error {
                return Err(fault(&self.options, &self.consumer, seat, code));
            }
            if message.offset as u64 >= seat.next {
                seat.gather.push(&message);
                seat.next = message.offset as u64 + 1;
            }
        }
        self.messages.clear();
        Ok(self.seats.iter_mut().filter_map(|seat| seat.gather.take(&seat.at)).collect())
    }

    /// Where the group stands with these.
    fn ask_committed(
        &self,
        places: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Option<u64>>, LogError> {
        let failed = |error: KafkaError| self.options.unavailable("ask for the progress", error);
        let list = offsets(places.iter().map(|at| (at, 0))).map_err(failed)?;
        let answered = self.consumer.committed_offsets(list, CALL).map_err(failed)?;
        let mut found = BTreeMap::new();
        for element in answered.elements() {
            element.error().map_err(failed)?;
            let next = match element.offset() {
                Offset::Offset(next) => u64::try_from(next).ok(),
                _ => None,
            };
            found.insert(TopicPartition::new(element.topic(), element.partition() as u32), next);
        }
        Ok(found)
    }

    /// As [`crate::Worker::committed`].
    pub(super) fn committed(&self, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        match self.seats.iter().find(|seat| seat.at == *at) {
            Some(seat) => Ok(seat.committed),
            None => Ok(self.ask_committed(std::slice::from_ref(at))?.remove(at).flatten()),
        }
    }

    /// The transaction with this progress was committed.
    pub(super) fn progressed(&mut self, progress: &BTreeMap<TopicPartition, u64>) {
        for (at, next) in progress {
            if let Some(seat) = self.seats.iter_mut().find(|seat| seat.at == *at) {
                seat.committed = Some(*next);
            }
        }
    }

    /// Where the group stands with everything it has; proves nothing about what it has not.
    pub(super) fn stand(&self) -> BTreeMap<TopicPartition, u64> {
        self.seats
            .iter()
            .map(|seat| (seat.at.clone(), seat.committed.unwrap_or(seat.start)))
            .collect()
    }

    /// As [`crate::Worker::rewind`].
    pub(super) fn rewind(&mut self) -> Result<(), LogError> {
        self.messages.clear();
        for seat in &mut self.seats {
            seat.next = seat.committed.unwrap_or(seat.start);
            seat.gather = Gather::default();
        }
        let begun = Instant::now();
        loop {
            let list = offsets(self.seats.iter().map(|seat| (&seat.at, seat.next)));
            let sought = list.and_then(|list| self.consumer.seek_partitions(list, CALL));
            match sought {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > CALL * 6 => {
                    return Err(self.options.unavailable("rewind", error));
                }
                Err(error) => tracing::warn!(%error, "rewinding again"),
            }
        }
    }
}

fn fault(
    options: &KafkaOptions,
    consumer: &BaseConsumer<Context>,
    seat: &Seat,
    code: RDKafkaErrorCode,
) -> LogError {
    if !matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) {
        return options.unavailable(&format!("read {}", seat.at), code);
    }
    match consumer.fetch_watermarks(&seat.at.topic, seat.at.partition as i32, CALL) {
        Ok((start, end)) => LogError::OutOfRange {
            at: seat.at.clone(),
            offset: seat.next,
            start: start.max(0) as u64,
            end: end.max(0) as u64,
        },
        Err(error) => options.unavailable(&format!("read {}", seat.at), error),
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.consumer.context().close();
        self.messages.clear();
    }
}
