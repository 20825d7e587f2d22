//! What the loop promises, with a step that counts: exactly once whatever the commit says, the
//! same state after a restart with or without a snapshot, wakes that survive, poison set aside.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tocsin_domain::partition::partition_of;
use tocsin_domain::subscriber::Subscriber;
use tocsin_domain::topics::{self, Topic, Topics};
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::log::{Log, LogError, Span, Transaction, Worker, WorkerSpec};
use tocsin_stream::memory::{Fault, MemoryLog};
use tocsin_stream::processor::{Options, Processor};
use tocsin_stream::state::{Clock, State, Store, Wake};
use tocsin_stream::step::{Need, Ring};
use tocsin_stream::topology::{Scope, Table};
use tocsin_stream::{
    Batch, Effects, Known, Observer, Poison, Progress, Record, Schemas, Step, Topology,
};

/// How often a key was seen, and when it wants to be woken.
#[derive(Clone, Default, Debug, PartialEq)]
struct Seen {
    times: u64,
    wake: Option<Micros>,
}

impl State for Seen {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.times.to_le_bytes());
        out.extend_from_slice(&self.wake.map_or(i64::MIN, |at| at.0).to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (times, wake) = bytes.split_first_chunk::<8>()?;
        let wake = i64::from_le_bytes(*wake.first_chunk()?);
        Some(Seen {
            times: u64::from_le_bytes(*times),
            wake: (wake != i64::MIN).then_some(Micros(wake)),
        })
    }

    fn wake(&self) -> Wake {
        Wake { event: self.wake, processing: None }
    }
}

/// Publishes `key` with its count each time it is seen, and once more when it is woken.
struct Counter;

fn fact(key: &[u8], times: u64) -> Subscriber {
    Subscriber {
        id: Id::of("count", &[key, &times.to_be_bytes()]),
        tenant: "default".into(),
        email: String::from_utf8_lossy(key).into_owned(),
        name: times.to_string(),
        time_zone: "UTC".into(),
        active: true,
        created_at: Micros(0),
    }
}

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
        if record.value == Some(b"poison") {
            return Err(Poison::new("value", "is poison"));
        }
        let seen = store.change(record.key);
        seen.times += 1;
        seen.wake = Some(Micros(1_000 + seen.times as i64));
        effects.publish(0, record.key, &fact(record.key, seen.times));
        Ok(())
    }

    fn on_wake(&mut self, ring: Ring<'_>, store: &mut Store<Seen>, effects: &mut Effects) {
        let seen = store.change(ring.key);
        seen.wake = None;
        effects.publish(0, ring.key, &fact(ring.key, seen.times + 1_000_000));
    }
}

fn topology() -> Topology {
    Topology {
        service: "detect",
        does: "counts",
        inputs: vec![topics::AQI_READINGS],
        tables: vec![Table { topic: topics::CONDITIONS, scope: Scope::Global }],
        changelog: Some(topics::DETECT_SUBJECTS_CHANGELOG),
        outputs: vec![topics::ALERTS],
        foreign: None,
    }
}

fn log() -> Arc<MemoryLog> {
    let log = MemoryLog::new();
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
    log
}

fn append(log: &dyn Log, records: &[(u8, &[u8])]) {
    let mut worker =
        log.worker(&WorkerSpec { id: "test".into(), ..WorkerSpec::default() }).unwrap();
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::AQI_READINGS, 8);
    for (key, value) in records {
        transaction.to(topic, &[*key]).push(&[*key], Some(value));
    }
    worker.commit(&mut transaction).unwrap();
}

fn processor(log: &Arc<MemoryLog>, options: Options) -> Processor<Counter> {
    Processor::new(topology(), log.clone(), Counter, Box::new(()), options).unwrap()
}

/// Turns until there is nothing left to do.
fn settle(processor: &mut Processor<Counter>) {
    let mut quiet = 0;
    while quiet < 3 {
        let turn = processor.turn(Duration::ZERO, Micros(1)).unwrap();
        quiet = if turn.records == 0 && !turn.aborted { quiet + 1 } else { 0 };
    }
}

/// Every value of a topic with its key, by partition.
fn contents(log: &dyn Log, topic: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for partition in 0..log.partitions(topic).unwrap() {
        let at = TopicPartition::new(topic, partition);
        let (mut next, end) = (log.span(&at).unwrap().start, log.span(&at).unwrap().end);
        while next < end {
            let batch = log.read(&at, next, 1 << 20).unwrap();
            all.extend(batch.records().map(|r| (r.key.to_vec(), r.value.unwrap().to_vec())));
            next = batch.next;
        }
    }
    all
}

