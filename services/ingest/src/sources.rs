//! The sources that there are. To add one: a new file, its `mod` and its line in [`KINDS`].

mod airnow;
mod airnow_daily;
mod airnow_hourly;
mod aqicn;
mod csv;
mod ebay;
mod ebay_finding;
mod geonames;
mod http;
pub(crate) mod json_lines;
mod mercadolibre;
mod mercadona;
mod openaq;
pub(crate) mod topic;
mod waqi;

#[cfg(test)]
pub(crate) mod testing;

use crate::settings::SourceConfig;
use crate::source::Source;
use crate::upstream::Upstream;

/// Makes an upstream; says what is wrong with its configuration if it cannot.
pub type OpenUpstream = fn(&SourceConfig) -> Result<Box<dyn Upstream>, String>;

/// A kind of source, as `kind = "…"` names it.
pub struct Kind {
    /// Its name in `tocsin.toml`.
    pub name: &'static str,
    /// Keys of `[[sources]]` that only this kind understands.
    pub keys: &'static [&'static str],
    /// What it knows of its upstream, as the TOML of a source; empty if it knows of none.
    pub preset: &'static str,
    /// Makes one; says what is wrong with its configuration if it cannot.
    pub open: fn(&SourceConfig) -> Result<Box<dyn Source>, String>,
    /// Makes what is asked for its files, where somebody can be asked.
    pub upstream: Option<OpenUpstream>,
}

/// All of them.
pub const KINDS: &[Kind] = &[
    airnow::KIND,
    airnow_daily::KIND,
    airnow_hourly::KIND,
    aqicn::KIND,
    csv::KIND,
    ebay::KIND,
    ebay_finding::KIND,
    geonames::KIND,
    http::KIND,
    json_lines::KIND,
    mercadolibre::KIND,
    mercadona::KIND,
    openaq::KIND,
    topic::KIND,
    waqi::KIND,
];

/// The source that `config` describes.
///
/// # Errors
/// What is wrong with it.
pub fn open(config: &SourceConfig) -> Result<Box<dyn Source>, String> {
    let kind = kind_of(config)?;
    (kind.open)(&complete(config)?)
}

/// What is asked for the files of the source that `config` describes; `None` if its kind asks
/// nobody.
///
/// # Errors
/// What is wrong with it.
pub fn upstream(config: &SourceConfig) -> Result<Option<Box<dyn Upstream>>, String> {
    let kind = kind_of(config)?;
    let complete = complete(config)?;
    kind.upstream.map(|upstream| upstream(&complete)).transpose()
}

/// `config` with all that its kind knows.
///
/// # Errors
/// What is wrong with it.
pub fn complete(config: &SourceConfig) -> Result<SourceConfig, String> {
    let kind = kind_of(config)?;
    let foreign = KINDS
        .iter()
        .flat_map(|other| other.keys)
        .find(|key| config.given(key) && !kind.keys.contains(key));
    match foreign {
        Some(key) => Err(format!("`{key}` is not a key of a source of kind `{}`", kind.name)),
        None if kind.preset.is_empty() => Ok(config.clone()),
        None => config.over(kind.preset),
    }
}

fn kind_of(config: &SourceConfig) -> Result<&'static Kind, String> {
    KINDS.iter().find(|kind| kind.name == config.kind).ok_or_else(|| {
        let allowed = KINDS.iter().map(|kind| format!("`{}`", kind.name)).collect::<Vec<_>>();
        format!("kind `{}` is not known; allowed: {}", config.kind, allowed.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape that makes adding one cheap: every member file is in the list, and only those.
    #[test]
    fn every_file_is_in_the_list() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sources");
        let files = std::fs::read_dir(directory).unwrap();
        let stem =
            |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut found: Vec<_> = files.map(|f| stem(f.unwrap().path())).collect();
        found.retain(|name| name != "testing");
        found.sort_unstable();
        found.dedup();
        let mut listed: Vec<_> = KINDS.iter().map(|kind| kind.name.replace('-', "_")).collect();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
