//! Promises about records: where they stand, in which order, what is refused.

use super::bench::{Bench, FOR_EVER, numbers, pairs, taken, with_values};
use super::{Make, Outcome, topic};
use tocsin_domain::partition::partition_of;
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::{LogError, Span};

pub(super) fn committed_is_read_in_order(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "order", 1)?;
    for i in 0..10 {
        bench.put(numbers(i * 10..i * 10 + 10))?;
    }
    assert_eq!(bench.all(0)?, with_values(numbers(0..100)));
    let mut consumer = bench.consumer("c", "g")?;
    assert_eq!(taken(&mut *consumer, 100)?, with_values(numbers(0..100)));
    Ok(())
}

pub(super) fn keys_have_their_partition(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "partition", 8)?;
    bench.put(numbers(0..200))?;
    let mut records = 0;
    for partition in 0..8 {
        for (key, _) in bench.all(partition)? {
            assert_eq!(partition_of(key.as_bytes(), 8), partition, "{key}");
            records += 1;
        }
    }
    assert_eq!(records, 200);
    Ok(())
}

pub(super) fn uncommitted_is_invisible(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "invisible", 1)?;
    let mut dropped = bench.transaction(numbers(0..3));
    assert_eq!(dropped.records(), 3);
    dropped.clear();
    bench.producer.commit(&mut dropped)?;
    drop(bench.transaction(numbers(3..6)));
    bench.producer.rewind()?;
    bench.put(numbers(6..9))?;
    assert_eq!(bench.all(0)?, with_values(numbers(6..9)));
    Ok(())
}

pub(super) fn empty_commit_is_nothing(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "empty", 2)?;
    bench.put([])?;
    for partition in 0..2 {
        assert_eq!(bench.log.span(&bench.at(partition))?, Span { start: 0, end: 0 });
    }
    Ok(())
}

pub(super) fn tombstones_are_records(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "tombstone", 1)?;
    let mut work = bench.transaction([]);
    for value in [Some(&b"v"[..]), None, Some(b"")] {
        work.to_partition(0, 0).push(b"k", value);
    }
    bench.producer.commit(&mut work)?;
    let values: Vec<_> = bench.all(0)?.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [Some("v".into()), None, Some(String::new())]);
    Ok(())
}

pub(super) fn offsets_grow(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "grow", 1)?;
    let mut seen: Vec<(u64, Micros)> = Vec::new();
    for i in 0..5 {
        bench.put(numbers(i * 3..i * 3 + 3))?;
        let Span { start, end } = bench.settled(&bench.at(0))?;
        let (mut positions, mut from) = (Vec::new(), start);
        while from < end {
            let batch = bench.log.read(&bench.at(0), from, 1 << 20)?;
            positions.extend(batch.records().map(|record| (record.offset, record.time)));
            from = batch.next;
        }
        assert_eq!(positions.len() as u32, (i + 1) * 3);
        assert!(positions.iter().all(|(offset, _)| *offset < end));
        assert!(positions.starts_with(&seen), "{positions:?} were {seen:?}");
        seen = positions;
    }
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{seen:?}");
    Ok(())
}

pub(super) fn reads_begin_anywhere(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "middle", 1)?;
    bench.put(numbers(0..20))?;
    bench.put(numbers(20..40))?;
    let at = bench.at(0);
    let Span { start, end } = bench.settled(&at)?;
    let whole = bench.log.read(&at, start, 1 << 20)?;
    let offsets: Vec<_> = whole.records().map(|record| record.offset).collect();
    for (i, offset) in (0..).zip(offsets) {
        let batch = bench.log.read(&at, offset, 1)?;
        assert_eq!(batch.records().next().map(|record| record.offset), Some(offset));
        assert_eq!(pairs(&batch)[0].0, i.to_string());
    }
    let nothing = bench.log.read(&at, end, 1 << 20)?;
    assert_eq!((nothing.records().count(), nothing.next), (0, end));
    Ok(())
}

pub(super) fn outside_is_refused(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "outside", 1)?;
    bench.put(numbers(0..3))?;
    let Span { start, end } = bench.settled(&bench.at(0))?;
    let refused = bench.log.read(&bench.at(0), end + 1, 1 << 20);
    let Err(LogError::OutOfRange { offset, start: first, end: last, .. }) = refused else {
        return Err(format!("a read after the end gave {refused:?}").into());
    };
    assert_eq!((offset, first, last), (end + 1, start, end));
    Ok(())
}

pub(super) fn unknown_is_refused(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "unknown", 2)?;
    let unknown = bench.named("nowhere");
    let nowhere = TopicPartition::new(&unknown, 0);
    let answers = [
        bench.log.partitions(&unknown).map(drop),
        bench.log.span(&nowhere).map(drop),
        bench.log.read(&nowhere, 0, 1).map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(LogError::UnknownTopic(_))), "{answer:?}");
    }
    let third = bench.log.span(&bench.at(2));
    assert!(matches!(third, Err(LogError::UnknownPartition(_))), "{third:?}");
    let mut work = bench.transaction(numbers(0..1));
    let topic = work.register(&unknown, 1);
    work.to(topic, b"k").push(b"k", None);
    assert!(bench.producer.commit(&mut work).is_err());
    assert_eq!([bench.all(0)?, bench.all(1)?].concat(), []);
    Ok(())
}

pub(super) fn partitions_cannot_change(make: Make<'_>) -> Outcome {
    let bench = Bench::new(make, "fixed", 2)?;
    bench.log.create_topics(&[&topic(&bench.topic, 2, FOR_EVER)])?;
    let others =
        [topic(&bench.named("new"), 1, FOR_EVER), topic(&bench.topic, 3, FOR_EVER)];
    let refused = bench.log.create_topics(&[&others[0], &others[1]]);
    let as_said = matches!(refused, Err(LogError::Partitions { found: 2, wanted: 3, .. }));
    assert!(as_said, "{refused:?}");
    assert_eq!(bench.log.partitions(&bench.topic)?, 2);
    Ok(())
}

pub(super) fn large_and_many(make: Make<'_>) -> Outcome {
    let mut bench = Bench::new(make, "sizes", 2)?;
    let large = "x".repeat(900 << 10);
    let mut work = bench.transaction([]);
    for key in numbers(0..4) {
        work.to_partition(0, 0).push(key.as_bytes(), Some(large.as_bytes()));
    }
    for key in numbers(0..50_000) {
        work.to_partition(0, 1).push(key.as_bytes(), Some(b"s"));
    }
    bench.producer.commit(&mut work)?;
    let larges = bench.all(0)?;
    assert_eq!(larges.len(), 4);
    assert!(larges.iter().all(|(_, value)| value.as_deref() == Some(large.as_str())));
    assert!(bench.all(1)?.into_iter().map(|(key, _)| key).eq(numbers(0..50_000)));
    let mut worker = bench.consumer("c", "g")?;
    assert_eq!(taken(&mut *worker, 50_004)?.len(), 50_004);
    Ok(())
}
