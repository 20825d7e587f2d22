//! A process that keeps copies of what others have: when one of them goes, it reads the tail only.

use crate::watched::Watched;
use crate::{Bench, Counter, PARTITIONS, PATIENCE, TIMEOUT, connect, topology, value};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::partition::partition_of;
use tocsin_domain::{Micros, topics};
use tocsin_stream::processor::{Options, Processor, Turn};
use tocsin_stream::state::Store;
use tocsin_stream::{Log, Transaction, WorkerSpec};

/// Every key has an input in the first round; these have one in the second as well.
const KEYS: u64 = 1_000;
const AGAIN: u64 = 100;

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn append(log: &dyn Log, keys: u64, round: u64) {
    let spec = WorkerSpec { id: "inputs".into(), ..WorkerSpec::default() };
    let mut transaction = Transaction::default();
    let topic = transaction.register(topics::AQI_READINGS, PARTITIONS);
    for number in 0..keys {
        let out = transaction.to(topic, &key(number));
        out.push(&key(number), Some(value(number, round).as_bytes()));
    }
    log.worker(&spec).unwrap().commit(&mut transaction).unwrap();
}

/// One of two processes.
struct Process {
    log: Arc<Watched>,
    processor: Processor<Counter>,
    last: Turn,
}

impl Process {
    fn start(bench: &Bench, slot: u32, standby: bool) -> Process {
        let log = Watched::new(connect(&bench.proxy.address, TIMEOUT));
        let options = Options { slot, standby, ..Options::default() };
        let processor =
            Processor::new(topology(), log.clone(), Counter, Box::new(()), options).unwrap();
        Process { log, processor, last: Turn::default() }
    }

    fn turn(&mut self) {
        // Copies are looked after by the wall clock.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Micros(i64::try_from(now.as_micros()).unwrap());
        self.last = self.processor.turn(Duration::from_millis(20), now).unwrap();
    }

    fn partitions(&self) -> BTreeSet<u32> {
        (0..PARTITIONS).filter(|number| self.processor.store(*number).is_some()).collect()
    }

    /// How many inputs its state has counted.
    fn counted(&self) -> u64 {
        let stores = (0..PARTITIONS).filter_map(|number| self.processor.store(number));
        stores.flat_map(Store::committed).map(|(_, seen)| seen.0).sum()
    }

    fn read_of_changelog(&self) -> u64 {
        self.log.records(topics::DETECT_SUBJECTS_CHANGELOG)
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
    }
}

#[test]
fn a_process_that_stands_by_reads_only_the_tail_when_another_one_goes() {
    let bench = Bench::new(TIMEOUT);
    append(&*bench.direct, KEYS, 1);
    let mut first = Process::start(&bench, 0, false);
    until("the first has counted all", || {
        first.turn();
        first.counted() == KEYS
    });
    let mut second = Process::start(&bench, 1, true);
    until("they share, and the second has a copy of the rest", || {
        first.turn();
        second.turn();
        let half = PARTITIONS as usize / 2;
        let shared = [&first, &second].iter().all(|one| one.partitions().len() == half);
        // Each key was written once, and each record is read once: as state or as a copy.
        shared && second.read_of_changelog() >= KEYS && second.last.standby == Some(0)
    });
    // Only the first goes on: the second falls behind by what the first does now.
    let theirs = first.partitions();
    let of_theirs = |keys: u64| {
        (0..keys).filter(|it| theirs.contains(&partition_of(&key(*it), PARTITIONS))).count() as u64
    };
    append(&*bench.direct, AGAIN, 2);
    until("the first has done its part", || {
        first.turn();
        first.counted() == of_theirs(KEYS) + of_theirs(AGAIN)
    });
    let before = second.read_of_changelog();
    drop(first);
    until("the second has everything", || {
        second.turn();
        second.counted() == KEYS + AGAIN
    });
    assert_eq!(second.read_of_changelog() - before, of_theirs(AGAIN), "the tail and nothing else");
    let round = |keys, round: u64| (0..keys).map(move |key| (value(key, round), round.to_string()));
    let expected: Vec<_> = round(KEYS, 1).chain(round(AGAIN, 2)).collect();
    assert_eq!(bench.visible(), expected);
}
