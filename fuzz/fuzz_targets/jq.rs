//! Any filter of `rows`, and behind its first line end any document: it ends, within its steps.

#![no_main]

use tocsin_ingest::jq::{Jq, ROWS_CAP};

/// Far fewer than a source has, so that many filters are tried.
const STEPS: u64 = 20_000;
const DOCUMENT: &str = r#"{"a":[1,[2,[3]],{"b":"c","d":null}],"e":"0.5","f":[true]}"#;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (filter, document) = text.split_once('\n').unwrap_or((text, DOCUMENT));
    // Who runs Tocsin writes filters, and nobody nests them hundreds deep.
    let compiled = Some(filter).filter(|text| text.len() < 300).map(Jq::compile);
    let Some(Ok(filter)) = compiled else { return };
    if let Ok(rows) = filter.rows_within(STEPS, document.as_bytes(), "f") {
        assert!(rows.len() <= ROWS_CAP);
    }
});
