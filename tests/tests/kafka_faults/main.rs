//! Every way in which a Kafka transaction can go wrong: what the worker says of it, and that what the
//! processor then does leaves each record exactly once for whoever reads what is committed.
//!
//! Client and broker are real. Between them stands a proxy that loses calls, cuts connections and
//! changes the error of an answer, so that each class is met as it is met in life.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod marks;
mod proxy;
mod standby;
mod stuck;
mod watched;

use proxy::{Call, Fault, Plan, Proxy};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::topics::{self, Topic, Topics};
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::kafka::{KafkaLog, KafkaOptions};
use tocsin_stream::processor::{Failure, Options, Processor};
use tocsin_stream::state::{State, Store};
use tocsin_stream::{
    CommitError, Effects, Log, Poison, Record, Step, Topology, Transaction, WorkerSpec,
};
use tocsin_testkit::servers::{Kind, Private};
use watched::{Class, Watched};

/// The broker ends a transaction that is open for so long: longer than a slow machine takes for one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same where a test waits for it.
const SHORT: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);
/// Each case has one input for each of so many keys, all in one partition: one batch holds them.
const KEYS: u64 = 6;
const PARTITIONS: u32 = 8;

/// What goes wrong, in words and in calls, and what the commits say until everything is done.
type Case = (&'static str, &'static [Plan], &'static [Class]);

use Call::{AddOffsets, AddPartitions, EndTxn, FindCoordinator, Produce, TxnOffsetCommit};
use Class::{Abort, Done, Fatal, Unknown};
use Fault::{CutAfter, CutBefore, Lie, Pretend, Refuse, Swallow};

/// Errors of the protocol, by their numbers.
mod error {
    pub const UNKNOWN: i16 = -1;
    pub const COORDINATOR_LOADS: i16 = 14;
    pub const NO_COORDINATOR: i16 = 15;
    pub const NOT_COORDINATOR: i16 = 16;
    pub const STALE_GENERATION: i16 = 22;
    pub const UNKNOWN_MEMBER: i16 = 25;
    pub const TOPIC_NOT_ALLOWED: i16 = 29;
    pub const GROUP_NOT_ALLOWED: i16 = 30;
    pub const INVALID_EPOCH: i16 = 47;
    pub const INVALID_STATE: i16 = 48;
    pub const INVALID_PRODUCER: i16 = 49;
    pub const CONCURRENT: i16 = 51;
    pub const ID_NOT_ALLOWED: i16 = 53;
    pub const FENCED: i16 = 90;
}

/// The client makes the same call again, and nobody above hears of it.
const RETRIABLE: &[Case] = &[
    ("the connection breaks before records arrive", &[once(Produce, CutBefore)], &[Done]),
    ("records arrive and the answer is lost", &[once(Produce, CutAfter)], &[Done]),
    ("a partition is added and the answer is lost", &[once(AddPartitions, CutAfter)], &[Done]),
    (
        "the last transaction is still ending",
        &[thrice(AddPartitions, Lie(error::CONCURRENT))],
        &[Done],
    ),
    ("the coordinator has moved", &[once(AddOffsets, Lie(error::NOT_COORDINATOR))], &[Done]),
    ("the group is being loaded", &[once(TxnOffsetCommit, Lie(error::COORDINATOR_LOADS))], &[Done]),
    ("offsets arrive and the answer is lost", &[once(TxnOffsetCommit, CutAfter)], &[Done]),
    ("the end does not arrive", &[once(EndTxn, CutBefore)], &[Done]),
    ("the end arrives and the answer is lost", &[once(EndTxn, CutAfter)], &[Done]),
    ("the end arrives and no answer comes", &[once(EndTxn, Swallow)], &[Done]),
    (
        "the coordinator loads at the end",
        &[thrice(EndTxn, Refuse(error::COORDINATOR_LOADS))],
        &[Done],
    ),
];

/// The transaction is aborted, input and state go back, the same batch comes again.
const ABORTABLE: &[Case] = &[
    (
        "the generation is old",
        &[once(TxnOffsetCommit, Lie(error::STALE_GENERATION))],
        &[Abort, Done],
    ),
    (
        "the member is not known",
        &[once(TxnOffsetCommit, Lie(error::UNKNOWN_MEMBER))],
        &[Abort, Done],
    ),
    (
        "the group may not be written",
        &[once(AddOffsets, Lie(error::GROUP_NOT_ALLOWED))],
        &[Abort, Done],
    ),
    (
        "a topic may not be written",
        &[once(AddPartitions, Lie(error::TOPIC_NOT_ALLOWED))],
        &[Abort, Done],
    ),
    (
        "adding fails for no known reason",
        &[once(AddPartitions, Lie(error::UNKNOWN))],
        &[Abort, Done],
    ),
    (
        "the end is not begun, for no known reason",
        &[once(EndTxn, Refuse(error::UNKNOWN))],
        &[Abort, Done],
    ),
    (
        "the answer to the abort is lost as well",
        &[once(TxnOffsetCommit, Lie(error::STALE_GENERATION)), once(EndTxn, CutAfter)],
        &[Abort, Done],
    ),
];

/// Another worker takes up what is committed: only what was not comes again.
const UNKNOWN: &[Case] = &[
    (
        "committed, but \"no such transaction\"",
        &[once(EndTxn, Lie(error::INVALID_STATE))],
        &[Unknown],
    ),
    (
        "not committed, \"no such transaction\"",
        &[once(EndTxn, Refuse(error::INVALID_STATE))],
        &[Unknown, Done],
    ),
    ("committed, but \"it has failed\"", &[once(EndTxn, Lie(error::UNKNOWN))], &[Unknown]),
    (
        "committed, but \"no such producer\"",
        &[once(EndTxn, Lie(error::INVALID_PRODUCER))],
        &[Unknown],
    ),
    (
        "not committed, and it cannot be aborted either",
        &[
            once(TxnOffsetCommit, Lie(error::STALE_GENERATION)),
            once(EndTxn, Refuse(error::INVALID_STATE)),
        ],
        &[Unknown, Done],
    ),
];

/// The client asks so often who coordinates the group, and then waits for ever.
const HANGS: &[Case] = &[(
    "the group's coordinator cannot be told for a moment",
    &[
        once(TxnOffsetCommit, Lie(error::NOT_COORDINATOR)),
        thrice(FindCoordinator, Lie(error::NO_COORDINATOR)),
    ],
    &[Unknown, Done],
)];

/// The worker is dead, and so is its process. The next process takes up what is committed.
const FATAL: &[Case] = &[
    (
        "fenced when a partition is added",
        &[once(AddPartitions, Lie(error::INVALID_EPOCH))],
        &[Fatal, Done],
    ),
    (
        "fenced when offsets are written",
        &[once(TxnOffsetCommit, Lie(error::INVALID_EPOCH))],
        &[Fatal, Done],
    ),
    ("fenced at the end, not committed", &[once(EndTxn, Refuse(error::FENCED))], &[Fatal, Done]),
    (
        "fenced when it is aborted",
        &[once(TxnOffsetCommit, Lie(error::STALE_GENERATION)), once(EndTxn, Refuse(error::FENCED))],
        &[Fatal, Done],
    ),
    ("fenced at the end, but committed", &[once(EndTxn, Lie(error::FENCED))], &[Fatal]),
    ("the id may not be used", &[once(EndTxn, Refuse(error::ID_NOT_ALLOWED))], &[Fatal, Done]),
];

const fn once(call: Call, fault: Fault) -> Plan {
    Plan { call, fault, times: 1 }
}

const fn thrice(call: Call, fault: Fault) -> Plan {
    Plan { call, fault, times: 3 }
}

#[test]
fn each_class_of_error_leaves_each_record_once() {
    let mut bench = Bench::new(TIMEOUT);
    let mut wrong = Vec::new();
    for (name, plans, says) in [RETRIABLE, ABORTABLE, UNKNOWN, HANGS, FATAL].concat() {
        wrong.extend(bench.run(name, plans, says));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_broker_that_is_away_for_too_long_ends_the_transaction_and_the_batch_comes_again() {
    let mut bench = Bench::new(SHORT);
    let away = Plan { call: EndTxn, fault: CutBefore, times: u32::MAX };
    bench.settle("at the start");
    let proxy = bench.proxy.clone();
    // Longer than the broker waits, and looks whether it has waited.
    let back = std::thread::spawn(move || {
        std::thread::sleep(SHORT + Duration::from_secs(5));
        proxy.left();
    });
    assert_eq!(bench.run("away at the end", &[away], &[Unknown, Done]), None);
    back.join().unwrap();
}

/// Counts how often a key was seen.
#[derive(Clone, Default)]
struct Seen(u64);

impl State for Seen {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Seen(u64::from_le_bytes(*bytes.first_chunk()?)))
    }
}

/// Publishes each value that it takes in, with how often its key was seen by then.
struct Counter;

impl Step for Counter {
    type State = Seen;
    type Write = ();

    fn on_record(
        &mut self,
        record: &Record<'_>,
        _: Micros,
        store: &mut Store<Seen>,
        effects: &mut Effects,
    ) -> Result<(), Poison> {
        let seen = store.change(record.key);
        seen.0 += 1;
        let value = String::from_utf8_lossy(record.value.unwrap()).into_owned();
        effects.publish(0, record.key, &fact(value, seen.0));
        Ok(())
    }
}

fn fact(value: String, times: u64) -> Subscriber {
    Subscriber {
        id: Id::of("count", &[value.as_bytes()]),
        tenant: "default".into(),
        email: value,
        name: times.to_string(),
        time_zone: "UTC".into(),
        active: true,
        created_at: Micros(0),
    }
}

fn topology() -> Topology {
    Topology {
        service: "detect",
        does: "counts",
        inputs: vec![topics::AQI_READINGS],
        tables: Vec::new(),
        changelog: Some(topics::DETECT_SUBJECTS_CHANGELOG),
        outputs: vec![topics::ALERTS],
        foreign: None,
    }
}

/// A broker, the proxy before it, and one processor that goes through it.
struct Bench {
    processor: Option<Processor<Counter>>,
    watched: Arc<Watched>,
    proxy: Arc<Proxy>,
    /// Past the proxy: writes inputs and looks at outputs.
    direct: Arc<KafkaLog>,
    /// How many cases there were: each gives every key one input.
    cases: u64,
    // Behind what uses it: the broker ends last.
    broker: Private,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new(timeout: Duration) -> Bench {
        Bench::with(timeout, |directory| Private::start(Kind::Kafka, directory))
    }

    /// With a broker of one's own in that directory.
    fn with(timeout: Duration, start: impl FnOnce(&Path) -> Private) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let broker = start(directory.path());
        let proxy = Arc::new(Proxy::before(broker.address()));
        let direct = connect(broker.address(), timeout);
        let used = [
            topics::AQI_READINGS,
            topics::ALERTS,
            topics::DETECT_SUBJECTS_CHANGELOG,
            topics::DEAD_LETTERS,
            topics::LATE_EVENTS,
        ];
        let used: Vec<&Topic> = used.map(|name| Topics::builtin().get(name).unwrap()).into();
        direct.create_topics(&used).unwrap();
        let watched = Watched::new(connect(&proxy.address, timeout));
        let (processor, cases, _directory) = (None, 0, directory);
        Bench { processor, watched, proxy, direct, cases, broker, _directory }
    }

    /// One more input of every key while these faults happen; gives what was said, or became visible,
    /// otherwise than it should.
    fn run(&mut self, case: &str, plans: &[Plan], says: &[Class]) -> Option<String> {
        self.settle(case);
        self.watched.said();
        self.cases += 1;
        self.append();
        self.proxy.plan(plans);
        self.settle(case);
        let each = |times: u64| (0..KEYS).map(move |key| (value(key, times), times.to_string()));
        let expected: Vec<_> = (1..=self.cases).flat_map(each).collect();
        let (mut said, left, visible) = (self.watched.said(), self.proxy.left(), self.visible());
        // Now and then a batch is refused twice before it is taken, most likely because its group was
        // changing meanwhile. What becomes visible must be right all the same.
        said.dedup();
        let mut wrong = Vec::new();
        if said != says {
            wrong.push(format!("the commits said {said:?} and not {says:?}"));
        }
        if !left.is_empty() {
            wrong.push(format!("these faults did not happen: {left:?}"));
        }
        if visible != expected {
            wrong.push(format!("visible are {visible:?}"));
        }
        (!wrong.is_empty()).then(|| format!("{case}: {}", wrong.join("; ")))
    }

    /// Turns until every input counts. After a fatal error a new processor is started, as a service
    /// would be.
    fn settle(&mut self, case: &str) {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "{case}: not done after {PATIENCE:?}");
            let processor = self.processor.get_or_insert_with(|| {
                let (log, options) = (self.watched.clone(), Options::default());
                Processor::new(topology(), log, Counter, Box::new(()), options).unwrap()
            });
            match processor.turn(Duration::from_millis(20), Micros(1)) {
                Ok(_) if (0..PARTITIONS).all(|number| processor.store(number).is_some()) => {
                    let stores = (0..PARTITIONS).filter_map(|number| processor.store(number));
                    let seen: u64 = stores.flat_map(Store::committed).map(|(_, seen)| seen.0).sum();
                    if seen >= self.cases * KEYS {
                        return;
                    }
                }
                Ok(_) => {}
                Err(Failure::Commit(CommitError::Fatal(_))) => self.processor = None,
                Err(error) => panic!("{case}: {error}"),
            }
        }
    }

    fn append(&self) {
        let spec = WorkerSpec { id: "inputs".into(), ..WorkerSpec::default() };
        let mut worker = self.direct.worker(&spec).unwrap();
        let mut transaction = Transaction::default();
        let topic = transaction.register(topics::AQI_READINGS, PARTITIONS);
        for key in 0..KEYS {
            let value = value(key, self.cases);
            transaction.to_partition(topic, 0).push(&[key as u8], Some(value.as_bytes()));
        }
        worker.commit(&mut transaction).unwrap();
    }

    /// The values that were published with their counts, as whoever reads what is committed has them
    /// once all is decided.
    fn visible(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for number in 0..PARTITIONS {
            let at = TopicPartition::new(topics::ALERTS, number);
            let (end, begun) = (self.direct.undecided_end(&at).unwrap(), Instant::now());
            let mut next = self.direct.span(&at).unwrap().start;
            while next < end {
                assert!(begun.elapsed() < PATIENCE, "{at} is not decided up to {end}");
                let batch = self.direct.read(&at, next, 1 << 20).unwrap();
                for record in batch.records() {
                    let fact: Subscriber =
                        wire::read_owned(record.value.unwrap(), &SchemaIds::default()).unwrap();
                    found.push((fact.email, fact.name));
                }
                next = batch.next;
            }
        }
        found.sort_by_key(|(value, _)| {
            value.split(':').rev().map(|number| number.parse().unwrap()).collect::<Vec<u64>>()
        });
        found
    }
}

fn value(key: u64, times: u64) -> String {
    format!("{key}:{times}")
}

fn connect(address: &str, transaction_timeout: Duration) -> Arc<KafkaLog> {
    let tuning = [("socket.timeout.ms".into(), "1500".into())];
    let options = KafkaOptions {
        bootstrap: address.into(),
        transaction_timeout,
        properties: tuning.into(),
        ..KafkaOptions::default()
    };
    KafkaLog::connect(options).unwrap()
}