fn hashes(processor: &Processor<Counter>) -> Vec<Option<u32>> {
    (0..8).map(|partition| processor.store(partition).map(Store::hash)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_commit_answers_each_input_has_its_effects_once(
        keys in prop::collection::vec(0u8..20, 1..200),
        faults in prop::collection::vec(0u8..8, 0..40),
        max_records in 1usize..50,
    ) {
        let records: Vec<(u8, &[u8])> = keys.iter().map(|key| (*key, &b"x"[..])).collect();
        let calm = log();
        append(&*calm, &records);
        let options = Options { max_records, ..Options::default() };
        let mut reference = processor(&calm, options.clone());
        settle(&mut reference);
        reference.finish(Micros(1)).unwrap();

        let stormy = log();
        append(&*stormy, &records);
        let mut faults = faults.into_iter();
        stormy.fail_commits(move |_| match faults.next() {
            Some(0) => Some(Fault::Busy),
            Some(1) => Some(Fault::Abort),
            Some(2) => Some(Fault::LostAnswer),
            Some(3) => Some(Fault::LostRequest),
            _ => None,
        });
        let mut processor = processor(&stormy, options);
        settle(&mut processor);
        processor.finish(Micros(1)).unwrap();
        let sorted = |log: &MemoryLog| {
            let mut all = contents(log, topics::ALERTS);
            all.sort();
            all
        };
        prop_assert_eq!(sorted(&calm), sorted(&stormy));
        prop_assert_eq!(hashes(&reference), hashes(&processor));
    }
}

#[test]
fn a_restart_gives_the_same_state_with_and_without_a_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let with = Options { snapshots: Some(directory.path().into()), ..Options::default() };
    let log = log();
    let records: Vec<(u8, &[u8])> = (0..=255).map(|key| (key, &b"x"[..])).collect();
    append(&*log, &records);
    let mut first = processor(&log, with.clone());
    settle(&mut first);
    first.run(&|| true, &|| Micros(1), &mut |_| {}).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 8);
    append(&*log, &records[..100]);
    settle(&mut first);
    let wanted = hashes(&first);

    for options in [with.clone(), Options::default()] {
        let mut again = processor(&log, options);
        settle(&mut again);
        assert_eq!(hashes(&again), wanted);
        let wakes = (0..8).filter_map(|p| again.store(p)?.next_wake(Clock::Event)).count();
        assert_eq!(wakes, 8);
    }
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let mut again = processor(&log, with);
    settle(&mut again);
    assert_eq!(hashes(&again), wanted, "damaged snapshots are not trusted");
}

#[test]
fn a_record_that_cannot_be_processed_is_set_aside_and_the_rest_goes_on() {
    let log = log();
    append(&*log, &[(1, b"x"), (1, b"poison"), (1, b"x")]);
    let mut processor = processor(&log, Options::default());
    settle(&mut processor);
    assert_eq!(contents(&*log, topics::ALERTS).len(), 2);
    let letters = contents(&*log, topics::DEAD_LETTERS);
    assert_eq!(letters.len(), 1);
    assert!(letters[0].1.windows(6).any(|bytes| bytes == b"poison"), "the bytes are kept");
    settle(&mut processor);
    assert_eq!(contents(&*log, topics::DEAD_LETTERS).len(), 1);
}

/// A log of which nobody can read one partition of the changelog, as long as it is shut.
struct Walled {
    log: Arc<MemoryLog>,
    shut: AtomicBool,
}

impl Walled {
    const PARTITION: u32 = 3;

    fn look(&self, at: &TopicPartition) -> Result<(), LogError> {
        let here =
            &*at.topic == topics::DETECT_SUBJECTS_CHANGELOG && at.partition == Self::PARTITION;
        match here && self.shut.load(Relaxed) {
            true => Err(LogError::Unavailable(format!("{at} has no leader"))),
            false => Ok(()),
        }
    }
}

impl Log for Walled {
    fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
        self.log.create_topics(topics)
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        self.look(at).and_then(|()| self.log.span(at))
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        self.look(at).and_then(|()| self.log.read(at, from, max_bytes))
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        self.log.wait(seen, timeout)
    }

    fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
        self.log.worker(spec)
    }
}

