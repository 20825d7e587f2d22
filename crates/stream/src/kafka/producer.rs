//! The producing half of a worker: one transaction at a time, begun with the first record, and an
//! answer to each way it can end. An outcome that is not definite is never guessed at.

use crate::crash;
use crate::kafka::client::Context;
use crate::kafka::cluster::Cluster;
use crate::kafka::native::{self, Group, Outlet, Refusal};
use crate::log::{CommitError, LogError, Output, Transaction};
use crate::transfer::FILLER;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;

/// How long one call may wait; it is made again as long as the broker may come back.
const CALL: Duration = Duration::from_secs(5);
/// How long a transaction's end is waited for before it counts as unknown.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// A transactional producer.
pub(super) struct Producer {
    id: String,
    cluster: Arc<Cluster>,
    outlets: HashMap<Arc<str>, Outlet<Context>>,
    /// What the last transaction that was decided touched.
    last: Touched,
    /// Whether a broker went away since.
    owing: bool,
    /// Why nothing can be committed any more, once another worker has the id.
    shut_out: Option<String>,
    producer: Arc<ThreadedProducer<Context>>,
}

/// What a transaction touched, where a mark says how it ended, and how that was.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) places: Vec<TopicPartition>,
    /// The group whose progress it carried, and a place of that group where nobody goes on.
    pub(super) group: Option<(String, TopicPartition)>,
    pub(super) committed: bool,
}

impl Touched {
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.group.is_none()
    }
}

/// Whose progress a transaction carries.
pub(super) type Owner<'a> = Group<'a, Context>;

impl Producer {
    /// A producer; whoever had the id before is fenced, and its open transaction aborted.
    pub(super) fn new(cluster: &Arc<Cluster>, id: &str) -> Result<Producer, LogError> {
        let options = &cluster.options;
        let mut config = options.config()?;
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", options.transaction_timeout.as_millis().to_string())
            .set("delivery.report.only.error", "true")
            .set("sticky.partitioning.linger.ms", "0");
        tune(&mut config);
        let failed = |error: KafkaError| options.unavailable("start a producer", error);
        let producer: ThreadedProducer<Context> =
            config.create_with_context(Context::default()).map_err(failed)?;
        let begun = Instant::now();
        while let Err(error) = producer.init_transactions(CALL) {
            let again = matches!(&error, KafkaError::Transaction(e) if e.is_retriable());
            if !again || begun.elapsed() > PATIENCE {
                return Err(
                    options.unavailable(&format!("take the transactional id {id:?}"), error)
                );
            }
            tracing::warn!(id, %error, "waiting for the transaction coordinator");
        }
        let (id, cluster) = (id.to_owned(), cluster.clone());
        let (outlets, producer) = (HashMap::new(), Arc::new(producer));
        let last = Touched::default();
        Ok(Producer { id, cluster, outlets, last, owing: false, shut_out: None, producer })
    }

    /// Outputs and offsets in one transaction. `aside` is as in [`Touched`].
    pub(super) fn commit(
        &mut self,
        work: &Transaction,
        offsets: &TopicPartitionList,
        owner: &Owner<'_>,
        aside: Option<(&str, &TopicPartition)>,
    ) -> Result<(), CommitError> {
        if let Some(reason) = &self.shut_out {
            return Err(CommitError::Fatal(reason.clone()));
        }
        let outputs = || work.outputs().iter().filter(|output| !output.is_empty());
        let done =
            self.transact(offsets, owner, |this| outputs().try_for_each(|out| this.produce(out)));
        if matches!(done, Ok(()) | Err(CommitError::Abort(_))) {
            self.last.places.clear();
            self.last.places.extend(outputs().flat_map(places));
            self.last.committed = done.is_ok();
            let aside = aside.filter(|_| offsets.count() > 0);
            self.last.group = aside.map(|(group, at)| (group.to_owned(), at.clone()));
        }
        done
    }

    /// Whether the end of the last transaction has to be said again: a broker went away since, which may
    /// have forgotten its marks; those before were written before it could begin.
    pub(super) fn owes(&mut self) -> bool {
        self.owing |= self.producer.context().was_lost();
        self.owing && !self.last.is_empty()
    }

    /// Where the last transaction wrote to.
    pub(super) fn last_places(&self) -> &[TopicPartition] {
        &self.last.places
    }

