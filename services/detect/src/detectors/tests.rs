//! What the tables of every detector share: events in, one line of findings out. And the promise
//! that each detector stands in the list under its own name.

use super::*;
use crate::detector::{Event, Seen};
use rust_decimal::Decimal;
use serde_json::Value;
use tocsin_domain::event::{Listing, OrderRow, Reading};
use tocsin_domain::{Currency, Id, Micros, Money};

/// 2024-05-01T00:00:00Z.
pub const DAWN: i64 = 1_714_521_600_000_000;
pub const MINUTE: i64 = 60_000_000;

pub fn built(name: &str, params: Value) -> Box<dyn Detector> {
    (kind(name).unwrap().build)(params).unwrap()
}

pub fn refusal(name: &str, params: Value) -> String {
    (kind(name).unwrap().build)(params).err().unwrap()
}

/// Feeds the events and ends the input: `raised 13 · cleared 9`.
pub fn found(detector: &dyn Detector, events: &[Event<'_>]) -> String {
    let (mut memory, mut findings) = (Vec::new(), Vec::new());
    for (offset, event) in events.iter().enumerate() {
        let seen = Seen { event, offset: offset as u64 };
        if let Err(reason) = detector.observe(seen, &mut memory, &mut findings) {
            return reason;
        }
    }
    if detector.due(&memory) < Micros::MAX {
        detector.close(&mut memory, &mut findings);
        assert_eq!(detector.due(&memory), Micros::MAX);
    }
    let told: Vec<String> =
        findings.iter().map(|f| format!("{} {}", f.state.as_str(), f.value)).collect();
    told.join(" · ")
}

/// One reading a minute.
pub fn readings(values: &[f64]) -> Vec<Event<'static>> {
    let with_time = |(i, value): (usize, &f64)| (i as i64, *value);
    timed(&values.iter().enumerate().map(with_time).collect::<Vec<_>>())
}

/// Readings at so many minutes.
pub fn timed(values: &[(i64, f64)]) -> Vec<Event<'static>> {
    values.iter().map(|(minute, value)| Event::Reading(reading(*minute, *value).into())).collect()
}

pub fn reading(minute: i64, value: f64) -> Reading<'static> {
    let at = Micros(DAWN + minute * MINUTE);
    Reading {
        id: Id::of("reading", &[&at.0.to_le_bytes()]),
        tenant: "default",
        subject: "Lahore",
        measure: "pm25",
        value,
        unit: "ug/m3",
        averaging: "PT24H",
        place: "",
        event_time: at,
        arrival_time: at,
        source: "test",
        origin: "",
    }
}

fn money(amount: &str, currency: &str) -> Money {
    let amount: Decimal = amount.parse().unwrap();
    Money { amount, currency: Currency::parse(currency).unwrap() }
}

/// Observations of a listing: the price and the units sold; seven are always available.
pub fn listings(seen: &[(&str, Option<i64>)]) -> Vec<Event<'static>> {
    let listing = |(i, (price, sold)): (usize, &(&str, Option<i64>))| {
        let at = Micros(DAWN + i as i64 * MINUTE);
        Event::Listing(Listing {
            id: Id::of("listing", &[&at.0.to_le_bytes()]),
            tenant: "default",
            listing: "MLA1",
            title: "Tele",
            price: money(price, "ARS"),
            units_sold: *sold,
            units_available: Some(7),
            url: "",
            seller: "",
            searches: Vec::new(),
            event_time: at,
            arrival_time: at,
            source: "test",
            origin: "",
        })
    };
    seen.iter().enumerate().map(listing).collect()
}

/// Order rows: minute, price, units.
pub fn rows(sold: &[(i64, &str, i64)]) -> Vec<Event<'static>> {
    let row = |(i, (minute, price, units)): (usize, &(i64, &str, i64))| {
        let at = Micros(DAWN + minute * MINUTE);
        Event::OrderRow(OrderRow {
            id: Id::of("row", &[&i.to_le_bytes()]),
            tenant: "default",
            subject: "85123A",
            order: "",
            title: "",
            price: money(price, "GBP"),
            units: *units,
            event_time: at,
            arrival_time: at,
            source: "test",
            origin: "",
        })
    };
    sold.iter().enumerate().map(row).collect()
}

#[test]
fn each_file_in_the_folder_is_one_kind_in_the_list() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/detectors");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some() && path.file_stem().unwrap() != "tests")
        .map(|path| path.file_stem().unwrap().to_string_lossy().replace('_', "-"))
        .collect();
    files.sort();
    let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    assert_eq!(names, files);
}