#[test]
fn a_partition_that_cannot_be_restored_holds_up_no_other() {
    let log = log();
    let inputs: Vec<(u8, &[u8])> = (0..20).map(|key| (key, &b"1"[..])).collect();
    append(&*log, &inputs);
    let walled = Arc::new(Walled { log: log.clone(), shut: AtomicBool::new(true) });
    let options = Options::default();
    let mut processor =
        Processor::new(topology(), walled.clone(), Counter, Box::new(()), options).unwrap();
    let mut done = |wanted: usize| {
        let begun = Instant::now();
        while contents(&*log, topics::ALERTS).len() < wanted {
            assert!(begun.elapsed() < Duration::from_secs(20), "not all are counted");
            processor.turn(Duration::from_millis(1), Micros(1)).unwrap();
        }
    };
    let others = (0..20).filter(|key| partition_of(&[*key], 8) != Walled::PARTITION).count();
    assert!(others > 0 && others < inputs.len());
    done(others);
    append(&*log, &inputs);
    done(2 * others);
    walled.shut.store(false, Relaxed);
    done(2 * inputs.len());
}

#[test]
fn a_second_processor_of_a_slot_ends_the_first() {
    let log = log();
    let mut first = processor(&log, Options::default());
    settle(&mut first);
    let mut second = processor(&log, Options::default());
    append(&*log, &[(1, b"x")]);
    assert!(first.turn(Duration::ZERO, Micros(1)).is_err());
    settle(&mut second);
    assert_eq!(contents(&*log, topics::ALERTS).len(), 1);
}

#[test]
fn a_quiet_subject_is_woken_while_others_are_busy() {
    let log = log();
    let mut processor = processor(&log, Options::default());
    append(&*log, &[(1, b"x")]);
    settle(&mut processor);
    let woken = |key: u8| {
        let by_waking = |(k, value): &(Vec<u8>, Vec<u8>)| {
            *k == [key] && value.windows(7).any(|bytes| bytes == b"1000001")
        };
        contents(&*log, topics::ALERTS).iter().any(by_waking)
    };
    for seconds in (10..=50).step_by(10) {
        append(&*log, &[(2, b"x")]);
        processor.turn(Duration::ZERO, Micros(seconds * 1_000_000)).unwrap();
    }
    assert!(!woken(1), "it has not been quiet for long");
    for seconds in (60..=200).step_by(10) {
        append(&*log, &[(2, b"x")]);
        processor.turn(Duration::ZERO, Micros(seconds * 1_000_000)).unwrap();
    }
    assert!(woken(1) && !woken(2));
}

#[test]
fn a_snapshot_of_another_log_is_never_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { snapshots: Some(directory.path().into()), ..Options::default() };
    let (other, log) = (log(), log());
    for _ in 0..3 {
        append(&*other, &[(1, b"x")]);
        settle(&mut processor(&other, Options::default()));
    }
    let mut of_other = processor(&other, options.clone());
    settle(&mut of_other);
    append(&*other, &[(1, b"x")]);
    settle(&mut of_other);
    of_other.run(&|| true, &|| Micros(1), &mut |_| {}).unwrap();
    // The log is shorter than the snapshot says; later it has grown past it.
    settle(&mut processor(&log, options.clone()));
    let beside = |key: &u8| partition_of(&[*key], 8) == partition_of(&[1], 8);
    let neighbour = (2..=255).find(beside).unwrap();
    for key in [neighbour, 1, 1, 1, 1, 1, 1] {
        append(&*log, &[(key, b"x")]);
        settle(&mut processor(&log, Options::default()));
    }
    let mut without = processor(&log, Options::default());
    settle(&mut without);
    let mut with = processor(&log, options);
    settle(&mut with);
    assert_eq!(hashes(&with), hashes(&without));
}

/// Reads values that name a schema id in their first byte: 0 needs none, others are to be learnt.
#[derive(Default)]
struct Reader(Vec<u32>);

impl Step for Reader {
    type State = Seen;
    type Write = ();

    fn on_record(
        &mut self,
        record: &Record<'_>,
        _: Micros,
        store: &mut Store<Seen>,
        effects: &mut Effects,
    ) -> Result<(), Poison> {
        let id = u32::from(record.value.unwrap()[0]);
        if id != 0 && !self.0.contains(&id) {
            return Err(Poison {
                needs: Some(Need::Schema(id)),
                ..Poison::new("schema", "is not known")
            });
        }
        let seen = store.change(record.key);
        seen.times += 1;
        effects.publish(0, record.key, &fact(record.key, seen.times));
        Ok(())
    }

