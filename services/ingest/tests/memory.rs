//! What documents take in memory that hold as many values as they may: less than a process of ingest
//! has, and no less than is told beforehand. A program of its own, as memory is the process's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::fs;
use support::config;
use tocsin_domain::Micros;
use tocsin_ingest::source::{File, Item, Mark};
use tocsin_ingest::sources;
use tocsin_ingest::weight::{WEIGHT_CAP, weigh};

/// The most that this process has had in memory so far, in MiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
}

const ITEMS: &str = "kind = \"json-lines\"\nevent = \"dataset-row\"\nitems = \"a\"\n";
const ROWS: &str = "kind = \"json-lines\"\nevent = \"dataset-row\"\nrows = \"{a}\"\n";

/// How many rows a document has for the source of kind json-lines that `text` says. Keeps nothing of them.
fn read(text: &str, bytes: &[u8]) -> Result<usize, String> {
    let (mut source, mut rows, mut content) = (sources::open(&config(text)).unwrap(), 0, bytes);
    let now = || Micros(1_700_000_000_000_000);
    let file = File { content: &mut content, name: "f", from: Mark::default(), now: &now };
    let read = source.read(file, &mut |item| {
        rows += usize::from(matches!(item, Item::RowEnd(_)));
        Ok(())
    });
    read.map(|()| rows).map_err(|error| error.to_string())
}

/// A list under `a` of so much of one thing that the document weighs no more than `most`.
fn document(of: &str, most: usize) -> String {
    let count = (most - 2_000) / weigh(of.as_bytes());
    let text = format!("{{\"a\":[{}0]}}", of.repeat(count));
    let weight = weigh(text.as_bytes());
    assert!((most - 4_000..=most).contains(&weight), "{of}: {weight}");
    text
}

/// It stays below the 512 MiB that a process of ingest has in a cluster, with the rest of it.
#[test]
fn no_document_takes_more_memory_than_a_process_has() {
    for of in [
        "{\"\":0},",
        "{\"abc\":\"xyz\"},",
        "[0],",
        "[\"\"],",
        "{\"a\":[{\"a\":0}]},",
        "0.5,",
        "\"a\",",
    ] {
        let text = document(of, WEIGHT_CAP);
        assert!(read(ITEMS, text.as_bytes()).is_ok(), "{of}");
        assert!(peak() < 360, "{of}: {} MiB", peak());
        let half = document(of, WEIGHT_CAP / 2 - 4_000);
        assert_eq!(read(ROWS, half.as_bytes()), Ok(1), "{of}");
        assert!(peak() < 360, "{of}, by a filter: {} MiB", peak());
        let error = read(ROWS, text.as_bytes()).unwrap_err();
        assert!(error.contains("a row of it, with all before: its"), "{of}: {error}");
    }
    for of in ["0,", "[", "{\"\":0},", "{\"a\":"] {
        let bomb = format!("{{\"a\":[{}", of.repeat((63 << 20) / of.len()));
        for source in [ITEMS, ROWS] {
            let error = read(source, bomb.as_bytes()).unwrap_err();
            assert!(error.contains("take more than 256 MiB in memory"), "{of}: {error}");
        }
    }
    let escaped = format!("{{\"a\":\"[{}0]\"}}", "0,".repeat(16 << 20));
    let from_text = ROWS.replace("{a}", ".a | fromjson");
    let error = read(&from_text, escaped.as_bytes()).unwrap_err();
    assert!(error.contains("takes more than 20000000 steps"), "{error}");
    assert!(peak() < 400, "{} MiB", peak());
}
