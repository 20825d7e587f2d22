//! What the embedded log costs with nothing around it, one JSON line a phase: append, read back, and
//! the loop that every service is (read, touch, write one changelog record each, commit progress).
//!
//! `cargo bench -p tocsin-stream --bench log_floor -- [records] [batch] [full|normal] [directory]`

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tocsin_domain::topics::{DataClass, Keep, Retention, Topic};
use tocsin_domain::{Micros, TopicPartition};
use tocsin_stream::embedded::{EmbeddedLog, Options, Sync};
use tocsin_stream::{Log, Polled, Transaction, WorkerSpec};

const PARTITIONS: u32 = 8;
const TIME: Micros = Micros(1_700_000_000_000_000);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let given: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |i: usize, otherwise| given.get(i).map_or(Ok(otherwise), |text| text.parse());
    let (records, batch): (u64, u64) = (number(0, 2_000_000)?, number(1, 10_000)?);
    let normal = given.get(2).is_some_and(|sync| sync == "normal");
    let sync = if normal { Sync::Normal } else { Sync::Full };
    let dir = match given.get(3) {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let log = EmbeddedLog::open(dir.path(), Options { sync, ..Options::default() })?;
    log.create_topics(&[&topic("events"), &topic("changes")])?;
    let run = Run { records, batch, sync };
    run.phase("append", dir.path(), || append(&*log, records, batch))?;
    run.phase("read", dir.path(), || read(&*log))?;
    run.phase("loop", dir.path(), || work(&*log, records, batch))
}

/// Appends records of 120 B, `batch` of them in a transaction.
fn append(log: &dyn Log, records: u64, batch: u64) -> Outcome<u64> {
    let mut worker = log.worker(&WorkerSpec { id: "append".into(), ..Default::default() })?;
    let mut work = Transaction::default();
    let events = work.register("events", PARTITIONS);
    let mut value = [0x20; 108];
    for first in (0..records).step_by(batch as usize) {
        work.time = TIME;
        for i in first..(first + batch).min(records) {
            let subject = i.wrapping_mul(6_364_136_223_846_793_005) >> 33;
            let key = (subject % 10_000).to_be_bytes();
            value[..8].copy_from_slice(&i.to_be_bytes());
            work.to(events, &key).push_with(&key, |out| out.extend_from_slice(&value));
        }
        worker.commit(&mut work)?;
    }
    Ok(records)
}

/// Reads everything back, partition by partition.
fn read(log: &dyn Log) -> Outcome<u64> {
    let (mut found, mut sum) = (0, 0_u64);
    for partition in 0..PARTITIONS {
        let at = TopicPartition::new("events", partition);
        let (mut from, end) = (0, log.span(&at)?.end);
        while from < end {
            let batch = log.read(&at, from, 1 << 20)?;
            for record in batch.records() {
                found += 1;
                sum = sum.wrapping_add(record.value.map_or(0, |value| u64::from(value[7])));
            }
            from = batch.next;
        }
    }
    std::hint::black_box(sum);
    Ok(found)
}

/// Consumes everything; each record gives a changelog record of 60 B.
fn work(log: &dyn Log, records: u64, batch: u64) -> Outcome<u64> {
    let inputs = vec![Arc::from("events")];
    let mut worker = log.worker(&WorkerSpec { id: "w".into(), group: "g".into(), inputs })?;
    let mut work = Transaction::default();
    let changes = work.register("changes", PARTITIONS);
    let (mut done, mut state) = (0, [0x20; 52]);
    while done < records {
        let polled = worker.poll(batch as usize, Duration::from_secs(1))?;
        let Polled::Records(batches) = polled else { continue };
        work.time = TIME;
        for batch in &batches {
            let out = work.to_partition(changes, batch.partition);
            for record in batch.records() {
                done += 1;
                state[..8].copy_from_slice(&record.value.unwrap_or_default()[..8]);
                out.push_with(record.key, |out| out.extend_from_slice(&state));
            }
            let at = TopicPartition { topic: batch.topic.clone(), partition: batch.partition };
            work.progress.insert(at, batch.next);
        }
        worker.commit(&mut work)?;
    }
    Ok(done)
}

fn topic(name: &str) -> Topic {
    Topic {
        name: name.into(),
        purpose: "a measurement".into(),
        key: "a number".into(),
        why: "order".into(),
        partitions: PARTITIONS,
        retention: Retention::Keep(Keep::ForEver),
        schema: None,
        data_class: DataClass::Internal,
        writers: Vec::new(),
        readers: Vec::new(),
        allowed_lateness: Duration::ZERO,
    }
}

struct Run {
    records: u64,
    batch: u64,
    sync: Sync,
}

impl Run {
    fn phase(&self, name: &str, dir: &Path, work: impl FnOnce() -> Outcome<u64>) -> Outcome<()> {
        let (begun, cpu) = (Instant::now(), cpu_seconds()?);
        let records = work()?;
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        assert_eq!(records, self.records, "{name} has lost or doubled records");
        let mut bytes = 0;
        for entry in std::fs::read_dir(dir)? {
            bytes += entry?.metadata()?.len();
        }
        let (batch, sync, n) = (self.batch, self.sync, records as f64);
        writeln!(
            std::io::stdout(),
            r#"{{"phase":"{name}","sync":"{sync:?}","records":{records},"batch":{batch},"seconds":{wall:.3},"per_second":{:.0},"cpu_us_per_record":{:.3},"file_bytes":{bytes},"resident_mb":{:.0}}}"#,
            n / wall,
            cpu * 1e6 / n,
            resident_mb()?
        )?;
        Ok(())
    }
}

/// User and system time of this process; the kernel counts hundredths of a second.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no process name in /proc/self/stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

fn resident_mb() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