    fn learn(&mut self, id: u32, schema: &str) -> Result<(), Poison> {
        match schema {
            "bad" => Err(Poison::new("schema", "cannot be read with")),
            _ => {
                self.0.push(id);
                Ok(())
            }
        }
    }

    fn on_table(&mut self, _: &str, _: &[u8], value: Option<&[u8]>) -> Result<(), Poison> {
        match value {
            Some([id, ..]) if !self.0.contains(&u32::from(*id)) => Err(Poison {
                needs: Some(Need::Schema((*id).into())),
                ..Poison::new("schema", "is not known")
            }),
            _ => Ok(()),
        }
    }
}

/// A registry that is told what it knows.
#[derive(Debug, Default)]
struct Told(Mutex<BTreeMap<u32, Known>>);

impl Told {
    fn say(&self, id: u32, known: Known) {
        self.0.lock().unwrap().insert(id, known);
    }
}

impl Schemas for Told {
    fn look_up(&self, id: u32) -> Known {
        let known = self.0.lock().unwrap().get(&id).cloned();
        known.unwrap_or(Known::NotYet("the registry is away".to_owned()))
    }
}

struct Waits {
    log: Arc<MemoryLog>,
    told: Arc<Told>,
    said: Arc<Mutex<Vec<String>>>,
    processor: Processor<Reader>,
    now: i64,
}

impl Waits {
    fn new() -> Waits {
        let (log, told, said) = (log(), Arc::<Told>::default(), Arc::<Mutex<Vec<_>>>::default());
        let heard = said.clone();
        let observer = Observer::new(move |progress| {
            if let Progress::Waits(waits) = progress {
                heard.lock().unwrap().push(format!("{waits:?}"));
            }
        });
        let options = Options { schemas: Some(told.clone()), observer, ..Options::default() };
        let processor =
            Processor::new(topology(), log.clone(), Reader::default(), Box::new(()), options);
        Waits { log, told, said, processor: processor.unwrap(), now: 1 }
    }

    /// So many records were processed by some turns.
    fn turn(&mut self) -> u64 {
        let mut records = 0;
        for _ in 0..4 {
            self.now += 1;
            records += self.processor.turn(Duration::ZERO, Micros(self.now)).unwrap().records;
        }
        records
    }

    fn seen(&self, key: u8) -> u64 {
        let store = self.processor.store(partition_of(&[key], 8)).unwrap();
        store.get(&[key]).map_or(0, |seen| seen.times)
    }

    fn dead(&self) -> usize {
        let span = |partition| self.log.span(&TopicPartition::new(topics::DEAD_LETTERS, partition));
        (0..8).map(|partition| span(partition).unwrap().end as usize).sum()
    }
}

#[test]
fn a_partition_waits_for_a_schema_in_its_order_and_the_others_go_on() {
    let mut all = Waits::new();
    let other = (2..9u8).find(|k| partition_of(&[*k], 8) != partition_of(&[1], 8)).unwrap();
    append(&*all.log, &[(1, &[0]), (1, &[7]), (1, &[0]), (other, &[0])]);
    assert_eq!(all.turn(), 2, "the one before, and the other partition");
    append(&*all.log, &[(1, &[0]), (other, &[0])]);
    assert_eq!((all.turn(), all.seen(1), all.seen(other)), (1, 1, 2));
    assert!(all.said.lock().unwrap()[0].contains("the registry is away"));
    all.told.say(7, Known::Schema("good".into()));
    assert_eq!((all.turn(), all.seen(1), all.dead()), (3, 4, 0));
    assert_eq!(all.said.lock().unwrap().last().unwrap(), "None");
    append(&*all.log, &[(1, &[7])]);
    assert_eq!((all.turn(), all.seen(1)), (1, 5), "its records come again");
}

#[test]
fn an_id_that_nobody_can_know_or_read_with_makes_a_dead_letter() {
    let mut all = Waits::new();
    all.told.say(7, Known::Nobody("there is no schema 7".to_owned()));
    all.told.say(8, Known::Schema("bad".into()));
    append(&*all.log, &[(1, &[7]), (1, &[8]), (1, &[0])]);
    assert_eq!((all.turn(), all.seen(1), all.dead()), (3, 1, 2));
}

