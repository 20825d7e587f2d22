//! Promises about workers: transactions, progress, fencing, waiting, fairness.

use super::bench::{
    Bench, FOR_EVER, PATIENCE, at_time, numbers, pairs, poll, take, taken, with_values,
};
use super::{Make, Outcome, topic};
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;
use tocsin_stream::{Batch, CommitError, Polled, Transaction, WorkerSpec};

pub(super) fn outputs_and_progress_are_one(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "one", 1)?;
    let outputs = topic(&bench.named("outputs"), 1, FOR_EVER);
    bench.log.create_topics(&[&outputs])?;
    bench.put(numbers(0..4))?;
    let mut worker = bench.consumer("c", "g")?;
    let next = take(&mut *worker, 4)?.last().map_or(0, |batch| batch.next);
    let mut work = at_time(5);
    let output = work.register(&outputs.name, 1);
    work.to(output, b"k").push(b"k", Some(b"v"));
    work.progress.insert(bench.at(0), next);
    let output_at = TopicPartition::new(&outputs.name, 0);
    let before = bench.log.span(&output_at)?;
    assert_eq!((worker.committed(&bench.at(0))?, before.start), (None, before.end));
    worker.commit(&mut work)?;
    assert!(work.is_empty(), "a transaction that was committed is cleared");
    assert_eq!(worker.committed(&bench.at(0))?, Some(next));
    bench.settled(&output_at)?;
    assert_eq!(pairs(&bench.log.read(&output_at, 0, 1 << 20)?), [("k".into(), Some("v".into()))]);
    Ok(())
}

pub(super) fn rewind_delivers_the_uncommitted(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "rewind", 1)?;
    bench.put(numbers(0..10))?;
    let mut worker = bench.consumer("c", "g")?;
    assert_eq!(taken(&mut *worker, 10)?.len(), 10);
    worker.rewind()?;
    let again = take(&mut *worker, 10)?;
    assert_eq!(again.iter().flat_map(pairs).count(), 10);
    let sixth = again.iter().flat_map(Batch::records).nth(6).map_or(0, |record| record.offset);
    let mut work = Transaction::default();
    work.progress.insert(bench.at(0), sixth);
    worker.commit(&mut work)?;
    worker.rewind()?;
    assert_eq!(taken(&mut *worker, 4)?, with_values(numbers(6..10)));
    Ok(())
}

pub(super) fn group_goes_on(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "restart", 1)?;
    bench.put(numbers(0..5))?;
    let mut first = bench.consumer("c", "g")?;
    let next = take(&mut *first, 5)?.last().map_or(0, |batch| batch.next);
    let mut work = Transaction::default();
    work.progress.insert(bench.at(0), next);
    first.commit(&mut work)?;
    drop(first);
    bench.put(numbers(5..8))?;
    let mut second = bench.consumer("c", "g")?;
    assert_eq!(second.committed(&bench.at(0))?, Some(next));
    assert_eq!(taken(&mut *second, 3)?, with_values(numbers(5..8)));
    Ok(())
}

pub(super) fn groups_are_independent(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "groups", 1)?;
    bench.put(numbers(0..5))?;
    let (mut one, mut two) = (bench.consumer("a", "one")?, bench.consumer("b", "two")?);
    let next = take(&mut *one, 5)?.last().map_or(0, |batch| batch.next);
    let mut work = Transaction::default();
    work.progress.insert(bench.at(0), next);
    one.commit(&mut work)?;
    assert_eq!(two.committed(&bench.at(0))?, None);
    assert_eq!(taken(&mut *two, 5)?.len(), 5);
    Ok(())
}

pub(super) fn second_worker_fences(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "fence", 1)?;
    bench.put(numbers(0..1))?;
    let id = bench.named("producer");
    let mut second = bench.log.worker(&WorkerSpec { id, ..Default::default() })?;
    let mut fenced = bench.transaction(numbers(1..2));
    fenced.progress.insert(bench.at(0), 1);
    let refused = bench.producer.commit(&mut fenced);
    assert!(matches!(refused, Err(CommitError::Fatal(_))), "{refused:?}");
    second.commit(&mut bench.transaction(numbers(2..3)))?;
    let visible: Vec<_> = bench.all(0)?.into_iter().map(|(key, _)| key).collect();
    assert_eq!(visible, ["0", "2"]);
    Ok(())
}

pub(super) fn inputs_match(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "inputs", 2)?;
    let other = topic(&bench.named("other"), 3, FOR_EVER);
    bench.log.create_topics(&[&other])?;
    let inputs = vec![bench.topic.clone(), other.name.as_str().into()];
    let spec = WorkerSpec { id: bench.named("w"), group: bench.named("g"), inputs };
    assert!(bench.log.worker(&spec).is_err());
    Ok(())
}

