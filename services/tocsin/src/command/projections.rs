//! `tocsin projections`: tables are only views of the log; they can be dropped and made again.

use crate::cli::ProjectionsCommand;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::pipeline::settle;
use crate::runtime;
use std::io::Write;
use std::path::Path;
use tocsin_project::{ProjectStep, StoreSink};
use tocsin_stream::embedded::{DirectoryLock, Sync};
use tocsin_stream::processor::{Options, Processor};

/// Runs one of them.
///
/// # Errors
/// A directory that is in use or cannot be opened (exit code 4).
pub fn run(command: &ProjectionsCommand) -> anyhow::Result<()> {
    let ProjectionsCommand::Rebuild { data } = command;
    rebuild(data)
}

fn rebuild(data: &Path) -> anyhow::Result<()> {
    let log = runtime::open_existing(data, Sync::Full)?;
    // A running process would go on writing into the tables that are being dropped.
    let _lock = DirectoryLock::take(data).map_err(|error| Exit::error(Kind::Unreachable, error))?;
    let store = runtime::open_store(data)?;
    tocsin_project::rebuild(&*log, &*store)?;
    let mut processor = Processor::new(
        tocsin_project::topology(),
        log,
        ProjectStep::default(),
        Box::new(StoreSink::new(store)),
        Options { snapshots: Some(data.join("snapshots")), ..Options::default() },
    )?;
    let mut records = 0;
    settle(&mut processor, facts::now(), &mut |turn| records += turn.records)?;
    let text = format!("rebuilt the tables from {records} records; nothing was sent\n");
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