    /// Says again how the last transaction ended. If that is aborted instead, nobody knows what became of
    /// what had no marks.
    pub(super) fn say_again(&mut self) -> Result<(), CommitError> {
        self.owing = false;
        let last = std::mem::take(&mut self.last);
        let said = self.end_again(&last);
        // Its own marks may be forgotten as well.
        self.last = last;
        said.map_err(|error| match error {
            CommitError::Fatal(_) => error,
            error => CommitError::Unknown(format!("the last end cannot be said again: {error}")),
        })
    }

    /// Ends whatever this id has left open in these places, as it was decided: in a transaction that
    /// touches the same and ends alike, see [`marks`](crate::kafka::marks).
    pub(super) fn end_again(&mut self, left: &Touched) -> Result<(), CommitError> {
        if left.is_empty() {
            return Ok(());
        }
        let (group, place) =
            left.group.as_ref().map_or(("", None), |(group, at)| (group, Some(at)));
        let list = offsets(place.map(|at| (at, 0)).into_iter())
            .map_err(|error| CommitError::Fatal(error.to_string()))?;
        let owner = Group::Named(group);
        let fill =
            |this: &mut Producer| this.fill(left.places.iter().map(|at| (&at.topic, at.partition)));
        match left.committed {
            true => self.transact(&list, &owner, fill),
            false => self.touch(&list, &owner, fill),
        }
    }

    fn begin(&mut self) -> Result<(), CommitError> {
        self.producer.begin_transaction().map_err(|error| {
            CommitError::Unknown(format!("a transaction cannot be begun: {error}"))
        })
    }

    /// A transaction that is aborted, so that its places have a mark.
    fn touch(
        &mut self,
        offsets: &TopicPartitionList,
        owner: &Owner<'_>,
        produce: impl FnOnce(&mut Producer) -> Result<(), CommitError>,
    ) -> Result<(), CommitError> {
        self.begin()?;
        let produced = produce(self);
        if offsets.count() > 0 {
            // That it was asked is enough for a mark.
            let sent = self.send_offsets(offsets, owner);
            sent.unwrap_or_else(|refusal| {
                tracing::debug!(reason = refusal.text, "offsets that were to be aborted");
            });
        }
        // An abort would drop what was not sent yet.
        let flushed = self.producer.flush(CALL);
        match self.abort(CommitError::Abort(String::new()), Instant::now()) {
            CommitError::Abort(_) => {}
            error => return Err(error),
        }
        produced?;
        flushed.map_err(|error| CommitError::Unknown(error.to_string()))
    }

    fn transact(
        &mut self,
        offsets: &TopicPartitionList,
        owner: &Owner<'_>,
        produce: impl FnOnce(&mut Producer) -> Result<(), CommitError>,
    ) -> Result<(), CommitError> {
        let begun = Instant::now();
        self.begin()?;
        if let Err(error) = produce(self) {
            return Err(self.abort(error, begun));
        }
        if offsets.count() > 0 {
            let sent = patiently(begun, || self.send_offsets(offsets, owner));
            sent.map_err(|refusal| self.judge(refusal, begun, false))?;
        }
        crash::point("inside-commit");
        patiently(begun, || native::commit(&self.producer, CALL))
            .map_err(|refusal| self.judge(refusal, begun, true))
    }

    /// One call, which hangs if it lasts although the cluster answers all the time.
    fn send_offsets(&self, offsets: &TopicPartitionList, owner: &Owner<'_>) -> Result<(), Refusal> {
        let mut well: Option<Instant> = None;
        native::send_offsets(&self.producer, offsets, owner, CALL, || {
            well = well.or(Some(Instant::now())).filter(|_| self.cluster.answers());
            well.is_some_and(|since| since.elapsed() > CALL)
        })
    }

    /// A filler into each of these.
    fn fill<'a>(
        &mut self,
        places: impl Iterator<Item = (&'a Arc<str>, u32)>,
    ) -> Result<(), CommitError> {
        for (topic, partition) in places {
            let filler = std::iter::once((FILLER, None));
            let done = self.outlet(topic)?.produce(partition, filler);
            done.map_err(|code| CommitError::Abort(format!("{topic:?} takes no records: {code}")))?;
        }
        Ok(())
    }