#[test]
fn what_waits_survives_an_abort_and_a_new_process_once() {
    let mut all = Waits::new();
    append(&*all.log, &[(1, &[0]), (1, &[7]), (1, &[0])]);
    all.turn();
    let other = (2..9u8).find(|k| partition_of(&[*k], 8) != partition_of(&[1], 8)).unwrap();
    append(&*all.log, &[(other, &[0])]);
    let aborts = std::sync::atomic::AtomicU32::new(0);
    all.log.fail_commits(move |_| {
        let n = aborts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        [Some(Fault::Abort), Some(Fault::LostAnswer), None][n.min(2) as usize]
    });
    all.turn();
    all.turn();
    assert_eq!((all.seen(1), all.seen(other)), (1, 1));
    let options = Options { schemas: Some(all.told.clone()), ..Options::default() };
    let log = all.log.clone();
    all.processor =
        Processor::new(topology(), log, Reader::default(), Box::new(()), options).unwrap();
    all.turn();
    all.told.say(7, Known::Schema("good".into()));
    all.turn();
    assert_eq!((all.seen(1), all.seen(other), all.dead()), (3, 1, 0));
}

#[test]
fn a_table_waits_too_and_nothing_is_judged_without_it() {
    let mut all = Waits::new();
    let mut worker =
        all.log.worker(&WorkerSpec { id: "test".into(), ..WorkerSpec::default() }).unwrap();
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::CONDITIONS, 1);
    transaction.to(topic, b"c").push(b"c", Some(&[9]));
    worker.commit(&mut transaction).unwrap();
    append(&*all.log, &[(1, &[0])]);
    assert_eq!(all.turn(), 0);
    all.told.say(9, Known::Schema("good".into()));
    assert_eq!((all.turn(), all.seen(1)), (1, 1));
}

/// Reads 1 as poison; after each of those it wants to be let go on.
struct Stops(Arc<std::sync::atomic::AtomicBool>);

impl Step for Stops {
    type State = Seen;
    type Write = ();

    fn on_record(
        &mut self,
        record: &Record<'_>,
        _: Micros,
        store: &mut Store<Seen>,
        _: &mut Effects,
    ) -> Result<(), Poison> {
        if self.0.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Poison::paused("too much poison"));
        }
        match record.value.unwrap() {
            [1] => Err(Poison::new("decode", "is one")),
            _ => {
                store.change(record.key).times += 1;
                Ok(())
            }
        }
    }

    fn on_end(&mut self, record: &Record<'_>, is_dead: bool, _: Micros, effects: &mut Effects) {
        if is_dead {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            effects.put(0, record.key, b"paused");
        }
    }
}

#[test]
fn a_step_that_is_paused_takes_nothing_more_and_goes_on_where_it_was() {
    let (log, said) = (log(), Arc::<Mutex<Vec<String>>>::default());
    let heard = said.clone();
    let observer = Observer::new(move |progress| {
        if let Progress::Waits(waits) = progress {
            heard.lock().unwrap().push(format!("{waits:?}"));
        }
    });
    let shut = Arc::<std::sync::atomic::AtomicBool>::default();
    let start = |observer| {
        let (options, step) = (Options { observer, ..Options::default() }, Stops(shut.clone()));
        Processor::new(topology(), log.clone(), step, Box::new(()), options).unwrap()
    };
    let turns = |processor: &mut Processor<Stops>| {
        let turn = |_| processor.turn(Duration::ZERO, Micros(1)).unwrap().records;
        (0..6).map(turn).sum::<u64>()
    };
    let end = |topic: &str| {
        let span = |partition| log.span(&TopicPartition::new(topic, partition)).unwrap();
        (0..log.partitions(topic).unwrap()).map(|partition| span(partition).end).sum::<u64>()
    };
    append(&*log, &[(1, &[0]), (1, &[1]), (1, &[0]), (1, &[1]), (1, &[0])]);
    let mut processor = start(observer);
    assert_eq!(turns(&mut processor), 2, "with the poison that pauses it, and none after that");
    assert_eq!((end(topics::DEAD_LETTERS), end(topology().outputs[0])), (1, 1));
    assert!(said.lock().unwrap().is_empty(), "it waits for a person, and somebody else tells");
    // A new process is as far as what was committed.
    let mut processor = start(Observer::default());
    assert_eq!(turns(&mut processor), 0);
    shut.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(turns(&mut processor), 2);
    shut.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(turns(&mut processor), 1);
    assert_eq!((end(topics::DEAD_LETTERS), end(topology().outputs[0])), (2, 2));
    let store = processor.store(partition_of(&[1], 8)).unwrap();
    assert_eq!(store.get(&[1]).map(|seen| seen.times), Some(3));
}
