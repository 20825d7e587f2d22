//! Filters of `rows`: any filter, and behind its first line end any document. It ends, within its steps.

use crate::target::Target;
use tocsin_ingest::jq::{Jq, ROWS_CAP};

/// Far fewer than a source has, so that many filters are tried.
const STEPS: u64 = 20_000;
/// Who runs Tocsin writes filters, and nobody nests them hundreds deep.
const FILTER_BYTES: usize = 300;
const DOCUMENT: &str = r#"{"a":[1,[2,[3]],{"b":"c","d":null}],"e":"0.5","f":[true]}"#;

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "jq", open: |_| Box::new(suffer) }]
}

fn suffer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (filter, document) = text.split_once('\n').unwrap_or((text, DOCUMENT));
    let compiled = Some(filter).filter(|text| text.len() < FILTER_BYTES).map(Jq::compile);
    let Some(Ok(filter)) = compiled else { return };
    match filter.rows_within(STEPS, document.as_bytes(), "f") {
        Ok(rows) => assert!(rows.len() <= ROWS_CAP),
        Err(error) => assert!(error.len() < 1_000, "{error}"),
    }
}
