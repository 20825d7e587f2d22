//! `tocsin.toml`: any text as a whole configuration. It is read or refused, with where and why; what is read
//! can be opened, or says as well why not.

use crate::target::Target;
use tocsin::settings::Settings;
use tocsin_domain::Micros;
use tocsin_ingest::sources;

/// Who runs Tocsin writes filters, and nobody nests them hundreds deep.
const FILTER_BYTES: usize = 300;

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "configuration", open: |_| Box::new(suffer) }]
}

fn suffer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let settings = match Settings::parse(text, "tocsin.toml", Micros(1_700_000_000_000_000)) {
        Ok(settings) => settings,
        Err(error) => {
            let said = format!("{error:#}");
            assert!(said.contains("tocsin.toml") || said.contains("[[watches]]"), "{said}");
            return;
        }
    };
    for source in &settings.sources {
        let filter = source.rows.as_ref().map_or(0, String::len);
        if filter < FILTER_BYTES {
            _ = sources::open(source);
            _ = sources::upstream(source);
        }
    }
    for set in &settings.datasets {
        assert!(settings.dataset(&set.name).is_ok() && set.max_rows() > 0 && set.max_bytes() > 0);
    }
    assert!(!settings.tenant.is_empty());
}
