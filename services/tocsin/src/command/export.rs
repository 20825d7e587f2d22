//! `tocsin export`: the embedded log as one file that can be carried to a cluster. The services may run
//! meanwhile. It never writes over anything.

use crate::backend::{self, of_log};
use crate::cli::ExportArgs;
use crate::exit::{Exit, Kind};
use crate::settings::{LogSettings, Settings};
use crate::{facts, hashes};
use anyhow::Context;
use std::path::Path;
use tocsin_stream::embedded::Archive;

/// Exports, and prints the hashes of what was exported.
///
/// # Errors
/// A log that is no file (exit code 3), a log that is not there or cannot be read, a file that exists
/// or cannot be written (4).
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let settings = Settings::if_any(args.place.config.as_deref(), facts::now())?;
    if !matches!(settings.log, LogSettings::Embedded(_)) {
        let text = "only an embedded log is exported: [log] names a Kafka cluster, which has tools of its own for copies, such as MirrorMaker";
        return Err(Exit::error(Kind::Configuration, text));
    }
    let file = &*args.file;
    if file.exists() {
        return Err(exists(file));
    }
    backend::existing_log(&settings, &args.place.data)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Under another name until it is whole: a file of this name is never half a log.
    let draft = tempfile::Builder::new()
        .prefix(".tocsin-export-")
        .tempfile_in(directory.unwrap_or(Path::new(".")))
        .with_context(|| format!("cannot write beside {}", file.display()))?;
    Archive::write(&args.place.data, draft.path()).map_err(of_log)?;
    let taken = hashes::take(&Archive::open(draft.path()).map_err(of_log)?)?;
    draft.persist_noclobber(file).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(file),
        _ => anyhow::anyhow!("cannot write {}: {}", file.display(), error.error),
    })?;
    hashes::print(&taken, args.json)
}

fn exists(file: &Path) -> anyhow::Error {
    let text = format!("{} exists, and nothing is written over it: name another", file.display());
    Exit::error(Kind::Unreachable, text)
}
