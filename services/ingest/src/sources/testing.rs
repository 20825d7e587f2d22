//! What the tests of all sources need: a configuration from text, and items as one line each.

use super::open;
use crate::settings::SourceConfig;
use crate::source::{Event, File, IngestError, Item, Mark};
use crate::tally::{Row, Tally};
use tocsin_domain::Micros;
use tocsin_domain::event::{DatasetRow, Listing, OrderRow, Reading};
use tocsin_service::Document;

/// The `[[sources]]` entry `text`, with its sub-tables written as `[[values]]` and `[[only]]`.
pub(crate) fn config(text: &str) -> SourceConfig {
    let text = text.replace("[[", "[[sources.");
    let document = Document::parse(&format!("[[sources]]\n{text}"), "test.toml").unwrap();
    document.list("sources").unwrap().remove(0)
}

/// Everything that a source hands over, a line for each item.
pub(crate) fn collect(text: &str, name: &str, bytes: &[u8]) -> Result<Vec<String>, IngestError> {
    let mut source = open(&config(text)).unwrap();
    let mut found = Vec::new();
    let mut input = bytes;
    let file =
        File { content: &mut input, name, from: Mark::default(), now: &|| Micros(1_000_000) };
    source.read(file, &mut |item| {
        if !matches!(item, Item::RowEnd(_) | Item::OpenEnd) {
            found.push(line(&item));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The same, counted.
pub(crate) fn collect_tally(text: &str, name: &str, bytes: &[u8]) -> Tally {
    let mut source = open(&config(text)).unwrap();
    let (mut row, mut tally, mut content) = (Row::default(), Tally::default(), bytes);
    let file = File { content: &mut content, name, from: Mark::default(), now: &|| Micros(5) };
    let read = source.read(file, &mut |item| {
        row.take(&item, &mut tally);
        if matches!(item, Item::RowEnd(_) | Item::OpenEnd) {
            row.end(&mut tally);
        }
        Ok(())
    });
    read.unwrap();
    tally
}

fn line(item: &Item<'_>) -> String {
    let key = |event: &Event<'_>| {
        let mut key = Vec::new();
        event.key(&mut key);
        String::from_utf8(key).unwrap()
    };
    match item {
        Item::DeadLetter(d) => format!("dead {} {} {}", d.class, d.origin, d.reason),
        Item::Skipped(why) => format!("{why:?}"),
        Item::RowEnd(_) | Item::OpenEnd => String::new(),
        Item::Event(event) => match event {
            Event::Reading(Reading { measure, value, unit, event_time, origin, .. }) => {
                format!("{measure} {} {value} {unit} {event_time} {origin}", key(event))
            }
            Event::Listing(Listing { price, units_sold, seller, event_time, origin, .. }) => {
                format!(
                    "listing {} {price} {units_sold:?} {seller} {event_time} {origin}",
                    key(event)
                )
            }
            Event::OrderRow(OrderRow { units, price, title, origin, .. }) => {
                format!("order {} {units} x {price} {title} {origin}", key(event))
            }
            Event::DatasetRow(DatasetRow { dataset, kind, line, fields, .. }) => {
                format!("dataset {dataset} {kind:?} {line} {fields:?}")
            }
        },
    }
}
