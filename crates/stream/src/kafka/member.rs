//! The consuming half of a worker: a member of a consumer group. The group shares out the first
//! input; a partition's number stands for all inputs, so what is joined stays together. A partition
//! that was not opened yet keeps its records where they are, and holds up no other.

use crate::kafka::bell::Bell;
use crate::kafka::client::{Change, Context, KafkaOptions, is_away, is_fatal, is_replaced};
use crate::kafka::cluster::watermarks;
use crate::kafka::groups;
use crate::kafka::native::{Messages, Queue};
use crate::kafka::place::Place;
use crate::kafka::producer::offsets;
use crate::kafka::seat::Seat;
use crate::log::{LogError, Polled, Span, WorkerSpec};
use crate::record::Batch;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;

/// How long a question to the broker may take.
const CALL: Duration = Duration::from_secs(10);
/// How long a seek may take; it asks nobody.
const SEEK: Duration = Duration::from_secs(1);
/// How long it is tried to go back; then a new process does better.
const ASTRAY: Duration = Duration::from_secs(60);
/// How late something may be seen that does not ring the bell.
const GLANCE: Duration = Duration::from_secs(1);

/// A member of a group.
pub(super) struct Member {
    options: KafkaOptions,
    group: String,
    inputs: Vec<Arc<str>>,
    place: Place,
    joined: bool,
    seats: Vec<Seat>,
    /// What was announced as gone and is let go with the next poll.
    leaving: Vec<u32>,
    /// What has come, perhaps nothing, and was not taken up yet, because the broker did not answer.
    pub(super) coming: Option<Vec<u32>>,
    /// The seat that is served first by the next poll.
    turn: usize,
    /// Since when the client reads from elsewhere than it should.
    astray: Option<Instant>,
    messages: Messages,
    _changes: Option<Queue<Context>>,
    bell: Bell,
    consumer: Arc<BaseConsumer<Context>>,
}

impl Member {
    /// Joins with the first poll: until then another worker of this slot may still leave.
    pub(super) fn new(options: &KafkaOptions, spec: &WorkerSpec) -> Result<Member, LogError> {
        let (place, bell) = (Place::new(options, spec)?, Bell::new()?);
        let consumer = place.client()?;
        Ok(Member {
            options: options.clone(),
            group: spec.group.clone(),
            inputs: spec.inputs.clone(),
            place,
            joined: false,
            seats: Vec::new(),
            leaving: Vec::new(),
            coming: None,
            turn: 0,
            astray: None,
            messages: Messages::default(),
            _changes: Queue::of_client(&consumer, bell.rope()),
            bell,
            consumer,
        })
    }

    /// The consumer, to ask who it is in the group.
    pub(super) fn consumer(&self) -> &BaseConsumer<Context> {
        &self.consumer
    }

