//! Progress that cannot be told, because a transaction that carries it never ends: so it is, too, when a
//! broker has forgotten the mark of one that has.

use super::*;
use tocsin_stream::{LogError, Polled, Worker};

/// Longer than anything here takes.
const NEVER: Duration = Duration::from_secs(600);

/// Polls until the worker has partitions, or can not go on.
fn join(worker: &mut dyn Worker) -> Result<usize, LogError> {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < 6 * PATIENCE, "it neither has its partitions nor ends");
        if let Polled::Assigned(partitions) = worker.poll(1, Duration::from_secs(1))? {
            return Ok(partitions.len());
        }
    }
}

#[test]
fn whoever_cannot_take_up_its_partitions_for_a_minute_says_that_another_must() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Private::start(Kind::Kafka, directory.path());
    let proxy = Proxy::before(broker.address());
    let direct = connect(broker.address(), NEVER);
    let topics = [topics::AQI_READINGS].map(|name| Topics::builtin().get(name).unwrap());
    direct.create_topics(&topics).unwrap();

    // The end of its transaction never arrives, whatever it does.
    proxy.plan(&[Plan { call: EndTxn, fault: CutBefore, times: u32::MAX }]);
    let other = WorkerSpec { id: "other".into(), group: "detect".into(), inputs: Vec::new() };
    let (log, spec) = (connect(&proxy.address, NEVER), other.clone());
    std::thread::spawn(move || {
        let commit = || {
            let mut work = Transaction::default();
            work.progress.insert(TopicPartition::new(topics::AQI_READINGS, 0), 0);
            log.worker(&spec).unwrap().commit(&mut work)
        };
        // On a cluster that is this new, nobody may coordinate the group yet.
        while let Err(CommitError::Unknown(_)) = commit() {}
    });

    let spec = WorkerSpec {
        id: "detect-0".into(),
        inputs: vec![topics::AQI_READINGS.into()],
        ..other.clone()
    };
    let begun = Instant::now();
    while proxy.times_left(EndTxn) == u32::MAX {
        assert!(begun.elapsed() < PATIENCE, "nothing is committed");
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = join(&mut *direct.worker(&spec).unwrap());
    let Err(LogError::Lost(reason)) = ended else { panic!("it goes on: {ended:?}") };
    assert!(reason.contains("is taken again"), "{reason}");

    // Once somebody takes the id that left it open, everything goes on.
    drop(direct.worker(&other).unwrap());
    assert_eq!(join(&mut *direct.worker(&spec).unwrap()).unwrap(), PARTITIONS as usize);
}
