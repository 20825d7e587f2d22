//! Every example of `docs/mapping.md` does what it shows: its configuration reads its input, and
//! what comes is what stands below it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use support::root;
use tocsin_domain::Micros;
use tocsin_ingest::source::{Event, File, Item, Mark, Skipped};
use tocsin_ingest::{section, sources};
use tocsin_service::config::Document;

/// A fenced block: what stands behind the fence, the line that it begins on, and its text.
fn blocks(text: &str) -> Vec<(&str, usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let body: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            found.push((kind, number + 2, body.join("\n") + "\n"));
        }
    }
    found
}

/// What comes of an input, a line for each item.
fn events(config: &str, name: &str, input: &str) -> Result<Vec<String>, String> {
    let text = format!("[[sources]]\nname = \"example\"\n{config}");
    let document = Document::parse(&text, "tocsin.toml").map_err(|e| e.to_string())?;
    let config = section(&document).map_err(|e| e.to_string())?.remove(0);
    let mut source = sources::open(&config)?;
    let (mut found, mut ids, mut content) = (Vec::new(), BTreeSet::new(), input.as_bytes());
    let now = || Micros(0);
    let file = File { content: &mut content, name, from: Mark::default(), now: &now };
    let read = source.read(file, &mut |item| {
        let line = match item {
            Item::RowEnd(_) | Item::OpenEnd => return Ok(()),
            Item::DeadLetter(letter) => format!("dead letter: {}", letter.reason),
            Item::Skipped(Skipped::NoValue) => "left out: no value".to_owned(),
            Item::Skipped(Skipped::Filtered) => "left out: filtered".to_owned(),
            Item::Skipped(Skipped::Blank) => "left out: blank".to_owned(),
            Item::Event(event) => line_of(&event, &mut ids),
        };
        found.push(line);
        Ok(())
    });
    read.map_err(|e| e.to_string())?;
    Ok(found)
}

fn line_of(event: &Event<'_>, ids: &mut BTreeSet<String>) -> String {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let (id, line) = match event {
        Event::Reading(r) => {
            let unit = or_dash(r.unit);
            let what = format!("reading {} {} {} {unit}", r.subject, r.measure, r.value);
            (r.id, format!("{what} at {}", r.event_time))
        }
        Event::Listing(l) => {
            let sold = l.units_sold.map_or("unknown".to_owned(), |sold| sold.to_string());
            let what =
                format!("listing {} {} sold {sold} by {}", l.listing, l.price, or_dash(l.seller));
            (l.id, format!("{what} at {}", l.event_time))
        }
        other => panic!("no example has {other:?} yet"),
    };
    let new = ids.insert(id.to_string());
    if new { line } else { format!("{line}, a repeat") }
}

#[test]
fn every_example_does_what_it_shows() {
    let text = fs::read_to_string(root().join("docs/mapping.md")).unwrap();
    let blocks = blocks(&text);
    let (mut config, mut input, mut shown) = (String::new(), None, 0);
    for (kind, line, body) in &blocks {
        let mut words = kind.split(' ');
        match words.next().unwrap_or_default() {
            "toml" => (config, input) = (body.clone(), None),
            "csv" | "json" => input = Some((words.next().unwrap_or("example"), body)),
            "events" => {
                let (name, body_in) = input.take().unwrap();
                let found = events(&config, name, body_in);
                let found = found.unwrap_or_else(|e| panic!("docs/mapping.md:{line}: {e}"));
                let wanted: Vec<&str> = body.lines().collect();
                assert_eq!(found, wanted, "docs/mapping.md:{line}");
                shown += 1;
            }
            "error" => {
                let error = events(&config, "example", "").unwrap_err();
                assert!(error.starts_with("tocsin.toml:"), "docs/mapping.md:{line}: {error}");
                assert!(error.contains(body.trim_end()), "docs/mapping.md:{line}: {error}");
                shown += 1;
            }
            other => panic!("docs/mapping.md:{line}: a block of {other:?} is no test"),
        }
    }
    assert!(shown >= 15, "only {shown} examples are shown");
}
