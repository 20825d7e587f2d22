//! What an event costs in the engine alone: decode, order, evaluate, keep, encode the change. No log
//! stands behind it. Prints one line of JSON; run with `cargo bench -p tocsin-detect`.
//!
//! Measured twice over the same events: in eight partitions, a turn with the records of one
//! partition, as a poll gives them; and all in one partition, where far more subjects take turns.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use tocsin_detect::{DetectStep, section, topology};
use tocsin_domain::alert::{Alert, AlertState};
use tocsin_domain::event::{Reading, reading_key};
use tocsin_domain::partition::partition_of;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, Micros, topics};
use tocsin_stream::chunk::{Chunk, ChunkBuilder};
use tocsin_stream::state::Store;
use tocsin_stream::{Effects, Step};

/// How many events there are, unless `TOCSIN_BENCH_EVENTS` says it: fewer for a profiler, which sees
/// the eight partitions only.
const EVENTS: usize = 2_000_000;
const SUBJECTS: usize = 10_000;
/// About how many records a turn has.
const TURN: usize = 10_000;
/// As topics.yaml has them.
const PARTITIONS: u32 = 8;
/// What the same walk raises in every program that was measured beside this one.
const ALERTS: usize = 30_947;

/// Records of one partition that are committed together.
struct Turn {
    partition: u32,
    chunks: Vec<Chunk>,
}

fn main() {
    let said = std::env::var("TOCSIN_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let events = said.unwrap_or(EVENTS);
    let (spread, raised) = measured(&input(events, PARTITIONS));
    let each = |cpu: f64| format!("{:.3}", cpu * 1e6 / events as f64);
    let mut single = "null".to_owned();
    if said.is_none() {
        let (cpu, same) = measured(&input(events, 1));
        assert_eq!((raised, same), (ALERTS, ALERTS));
        single = each(cpu);
    }
    println!(
        "{{\"bench\":\"detect-engine\",\"events\":{events},\"subjects\":{SUBJECTS},\
         \"turn\":{TURN},\"engine_cpu_us_per_event\":{},\
         \"single_partition_cpu_us_per_event\":{single},\"alerts\":{raised}}}",
        each(spread),
    );
}

/// CPU seconds, and how many alerts were raised.
fn measured(input: &[Turn]) -> (f64, usize) {
    let mut step = DetectStep::new([]);
    condition(&mut step);
    let began = cpu_seconds();
    let (published, aside) = work(input, &mut step);
    let cpu = cpu_seconds() - began;
    assert_eq!(aside, 0);
    (cpu, raised(&published))
}

/// What is measured, and what a profiler looks at: the alerts, and how many events were set aside.
#[inline(never)]
fn work(input: &[Turn], step: &mut DetectStep) -> (Vec<Chunk>, usize) {
    let topic: Arc<str> = topics::AQI_READINGS.into();
    let mut stores: Vec<_> = (0..PARTITIONS).map(|_| Store::default()).collect();
    let topology = topology();
    let outputs: Vec<(&str, u32)> = topology.outputs.iter().map(|name| (*name, 1)).collect();
    let mut effects = Effects::new(topology.service, &outputs, 1, 1);
    let mut changes = ChunkBuilder::default();
    let (mut published, mut records) = (Vec::new(), 0);
    for Turn { partition, chunks } in input {
        let store = &mut stores[*partition as usize];
        for record in chunks.iter().flat_map(|chunk| chunk.records(&topic, *partition)) {
            step.on_record(&record, record.time, store, &mut effects).unwrap();
        }
        store.write_changes(&mut changes);
        black_box(changes.bytes());
        changes.clear();
        store.fold();
        let outputs = effects.transaction().outputs();
        let alerts = outputs.iter().filter(|output| &*output.topic == topics::ALERTS);
        published.extend(alerts.flat_map(|output| &output.partitions).flat_map(parts));
        records += effects.transaction().records();
        effects.clear();
    }
    let aside = records - alerts_in(&published);
    (published, aside)
}

fn condition(step: &mut DetectStep) {
    let entry = serde_json::json!({
        "name": "high", "kind": "threshold", "measure": "pm25",
        "raise_above": 150, "clear_below": 140,
    });
    let conditions = section("default", &[entry]).unwrap();
    let mut bytes = Vec::new();
    wire::write(&conditions[0], &mut bytes);
    let key = conditions[0].key();
    step.on_table(topics::CONDITIONS, key.as_bytes(), Some(&bytes)).unwrap();
}

/// How many of the published alerts were raised.
fn raised(published: &[Chunk]) -> usize {
    let topic: Arc<str> = topics::ALERTS.into();
    let records = published.iter().flat_map(|chunk| chunk.records(&topic, 0));
    let alert = |value: &[u8]| -> Alert { wire::read(value, &SchemaIds::default()).unwrap() };
    records.filter(|record| alert(record.value.unwrap()).state == AlertState::Raised).count()
}

fn alerts_in(published: &[Chunk]) -> usize {
    published.iter().map(|chunk| chunk.count as usize).sum()
}

fn parts(builder: &ChunkBuilder) -> Vec<Chunk> {
    let chunk = |part: tocsin_stream::chunk::Part<'_>| Chunk {
        base: part.base,
        time: Micros(0),
        count: part.count,
        bytes: part.bytes.into(),
    };
    builder.parts().map(chunk).collect()
}

/// The input, encoded beforehand.
fn input(events: usize, partitions: u32) -> Vec<Turn> {
    let mut walk = Walk { seed: 42, values: vec![100.0; SUBJECTS] };
    let mut builders = vec![ChunkBuilder::default(); partitions as usize];
    let (mut turns, mut key) = (Vec::new(), Vec::new());
    for at in 1..=events {
        let (subject, value) = walk.next();
        let subject = format!("station-{subject:05}");
        let time = Micros(1_700_000_000_000_000 + at as i64 * 1_000_000);
        reading_key(&mut key, "default", &subject, "pm25");
        let reading = reading(&subject, value, time);
        let builder = &mut builders[partition_of(&key, partitions) as usize];
        builder.push_with(&key, |out| wire::write(&reading, out));
        if at % (TURN * builders.len()) == 0 || at == events {
            for (partition, builder) in (0..).zip(&mut builders) {
                turns.push(Turn { partition, chunks: parts(builder) });
                builder.clear();
            }
        }
    }
    turns
}

fn reading(subject: &str, value: f64, at: Micros) -> Reading<'_> {
    Reading {
        id: Id::of("reading", &[subject.as_bytes(), &at.0.to_le_bytes()]),
        tenant: "default",
        subject,
        measure: "pm25",
        value,
        unit: "ug/m3",
        averaging: "PT1H",
        place: "",
        event_time: at,
        arrival_time: at,
        source: "bench",
        origin: "",
    }
}

/// Each subject's value walks at random and is drawn back to 100: a linear congruential generator,
/// so that every program sees the same events.
struct Walk {
    seed: u64,
    values: Vec<f64>,
}

impl Walk {
    fn next(&mut self) -> (usize, f64) {
        let mut draw = || {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005);
            self.seed = self.seed.wrapping_add(1_442_695_040_888_963_407);
            self.seed >> 33
        };
        let subject = draw() as usize % SUBJECTS;
        let change = (draw() % 4001) as f64 / 100.0 - 20.0;
        let value = &mut self.values[subject];
        *value += change - (*value - 100.0) * 0.05;
        (subject, *value)
    }
}

/// What this process has computed so far, by the kernel's account; 0 where there is none.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e9
}