    /// Ends a poll that waits; from any thread.
    pub(super) fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.bell.waker()
    }

    /// As [`crate::Worker::poll`].
    pub(super) fn poll(&mut self, max: usize, timeout: Duration) -> Result<Polled, LogError> {
        let until = Instant::now().checked_add(timeout);
        self.regain()?;
        self.join()?;
        self.let_go()?;
        loop {
            self.serve()?;
            if let Some(change) = self.change()? {
                return Ok(change);
            }
            let batches = if self.stands_right()? { self.take(max)? } else { Vec::new() };
            let left =
                until.map_or(GLANCE, |until| until.saturating_duration_since(Instant::now()));
            if !batches.is_empty() || left.is_zero() || self.bell.wait(left.min(GLANCE)) {
                return Ok(Polled::Records(batches));
            }
        }
    }

    /// One round over the open partitions, beginning where the last round stopped.
    fn take(&mut self, max: usize) -> Result<Vec<Batch>, LogError> {
        let (mut batches, mut left, first) = (Vec::new(), max, self.turn);
        for i in 0..self.seats.len() {
            let turn = (first + i) % self.seats.len();
            let seat = &mut self.seats[turn];
            if !seat.open {
                continue;
            }
            let taken = seat.queue.take(&mut self.messages, left);
            taken.map_err(|code| self.options.unavailable(&format!("read {}", seat.at), code))?;
            let gathered = seat.gather(&self.messages);
            left = left.saturating_sub(self.messages.len());
            self.messages.clear();
            match gathered {
                Ok(batch) => batches.extend(batch),
                Err(code) => return Err(self.fault(turn, code)),
            }
            self.turn = turn + 1;
            if left == 0 {
                break;
            }
        }
        Ok(batches)
    }

    fn join(&mut self) -> Result<(), LogError> {
        let Some(driving) = self.inputs.first().filter(|_| !self.joined) else { return Ok(()) };
        let joined = self.consumer.subscribe(&[driving]);
        joined.map_err(|error| self.options.unavailable("join the group", error))?;
        self.joined = true;
        Ok(())
    }

    /// A client that does not find back into its group gives way to another one.
    fn regain(&mut self) -> Result<(), LogError> {
        // What the old one has still to tell comes first.
        if self.consumer.context().loses() {
            return Ok(());
        }
        let Some(client) = self.place.again()? else { return Ok(()) };
        self.consumer.context().close();
        self.seats.clear();
        self.leaving.clear();
        self.coming = None;
        self._changes = Queue::of_client(&client, self.bell.rope());
        let stuck = std::mem::replace(&mut self.consumer, client);
        self.joined = false;
        // Its end waits for what it hangs in, perhaps for ever.
        std::thread::spawn(move || drop(stuck));
        Ok(())
    }

    /// Lets the client tell all that it has to tell: behind the many errors of a broker that was away
    /// stands the change of what this member has.
    fn serve(&mut self) -> Result<(), LogError> {
        while let Some(told) = self.consumer.poll(Duration::ZERO) {
            match told {
                // Whoever asks for it in vain in its own queue would leave it out.
                Ok(message) => {
                    return Err(self.options.unavailable(
                        &format!("read {:?} in its order", message.topic()),
                        format!("offset {} came beside its queue", message.offset()),
                    ));
                }
                Err(error)
                    if is_replaced(&error) && self.place.fences_itself(self.consumer.context()) =>
                {
                    tracing::warn!(%error, "taking another Kafka client");
                    return Ok(());
                }
                Err(error) if is_fatal(&error) => {
                    return Err(LogError::Refused(format!(
                        "this member cannot stay in its group: {error}; give every process of a service a slot of its own, and see that it may read its topics"
                    )));
                }
                Err(error) if is_away(&error) => {}
                Err(error) => tracing::warn!(%error, "kafka consumer"),
            }
        }
        Ok(())
    }

    fn change(&mut self) -> Result<Option<Polled>, LogError> {
        match self.consumer.context().change() {
            // Nothing may come, too: the client waits until that is taken up.
            Some(Change::Come(partitions)) => {
                self.place.find();
                self.coming.get_or_insert_default().extend(partitions);
            }
            Some(Change::Go { partitions, lost }) => {
                let coming = self.coming.iter_mut();
                coming.for_each(|all| all.retain(|one| !partitions.contains(one)));
                self.leaving.clone_from(&partitions);
                self.set_open(&partitions, false);
                if lost {
                    self.place.lose();
                    if let Err(error) = self.let_go() {
                        tracing::warn!(%error, "trying again with the next poll");
                    }
                }
                return Ok(Some(Polled::Revoked { partitions, lost }));
            }
            None => {}
        }
        let Some(coming) = self.coming.take() else { return Ok(None) };
        match self.seat(&coming) {
            Ok(()) => Ok(Some(Polled::Assigned(coming))),
            Err(LogError::Unavailable(reason)) => {
                tracing::warn!(reason, "cannot take up partitions yet");
                self.coming = Some(coming);
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
    fn seat(&mut self, coming: &[u32]) -> Result<(), LogError> {
        let places = self.places(coming);
        let committed = self.ask_committed(&places)?;
        let mut seats = Vec::new();
        for at in places {
            let committed = committed.get(&at).copied().flatten();
            let start = match committed {
                Some(next) => next,
                None => self.low(&at)?,
            };
            let queue = Queue::of_partition(&self.consumer, self.bell.rope(), &at);
            let queue = queue.ok_or_else(|| LogError::UnknownPartition(at.clone()))?;
            let next = committed.unwrap_or(start);
            seats.push(Seat { at, committed, next, start, open: false, queue });
        }
        let list = offsets(seats.iter().map(|seat| (&seat.at, seat.next)));
        list.and_then(|list| self.consumer.incremental_assign(&list))
            .map_err(|error| self.options.unavailable("take up partitions", error))?;
        self.seats.extend(seats);
        Ok(())
    }

    fn low(&self, at: &TopicPartition) -> Result<u64, LogError> {
        let asked = watermarks(&self.consumer, at);
        Ok(asked.map_err(|error| self.options.unavailable("find the start", error))?.start)
    }

    fn let_go(&mut self) -> Result<(), LogError> {
        if self.leaving.is_empty() {
            return Ok(());
        }
        let goes = |seat: &Seat| self.leaving.contains(&seat.at.partition);
        let gone = self.seats.iter().filter(|seat| goes(seat));
        let list = offsets(gone.map(|seat| (&seat.at, seat.next)));
        list.and_then(|list| self.consumer.incremental_unassign(&list))
            .map_err(|error| self.options.unavailable("let go of partitions", error))?;
        let leaving = std::mem::take(&mut self.leaving);
        self.seats.retain(|seat| !leaving.contains(&seat.at.partition));
        Ok(())
    }

    /// As [`crate::Worker::open`] and [`crate::Worker::close`].
    pub(super) fn set_open(&mut self, partitions: &[u32], open: bool) {
        for seat in self.seats.iter_mut().filter(|seat| partitions.contains(&seat.at.partition)) {
            seat.open = open;
        }
    }

    /// Where the group stands with these.
    fn ask_committed(
        &self,
        places: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Option<u64>>, LogError> {
        let asked = groups::committed(&self.consumer, places, CALL);
        let doing = format!("ask for the progress of group {:?}", self.group);
        asked.map_err(|error| self.options.unavailable(&doing, error))
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

    /// What an error of a partition means.
    fn fault(&self, seat: usize, code: RDKafkaErrorCode) -> LogError {
        let seat = &self.seats[seat];
        let doing = format!("read {}", seat.at);
        if !matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) {
            return self.options.unavailable(&doing, code);
        }
        match watermarks(&self.consumer, &seat.at) {
            Ok(Span { start, end }) => {
                LogError::OutOfRange { at: seat.at.clone(), offset: seat.next, start, end }
            }
            Err(error) => self.options.unavailable(&doing, error),
        }
    }

    /// As [`crate::Worker::rewind`]: nothing is read before every seat stands where it should.
    pub(super) fn rewind(&mut self) {
        self.messages.clear();
        for seat in &mut self.seats {
            seat.next = seat.committed.unwrap_or(seat.start);
        }
        self.astray.get_or_insert_with(Instant::now);
    }

    /// Seeks after a rewind. A partition that cannot be sought has mostly gone, as the next change
    /// will say; to read on from where it stands would leave records out.
    fn stands_right(&mut self) -> Result<bool, LogError> {
        // Who has nothing is nowhere wrong, and a client takes it amiss to be sought through for nothing.
        if self.seats.is_empty() {
            self.astray = None;
        }
        let Some(since) = self.astray else { return Ok(true) };
        let list = offsets(self.seats.iter().map(|seat| (&seat.at, seat.next)));
        let sought = list.and_then(|list| self.consumer.seek_partitions(list, SEEK));
        let each = |list: TopicPartitionList| {
            list.elements().iter().try_for_each(|element| element.error())
        };
        match sought.and_then(each) {
            Ok(()) => self.astray = None,
            Err(error) if since.elapsed() > ASTRAY => {
                return Err(LogError::Refused(format!(
                    "the Kafka client cannot go back to the last commit: {error}; start this process again"
                )));
            }
            Err(error) => tracing::warn!(%error, "cannot go back to the last commit yet"),
        }
        Ok(self.astray.is_none())
    }
}

/// The client waits for an answer to each change, and for ever if there is none, even to end.
impl Drop for Member {
    fn drop(&mut self) {
        self.messages.clear();
        let context = self.consumer.context();
        let asked = context.change().is_some() || self.coming.is_some() || !self.leaving.is_empty();
        context.close();
        if !asked {
            return;
        }
        let answered = self.consumer.incremental_assign(&TopicPartitionList::new());
        let held = answered.and_then(|()| self.consumer.assignment());
        if let Err(error) = held.and_then(|held| self.consumer.incremental_unassign(&held)) {
            tracing::warn!(%error, "cannot let go of partitions while leaving the group");
        }
    }
}
