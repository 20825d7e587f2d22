//! `tocsin hash`: what each partition of a log holds, as hashes. Reads all of it and changes nothing.

use crate::cli::HashArgs;
use crate::settings::Settings;
use crate::{backend, facts, hashes};
use std::sync::Arc;
use tocsin_stream::Log;
use tocsin_stream::embedded::Archive;

/// Prints the hashes of the log that the configuration names, or of an exported one.
///
/// # Errors
/// A log or a file that cannot be read; exit code 3 or 4.
pub fn run(args: &HashArgs) -> anyhow::Result<()> {
    let log: Arc<dyn Log> = match &args.file {
        Some(file) => Arc::new(Archive::open(file).map_err(backend::of_log)?),
        None => {
            let settings = Settings::if_any(args.place.config.as_deref(), facts::now())?;
            backend::existing_log(&settings, &args.place.data)?
        }
    };
    hashes::print(&hashes::take(&*log)?, args.json)
}
