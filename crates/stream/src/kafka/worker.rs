//! A worker on Kafka: a member of a group and a transactional producer. Progress goes into the
//! transaction with the member's own credentials, so that who is no member any more commits nothing.

use crate::kafka::LOOK;
use crate::kafka::cluster::Cluster;
use crate::kafka::member::Member;
use crate::kafka::native::Group;
use crate::kafka::producer::{PATIENCE, Producer, offsets, places};
use crate::log::{
    CommitError, LogError, Polled, Transaction, Worker, WorkerSpec, equal_partitions,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::Topics;

/// How often progress is committed that has not changed: a broker forgets what is old.
const REFRESH: Duration = Duration::from_secs(3600);

/// How long a new worker waits until all that its id may have left open can be seen, and has ended.
const SETTLES: Duration = Duration::from_secs(20);

/// How long a member may be unable to take up its partitions although the cluster answers.
const STUCK: Duration = Duration::from_secs(60);

pub(super) struct KafkaWorker {
    cluster: Arc<Cluster>,
    spec: WorkerSpec,
    refreshed: Instant,
    /// As in [`Touched`](crate::kafka::producer::Touched).
    aside: Option<TopicPartition>,
    /// Since when that is so.
    stuck: Option<Instant>,
    producer: Producer,
    member: Option<Member>,
}

impl KafkaWorker {
    pub(super) fn new(cluster: Arc<Cluster>, spec: &WorkerSpec) -> Result<KafkaWorker, LogError> {
        equal_partitions(&spec.inputs, |topic| cluster.partitions(topic))?;
        let aside = cluster.aside()?;
        let producer = take_id(&cluster, spec, aside.as_ref())?;
        let member = match spec.group.is_empty() {
            true => None,
            false => Some(Member::new(&cluster.options, spec)?),
        };
        let (spec, refreshed) = (spec.clone(), Instant::now());
        Ok(KafkaWorker { cluster, spec, refreshed, aside, stuck: None, producer, member })
    }

    /// Says again how the last transaction ended, if need be, see `marks`; not before all answer that have
    /// to take it: what times out at a broker that is still coming to would be aborted.
    fn say_again(&mut self) -> Result<(), CommitError> {
        if !self.producer.owes() {
            return Ok(());
        }
        match self.cluster.answers_for(self.producer.last_places()) {
            true => self.producer.say_again(),
            false => Err(CommitError::Retriable("a broker is still coming to".into())),
        }
    }

    fn end(&mut self, work: &Transaction) -> Result<(), CommitError> {
        for output in work.outputs().iter().filter(|output| !output.is_empty()) {
            output.fits(|topic| self.cluster.partitions(topic))?;
        }
        let Some(member) = &mut self.member else {
            if work.progress.is_empty() {
                let nobody = Group::Named("");
                return self.producer.commit(work, &Default::default(), &nobody, None);
            }
            return Err(CommitError::Fatal(format!(
                "worker {:?} has no group whose progress it could commit",
                self.spec.id
            )));
        };
        let mut progress = work.progress.clone();
        let all = progress.is_empty() || self.refreshed.elapsed() > REFRESH;
        if all {
            self.refreshed = Instant::now();
        }
        // Also what only a timer has written must come from a member, and whoever has that partition
        // next must not begin before this has ended.
        let states = states(work);
        for (at, next) in member.stand() {
            if all || states.contains(&at.partition) {
                progress.entry(at).or_insert(next);
            }
        }
        if progress.is_empty() && !self.spec.inputs.is_empty() && work.records() > 0 {
            let reason = "this member has no partitions, so what it has done may be another one's";
            return Err(CommitError::Abort(reason.into()));
        }
        let list = offsets(progress.iter().map(|(at, next)| (at, *next)))
            .map_err(|error| CommitError::Fatal(error.to_string()))?;
        let owner = match self.spec.inputs.is_empty() {
            true => Group::Named(&self.spec.group),
            false => Group::Member(member.consumer()),
        };
        let aside = self.aside.as_ref().map(|at| (&*self.spec.group, at));
        self.producer.commit(work, &list, &owner, aside)?;
        member.progressed(&progress);
        Ok(())
    }
}

/// The partitions whose state it changes: a changelog has as many as the inputs.
fn states(work: &Transaction) -> BTreeSet<u32> {
    let is_state =
        |topic: &str| Topics::builtin().get(topic).is_some_and(|topic| topic.schema.is_none());
    let outputs = work.outputs().iter().filter(|output| is_state(&output.topic));
    outputs.flat_map(places).map(|at| at.partition).collect()
}

/// A producer whose id has nothing open; waits for a broker that is away.
fn take_id(
    cluster: &Arc<Cluster>,
    spec: &WorkerSpec,
    aside: Option<&TopicPartition>,
) -> Result<Producer, LogError> {
    let begun = Instant::now();
    let attempt = || {
        let hasty = begun.elapsed() > SETTLES;
        let mut producer = Producer::new(cluster, &spec.id)?;
        let left = cluster.left_open(spec, aside, hasty)?;
        producer.end_again(&left).map_err(|error| {
            cluster.options.unavailable(&format!("end what {:?} had left open", spec.id), error)
        })?;
        // A broker that has just come back may not have taken it. What hangs after that was left open
        // under another id, and its owner ends it.
        if !hasty && left.group.is_some() && cluster.hangs(&spec.group, &spec.inputs)? {
            let reason = format!("the progress of group {:?} cannot be told yet", spec.group);
            return Err(LogError::Unavailable(reason));
        }
        Ok(producer)
    };
    loop {
        match attempt() {
            Err(LogError::Unavailable(reason)) if begun.elapsed() < PATIENCE => {
                tracing::warn!(reason, "waiting");
                std::thread::sleep(LOOK);
            }
            done => return done,
        }
    }
}

/// Only who takes the id anew ends what it has left open, see `marks`.
fn forgotten(spec: &WorkerSpec) -> LogError {
    LogError::Lost(format!(
        "the progress of group {:?} cannot be told, although Kafka answers: a broker that came back has \
         forgotten how a transaction ended; {:?} is taken again, which ends it",
        spec.group, spec.id
    ))
}

impl Worker for KafkaWorker {
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Polled, LogError> {
        match self.say_again() {
            Ok(()) | Err(CommitError::Retriable(_)) => {}
            Err(CommitError::Unknown(reason) | CommitError::Abort(reason)) => {
                return Err(LogError::Lost(reason));
            }
            Err(CommitError::Fatal(reason)) => {
                return Err(LogError::Refused(format!("{reason}; start this process again")));
            }
        }
        match &mut self.member {
            Some(member) if !self.spec.inputs.is_empty() => {
                let polled = member.poll(max_records.max(1), timeout)?;
                let stuck = member.coming.is_some() && self.cluster.answers();
                self.stuck = self.stuck.or(Some(Instant::now())).filter(|_| stuck);
                match self.stuck.is_some_and(|since| since.elapsed() > STUCK) {
                    true => Err(forgotten(&self.spec)),
                    false => Ok(polled),
                }
            }
            _ => {
                std::thread::sleep(timeout);
                Ok(Polled::Records(Vec::new()))
            }
        }
    }

    fn open(&mut self, partitions: &[u32]) {
        if let Some(member) = &mut self.member {
            member.set_open(partitions, true);
        }
    }

    fn close(&mut self, partitions: &[u32]) {
        if let Some(member) = &mut self.member {
            member.set_open(partitions, false);
        }
    }

    fn commit(&mut self, transaction: &mut Transaction) -> Result<(), CommitError> {
        if !transaction.is_empty() {
            self.say_again()?;
            self.end(transaction)?;
            transaction.clear();
        }
        Ok(())
    }

    fn confirm(&mut self) -> Result<(), CommitError> {
        match self.member.as_ref().is_some_and(|member| !member.stand().is_empty()) {
            true => self.end(&Transaction::default()),
            false => Ok(()),
        }
    }

    fn rewind(&mut self) -> Result<(), LogError> {
        if let Some(member) = &mut self.member {
            member.rewind();
        }
        Ok(())
    }

    fn committed(&self, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.member.as_ref().map_or(Ok(None), |member| member.committed(at))
    }

    fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.member.as_ref().map_or_else(|| Arc::new(|| {}) as Arc<_>, Member::waker)
    }
}
