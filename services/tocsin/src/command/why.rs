//! `tocsin why`: from a mail down to the bytes of the events behind it.

use crate::cli::WhyArgs;
use crate::exit::{Exit, Kind};
use crate::runtime;
use std::io::Write;
use tocsin_domain::wire::SchemaIds;
use tocsin_stream::embedded::Sync;

/// Prints the explanation.
///
/// # Errors
/// A mail that nobody knows (exit code 5), a data directory that cannot be opened (4).
pub fn run(args: &WhyArgs) -> anyhow::Result<()> {
    let log = runtime::open_existing(&args.data, Sync::Full)?;
    let store = runtime::open_store(&args.data)?;
    let id = args.message_id.trim_matches(['<', '>']);
    let why = tocsin_api::explain(id, &*store, &*log, &SchemaIds::default())
        .map_err(|error| Exit::error(Kind::Problems, error))?;
    let text = if args.json { serde_json::to_string(&why)? + "\n" } else { why.to_text() };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
