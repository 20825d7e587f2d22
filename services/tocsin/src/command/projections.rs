//! `tocsin projections`: tables are only views of the log; they can be made, dropped and made again,
//! and compared with what the log says.

pub mod verify;

use crate::backend;
use crate::cli::{ProjectionsCommand, Whereabouts};
use crate::facts;
use crate::pipeline::settle;
use crate::schema_ids;
use crate::settings::{LogSettings, Settings};
use std::io::Write;
use tocsin_project::{Prepared, ProjectStep, StoreSink};
use tocsin_stream::processor::{Options, Processor};

/// Runs one of them.
///
/// # Errors
/// A log or store that is in use or cannot be opened (exit code 4), tables that differ (5).
pub fn run(command: &ProjectionsCommand) -> anyhow::Result<()> {
    match command {
        ProjectionsCommand::Rebuild(place) => rebuild(place),
        ProjectionsCommand::Migrate(place) => migrate(place),
        ProjectionsCommand::Verify(place) => verify::run(place),
    }
}

fn rebuild(place: &Whereabouts) -> anyhow::Result<()> {
    let mut settings = Settings::if_any(place.config.as_deref(), facts::now())?;
    let log = backend::existing_log(&settings, &place.data)?;
    // A running process would go on writing into the tables that are being dropped.
    let lock = backend::lock(&settings, &place.data)?;
    schema_ids::learn(&mut settings, place.there())?;
    let store = backend::store(&settings, &place.data)?;
    tocsin_project::rebuild(&*log, &*store)?;
    let gone = match verify::cut(&*log)?.is_empty() {
        true => "",
        false => "; what retention has deleted from the log is no longer in them",
    };
    if matches!(settings.log, LogSettings::Kafka(_)) {
        return print(&format!(
            "dropped the tables and made them anew; `project` fills them from the start of the log; nothing is sent{gone}\n",
        ));
    }
    let snapshots = lock.is_some().then(|| backend::snapshots(&*log, &place.data));
    let options = Options { snapshots, ..Options::default() };
    let step = ProjectStep::new(settings.schema_ids.clone());
    let sink = Box::new(StoreSink::new(store));
    let mut processor = Processor::new(tocsin_project::topology(), log, step, sink, options)?;
    let records = fill(&mut processor)?;
    print(&format!("rebuilt the tables from {records} records; nothing was sent{gone}\n"))
}

fn migrate(place: &Whereabouts) -> anyhow::Result<()> {
    let settings = Settings::if_any(place.config.as_deref(), facts::now())?;
    let log = backend::log(&settings, &place.data)?;
    let _lock = backend::lock(&settings, &place.data)?;
    let store = backend::store(&settings, &place.data)?;
    match tocsin_project::prepare(&*log, &*store)? {
        Prepared::Kept => print("the tables are those of this version; nothing was changed\n"),
        Prepared::Reset => {
            print("made the tables; `project` fills them from the start of the log\n")
        }
    }
}

/// Reads everything that is there into the tables; gives how many records that were.
fn fill(processor: &mut Processor<ProjectStep>) -> anyhow::Result<u64> {
    let mut records = 0;
    settle(processor, facts::now(), &mut |turn| records += turn.records)?;
    Ok(records)
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