pub(super) fn commits_wake(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "wake", 1)?;
    let mut worker = bench.consumer("c", "g")?;
    let mut reader = 0;
    for round in 0..20 {
        let polling = std::thread::spawn(move || {
            let found = take(&mut *worker, 1).map(|batches| batches.len());
            (worker, found)
        });
        bench.put(numbers(round..round + 1))?;
        let (back, found) = polling.join().map_err(|_| "the poll panicked")?;
        worker = back;
        assert_eq!(found?, 1);
        let seen = bench.log.wait(reader, PATIENCE);
        assert!(seen > reader, "nothing was seen after {reader}");
        reader = seen;
    }
    Ok(())
}

pub(super) fn waker_wakes(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "waker", 1)?;
    let mut worker = bench.consumer("c", "g")?;
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "nothing is assigned");
        if let Polled::Assigned(partitions) = worker.poll(1, Duration::from_millis(10))? {
            worker.open(&partitions);
            break;
        }
    }
    let (waker, begun) = (worker.waker(), Instant::now());
    let waking = std::thread::spawn(move || waker());
    worker.poll(1, PATIENCE)?;
    assert!(begun.elapsed() < PATIENCE / 2, "the poll was not woken");
    waking.join().map_err(|_| "the waker panicked")?;
    Ok(())
}

pub(super) fn polls_are_fair(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "fair", 4)?;
    for round in 0..5 {
        bench.put(numbers(round * 4000..round * 4000 + 4000))?;
    }
    let mut worker = bench.consumer("c", "g")?;
    let (mut partitions, mut found) = (Vec::new(), 0);
    let begun = Instant::now();
    while found < 20_000 && begun.elapsed() < PATIENCE {
        let batches = poll(&mut *worker, 100, Duration::from_secs(1))?;
        let records: usize = batches.iter().map(|batch| batch.records().count()).sum();
        assert!(records <= 100 + 4096, "a poll for 100 brought {records}");
        found += records;
        partitions.extend(batches.iter().map(|batch| batch.partition));
    }
    assert_eq!(found, 20_000);
    let last_first = (0..4).map(|p| partitions.iter().position(|seen| *seen == p)).max().flatten();
    assert!(last_first < Some(partitions.len() / 2 + 4), "one starves: {partitions:?}");
    Ok(())
}

pub(super) fn concurrent_writers(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "writers", 2)?;
    let mut threads = Vec::new();
    for writer in 0..4 {
        let id = bench.named(&writer.to_string());
        let mut worker = bench.log.worker(&WorkerSpec { id, ..Default::default() })?;
        let keys = move |i: u32| numbers(writer * 1000 + i * 10..writer * 1000 + i * 10 + 10);
        let mut works: Vec<_> = (0..25).map(|i| bench.transaction(keys(i))).collect();
        threads.push(std::thread::spawn(move || {
            works.iter_mut().try_for_each(|work| {
                loop {
                    match worker.commit(work) {
                        Err(CommitError::Retriable(_)) => {}
                        done => return done,
                    }
                }
            })
        }));
    }
    for thread in threads {
        thread.join().map_err(|_| "a writer panicked")??;
    }
    let mut keys: Vec<u32> = Vec::new();
    for (key, _) in [bench.all(0)?, bench.all(1)?].concat() {
        keys.push(key.parse()?);
    }
    keys.sort_unstable();
    let expected: Vec<u32> = (0..4).flat_map(|w| w * 1000..w * 1000 + 250).collect();
    assert_eq!(keys, expected);
    Ok(())
}

pub(super) fn closed_partitions_wait(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "closed", 2)?;
    let mut worker = bench.consumer("c", "g")?;
    let (mut assigned, begun) = (Vec::new(), Instant::now());
    while assigned.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "only {assigned:?} were assigned");
        if let Polled::Assigned(partitions) = worker.poll(10, Duration::from_millis(50))? {
            assigned.extend(partitions);
        }
    }
    bench.put(numbers(0..100))?;
    let in_zero = bench.all(0)?.len();
    worker.open(&[0]);
    assert_eq!(take(&mut *worker, in_zero)?.iter().map(|batch| batch.partition).max(), Some(0));
    let early = poll(&mut *worker, 1000, Duration::from_millis(50))?;
    assert!(early.is_empty(), "records came of a partition that was not opened: {early:?}");
    worker.open(&[1]);
    assert_eq!(taken(&mut *worker, 100 - in_zero)?, bench.all(1)?);
    Ok(())
}

pub(super) fn only_the_owner_confirms(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "owner", 1)?;
    bench.put(numbers(0..3))?;
    let mut worker = bench.consumer("c", "g")?;
    take(&mut *worker, 3)?;
    worker.confirm()?;
    let mut second = bench.consumer("c", "g")?;
    let refused = worker.confirm();
    assert!(matches!(refused, Err(CommitError::Fatal(_))), "{refused:?}");
    drop(worker);
    assert_eq!(taken(&mut *second, 3)?.len(), 3);
    Ok(())
}
