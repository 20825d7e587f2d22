//! The sources that there are. To add one: a new file, its `mod` and its line in [`KINDS`].

mod csv;
pub(crate) mod json_lines;
pub(crate) mod topic;

#[cfg(test)]
pub(crate) mod testing;

use crate::settings::SourceConfig;
use crate::source::Source;
use crate::upstream::Upstream;

/// A kind of source, as `kind = "…"` names it.
pub struct Kind {
    /// Its name in `tocsin.toml`.
    pub name: &'static str,
    /// Keys of `[[sources]]` that only this kind understands.
    pub keys: &'static [&'static str],
    /// Makes one; says what is wrong with its configuration if it cannot.
    pub open: fn(&SourceConfig) -> Result<Box<dyn Source>, String>,
    /// Makes what is asked for its files, where somebody can be asked.
    pub upstream: Option<OpenUpstream>,
}

/// Makes an upstream; says what is wrong with its configuration if it cannot.
pub type OpenUpstream = fn(&SourceConfig) -> Result<Box<dyn Upstream>, String>;

/// All of them.
pub const KINDS: &[Kind] = &[csv::KIND, json_lines::KIND, topic::KIND];

/// The source that `config` describes.
///
/// # Errors
/// What is wrong with it.
pub fn open(config: &SourceConfig) -> Result<Box<dyn Source>, String> {
    let names = || KINDS.iter().map(|kind| kind.name);
    let kind = KINDS.iter().find(|kind| kind.name == config.kind).ok_or_else(|| {
        let allowed = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!("kind `{}` is not known; allowed: {allowed}", config.kind)
    })?;
    let foreign = KINDS
        .iter()
        .flat_map(|other| other.keys)
        .find(|key| config.given(key) && !kind.keys.contains(key));
    match foreign {
        Some(key) => Err(format!("`{key}` is not a key of a source of kind `{}`", kind.name)),
        None => (kind.open)(config),
    }
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
        let mut listed: Vec<_> = KINDS.iter().map(|kind| kind.name.replace('-', "_")).collect();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