    fn outlet(&mut self, topic: &Arc<str>) -> Result<&Outlet<Context>, CommitError> {
        match self.outlets.entry(topic.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let outlet = Outlet::new(self.producer.clone(), topic);
                let unnamed = || CommitError::Fatal(format!("{topic:?} is no name of a topic"));
                Ok(new.insert(outlet.ok_or_else(unnamed)?))
            }
        }
    }

    fn produce(&mut self, output: &Output) -> Result<(), CommitError> {
        let outlet = self.outlet(&output.topic)?;
        for (partition, builder) in (0..).zip(&output.partitions) {
            for part in builder.parts() {
                outlet.produce(partition, part.pairs()).map_err(|code| match code {
                    RDKafkaErrorCode::MessageSizeTooLarge => CommitError::Fatal(format!(
                        "a record for {:?} is larger than message.max.bytes allows; raise it here and max.message.bytes of the topic",
                        output.topic
                    )),
                    code => CommitError::Abort(format!("{:?} takes no records: {code}", output.topic)),
                })?;
            }
        }
        Ok(())
    }

    /// What an error of a transaction means for the worker. After an abort nothing is visible.
    fn judge(&mut self, refusal: Refusal, begun: Instant, ending: bool) -> CommitError {
        let text = format!("{} ({:?})", refusal.text, refusal.code);
        if refusal.abort {
            return self.abort(CommitError::Abort(text), begun);
        }
        if let Some(fatal) = self.fenced(refusal.code, &text, begun) {
            return fatal;
        }
        let stage = if ending { "while it was ended" } else { "before its end" };
        CommitError::Unknown(format!("{stage}: {text}"))
    }

    /// Whether another worker has the id now: then this one must not take it back.
    fn fenced(
        &mut self,
        code: RDKafkaErrorCode,
        text: &str,
        begun: Instant,
    ) -> Option<CommitError> {
        let fenced = matches!(
            code,
            RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
        );
        // The broker fences as well whom it has waited for too long.
        if !fenced || begun.elapsed() >= self.cluster.options.transaction_timeout {
            return None;
        }
        let reason = format!(
            "another worker has taken the id {:?}; give every process of a service a slot of its own: {text}",
            self.id
        );
        self.shut_out = Some(reason.clone());
        Some(CommitError::Fatal(reason))
    }

    /// Aborts, and gives back why; if even that fails, the producer is of no more use.
    fn abort(&mut self, why: CommitError, begun: Instant) -> CommitError {
        let aborting = Instant::now();
        loop {
            match self.producer.abort_transaction(CALL) {
                Ok(()) => return why,
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && aborting.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                    let fenced = self.fenced(code, &error.to_string(), begun);
                    return match (why, fenced) {
                        (why @ CommitError::Fatal(_), _) => why,
                        (_, Some(fatal)) => fatal,
                        (why, None) => CommitError::Unknown(format!("{why}; its abort: {error}")),
                    };
                }
            }
        }
    }
}

/// Sets what makes writing quick, as far as the operator has not.
pub(super) fn tune(config: &mut ClientConfig) {
    for (name, value) in [
        ("linger.ms", "5"),
        ("compression.type", "lz4"),
        ("batch.num.messages", "10000"),
        ("batch.size", "1000000"),
        ("message.max.bytes", "8388608"),
        ("queue.buffering.max.messages", "1000000"),
    ] {
        if config.get(name).is_none() {
            config.set(name, value);
        }
    }
}

/// Where an output writes to.
pub(super) fn places(output: &Output) -> impl Iterator<Item = TopicPartition> {
    let written = (0..).zip(&output.partitions).filter(|(_, builder)| builder.count() > 0);
    written.map(|(partition, _)| TopicPartition { topic: output.topic.clone(), partition })
}

/// Makes a call again as long as it says that this may help.
fn patiently(begun: Instant, mut call: impl FnMut() -> Result<(), Refusal>) -> Result<(), Refusal> {
    loop {
        match call() {
            Err(refusal) if refusal.retriable && begun.elapsed() < PATIENCE => {
                tracing::warn!(reason = refusal.text, "the broker is busy; calling again");
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// A list with these offsets.
pub(super) fn offsets<'a>(
    entries: impl Iterator<Item = (&'a TopicPartition, u64)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (at, next) in entries {
        list.add_partition_offset(&at.topic, at.partition as i32, Offset::Offset(next as i64))?;
    }
    Ok(list)
}
