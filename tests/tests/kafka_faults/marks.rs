//! Marks that are missing: a transaction has ended, and in some of what it touched nothing says so. So it is
//! when a broker comes back after `kill -9` and has no leaders yet. Here it is made: the broker never
//! hears that a partition, or the group, belongs to the transaction, and takes what is written there all
//! the same.

use super::*;
use tocsin_stream::{Polled, Worker};

/// Takes records for a transaction that it was not told of.
const TRUSTFUL: &str = "transaction.partition.verification.enable=false\n";

fn trustful() -> Bench {
    Bench::with(TIMEOUT, |directory| Private::start_with(Kind::Kafka, directory, TRUSTFUL))
}

fn input() -> TopicPartition {
    TopicPartition::new(topics::AQI_READINGS, 0)
}

/// A worker that has its partitions, through the proxy.
fn joined(bench: &Bench) -> Box<dyn Worker> {
    let mut worker = bench.watched.worker(&spec("detect-0", vec![input().topic])).unwrap();
    let begun = Instant::now();
    while !matches!(polled(&mut *worker), Polled::Assigned(_)) {
        assert!(begun.elapsed() < PATIENCE, "it has no partitions");
    }
    worker
}

fn spec(id: &str, inputs: Vec<Arc<str>>) -> WorkerSpec {
    WorkerSpec { id: id.into(), group: "detect".into(), inputs }
}

fn polled(worker: &mut dyn Worker) -> Polled {
    worker.poll(1, Duration::from_millis(100)).unwrap()
}

/// One output, and the progress that goes with it.
fn work() -> Transaction {
    let mut work = Transaction::default();
    let alerts = work.register(topics::ALERTS, PARTITIONS);
    let mut value = Vec::new();
    wire::write(&fact("0:1".into(), 1), &mut value);
    work.to_partition(alerts, 0).push(b"key", Some(&value));
    work.progress.insert(input(), 3);
    work
}

/// Where the group stands, as a client sees it that is no member and was not there when the broker went: one that was
/// does not always find back, and a service that has it ends after a minute.
fn stand(bench: &Bench) -> Option<u64> {
    let begun = Instant::now();
    loop {
        let log = connect(bench.broker.address(), TIMEOUT);
        let worker = log.worker(&spec("look", Vec::new())).unwrap();
        match worker.committed(&input()) {
            Ok(stand) => return stand,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    }
}

/// What has no mark, and how the transaction ends.
const CASES: [(&str, &[Plan], bool); 3] = [
    ("committed, the output has no mark", &[once(AddPartitions, Pretend)], true),
    ("committed, the progress has no mark", &[once(AddOffsets, Pretend)], true),
    (
        "aborted, the output has no mark",
        &[once(AddPartitions, Pretend), once(TxnOffsetCommit, Lie(error::STALE_GENERATION))],
        false,
    ),
];

/// `goes_on` is what happens to the worker behind a transaction whose marks are missing.
fn check(goes_on: impl Fn(&Bench, Box<dyn Worker>) -> Box<dyn Worker> + Sync) {
    let goes_on = &goes_on;
    // Most of it is waiting for brokers, each case for its own.
    std::thread::scope(|scope| {
        for case in CASES {
            scope.spawn(move || check_case(case, goes_on));
        }
    });
}

fn check_case(
    (case, plans, committed): (&str, &[Plan], bool),
    goes_on: impl Fn(&Bench, Box<dyn Worker>) -> Box<dyn Worker>,
) {
    let bench = trustful();
    bench.append();
    let mut worker = joined(&bench);
    bench.proxy.plan(plans);
    let said = worker.commit(&mut work());
    assert_eq!(said.is_ok(), committed, "{case}: {said:?}");
    assert!(bench.proxy.left().is_empty(), "{case}: not all of it happened");
    let mut worker = goes_on(&bench, worker);
    if !committed {
        assert_eq!(stand(&bench), None, "{case}");
        // As the processor does it: the same again.
        worker.commit(&mut work()).unwrap();
    }
    assert_eq!(stand(&bench), Some(3), "{case}");
    let once = [("0:1".to_owned(), "1".to_owned())];
    assert_eq!(bench.visible(), once, "{case}");
}

#[test]
fn what_a_dead_worker_has_left_open_ends_as_it_was_decided() {
    check(|bench, worker| {
        drop(worker);
        joined(bench)
    });
}

#[test]
fn a_worker_says_again_how_its_last_transaction_ended_once_the_broker_is_back() {
    check(|bench, mut worker| {
        bench.broker.kill();
        bench.broker.restart();
        let begun = Instant::now();
        // Longer than the client takes to come back.
        while begun.elapsed() < Duration::from_secs(8) {
            let _ = worker.poll(1, Duration::from_millis(100));
        }
        worker
    });
}

#[test]
fn who_has_lost_its_place_says_again_what_the_group_had_reached() {
    let bench = trustful();
    bench.append();
    let mut first = joined(&bench);
    bench.proxy.plan(&[once(AddOffsets, Pretend)]);
    first.commit(&mut work()).unwrap();
    // Another one takes its place, and cannot be told where to go on.
    bench.broker.kill();
    bench.broker.restart();
    let mut second = bench.direct.worker(&spec("detect-1", vec![input().topic])).unwrap();
    let begun = Instant::now();
    let mut has = Vec::new();
    while has.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the second has no partitions");
        for worker in [&mut first, &mut second] {
            match worker.poll(1, Duration::from_millis(100)) {
                Ok(Polled::Assigned(partitions)) => has = partitions,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(stand(&bench), Some(3));
}
