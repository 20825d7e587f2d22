//! The producing half of a worker: one transaction at a time, begun with the first record, and an
//! answer to each way it can end. An outcome that is not definite is never guessed at.

use crate::crash;
use crate::kafka::client::{Context, KafkaOptions};
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
    options: KafkaOptions,
    outlets: HashMap<Arc<str>, Outlet<Context>>,
    /// Where the last transaction wrote to.
    last: Vec<(Arc<str>, u32)>,
    /// Whether a broker went away since.
    owing: bool,
    /// Why nothing can be committed any more, once another worker has the id.
    shut_out: Option<String>,
    producer: Arc<ThreadedProducer<Context>>,
}

/// Whose progress a transaction carries.
pub(super) type Owner<'a> = Group<'a, Context>;

impl Producer {
    /// A producer; whoever had the id before is fenced, and its open transaction aborted.
    pub(super) fn new(options: &KafkaOptions, id: &str) -> Result<Producer, LogError> {
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
        let (id, options) = (id.to_owned(), options.clone());
        let (outlets, producer) = (HashMap::new(), Arc::new(producer));
        let last = Vec::new();
        Ok(Producer { id, options, outlets, last, owing: false, shut_out: None, producer })
    }

    /// Outputs and offsets in one transaction.
    pub(super) fn commit(
        &mut self,
        work: &Transaction,
        offsets: &TopicPartitionList,
        owner: &Owner<'_>,
    ) -> Result<(), CommitError> {
        if let Some(reason) = &self.shut_out {
            return Err(CommitError::Fatal(reason.clone()));
        }
        self.say_again()?;
        let outputs = || work.outputs().iter().filter(|output| !output.is_empty());
        self.transact(offsets, owner, |this| outputs().try_for_each(|out| this.produce(out)))?;
        self.last.clear();
        self.last.extend(outputs().flat_map(places));
        Ok(())
    }

    /// Whether what was committed last has to be said again: a broker went away since, which may have
    /// forgotten the marks; those before were written before the last transaction could begin.
    pub(super) fn owes(&mut self) -> bool {
        self.owing |= self.producer.context().was_lost();
        self.owing && !self.last.is_empty()
    }

    /// Says again what was committed last, if need be: a filler for each partition, in a transaction of
    /// its own. The group's offsets have their mark from the next one.
    fn say_again(&mut self) -> Result<(), CommitError> {
        if !self.owes() {
            return Ok(());
        }
        let (last, nobody) = (std::mem::take(&mut self.last), Group::Named(""));
        let last = last.iter().map(|(topic, partition)| (topic, *partition));
        self.owing = false;
        let said = self.transact(&TopicPartitionList::new(), &nobody, |this| this.fill(last));
        said.map_err(|error| match error {
            CommitError::Fatal(_) => error,
            error => CommitError::Unknown(format!("the last commit cannot be said again: {error}")),
        })
    }

    fn transact(
        &mut self,
        offsets: &TopicPartitionList,
        owner: &Owner<'_>,
        produce: impl FnOnce(&mut Producer) -> Result<(), CommitError>,
    ) -> Result<(), CommitError> {
        let begun = Instant::now();
        self.producer.begin_transaction().map_err(|error| {
            CommitError::Unknown(format!("a transaction cannot be begun: {error}"))
        })?;
        if let Err(error) = produce(self) {
            return Err(self.abort(error, begun));
        }
        if offsets.count() > 0 {
            let send = || native::send_offsets(&self.producer, offsets, owner, CALL);
            patiently(begun, send).map_err(|refusal| self.judge(refusal, begun, false))?;
        }
        crash::point("inside-commit");
        patiently(begun, || native::commit(&self.producer, CALL))
            .map_err(|refusal| self.judge(refusal, begun, true))
    }

    /// Ends as aborted whatever this id has left open in these partitions and in the offsets of a
    /// group, of which one input is named; see [`marks`](crate::kafka::marks). None of it can be seen.
    pub(super) fn release(
        &mut self,
        open: &[TopicPartition],
        group: Option<(&str, &TopicPartition)>,
    ) -> Result<(), LogError> {
        if open.is_empty() && group.is_none() {
            return Ok(());
        }
        let (id, options) = (self.id.clone(), self.options.clone());
        let doing = format!("end what {id:?} had left open");
        let failed = |error: String| options.unavailable(&doing, error);
        self.producer.begin_transaction().map_err(|error| failed(error.to_string()))?;
        let filled = self.fill(open.iter().map(|at| (&at.topic, at.partition)));
        if let Some((group, input)) = group {
            let list = offsets(std::iter::once((input, 0)));
            let list = list.map_err(|error| failed(error.to_string()))?;
            let group: Owner<'_> = Group::Named(group);
            // A group that has members refuses it. That it was asked is enough for a mark.
            if let Err(refusal) = native::send_offsets(&self.producer, &list, &group, CALL) {
                tracing::debug!(reason = refusal.text, "offsets that were to be aborted");
            }
        }
        // An abort would drop what was not sent yet.
        let flushed = self.producer.flush(CALL);
        match self.abort(CommitError::Abort(String::new()), Instant::now()) {
            CommitError::Abort(_) => {}
            error => return Err(failed(error.to_string())),
        }
        filled.map_err(|error| failed(error.to_string()))?;
        flushed.map_err(|error| failed(error.to_string()))
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
        if !fenced || begun.elapsed() >= self.options.transaction_timeout {
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
fn places(output: &Output) -> impl Iterator<Item = (Arc<str>, u32)> {
    let written = (0..).zip(&output.partitions).filter(|(_, builder)| builder.count() > 0);
    written.map(|(partition, _)| (output.topic.clone(), partition))
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
