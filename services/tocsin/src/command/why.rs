//! `tocsin why`: from a mail down to the bytes of the events behind it.

use crate::backend;
use crate::cli::WhyArgs;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::schema_ids;
use crate::settings::Settings;
use std::io::Write;

/// Prints the explanation.
///
/// # Errors
/// A mail that nobody knows (exit code 5), a data directory that cannot be opened (4).
pub fn run(args: &WhyArgs) -> anyhow::Result<()> {
    let mut settings = Settings::if_any(args.place.config.as_deref(), facts::now())?;
    let log = backend::existing_log(&settings, &args.place.data)?;
    let store = backend::store(&settings, &args.place.data)?;
    if let Err(error) = schema_ids::learn(&mut settings, args.place.there()) {
        eprintln!("tocsin: events that a registry's id frames are shown as bytes: {error:#}");
    }
    let id = args.message_id.trim_matches(['<', '>']);
    let why = tocsin_api::explain(id, &*store, &*log, &settings.schema_ids)
        .map_err(|error| Exit::error(Kind::Problems, error))?;
    let text = if args.json { serde_json::to_string(&why)? + "\n" } else { why.to_text() };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
