//! `tocsin demo`: recorded real data, replayed at a pace that people can follow, into the same
//! services that `tocsin up` runs. The configuration and the data are part of the program.

use crate::backend::Backend;
use crate::cli::DemoArgs;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::runtime::{self, Node, Plan};
use crate::settings::Settings;
use anyhow::Context;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tocsin_ingest::{Import, SourceConfig};
use tocsin_service::{Stop, lifecycle};
use tocsin_stream::Log;

const CONFIG: &str = include_str!("../../../../demo/tocsin.toml");

/// Each file goes to the source whose `files` fit its name.
const FILES: [(&str, &[u8]); 3] = [
    ("alabama_pm25_2023.csv.gz", include_bytes!("../../../../demo/alabama_pm25_2023.csv.gz")),
    ("beijing_pm25_2013.csv.gz", include_bytes!("../../../../demo/beijing_pm25_2013.csv.gz")),
    (
        "online_retail_2010_12.csv.gz",
        include_bytes!("../../../../demo/online_retail_2010_12.csv.gz"),
    ),
];

/// Between two rows of a file.
const PACE: Duration = Duration::from_millis(25);

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// An address or a data directory that is in use, a service that failed.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    runtime::start_logging()?;
    let settings = Settings::parse(CONFIG, "the demo's configuration", facts::now())?;
    let temporary;
    let data = match &args.data {
        Some(data) => data.clone(),
        None => {
            temporary = tempfile::tempdir().context("cannot make a directory for the demo")?;
            temporary.path().to_owned()
        }
    };
    claim(&data)?;
    let sources = settings.sources.clone();
    let backend = Backend::whole(&settings, &data)?;
    let plan = Plan { demo: true, ..Plan::whole(&settings, args.listen) };
    let node = Node::run(settings, backend, plan)?;
    lifecycle::on_signals(&node.stop)?;
    greet(&node.url)?;
    for (name, bytes) in FILES {
        let path = unpack(&data, name, bytes)?;
        let source = sources.iter().find(|source| source.takes(&path));
        let source = source.with_context(|| format!("no source of the demo takes {name}"))?;
        replay(&node.log, source, path, &node.stop)?;
    }
    node.wait()
}

/// The demo declares its own watches, so it must not run on somebody's data.
fn claim(data: &Path) -> anyhow::Result<()> {
    let mark = data.join("demo");
    if data.join("log.db").exists() && !mark.exists() {
        let text =
            format!("{} holds data that are not the demo's; choose another --data", data.display());
        return Err(Exit::error(Kind::Unreachable, text));
    }
    std::fs::create_dir_all(data).and_then(|()| std::fs::write(&mark, "")).with_context(|| {
        format!("cannot keep the demo in {}; choose another --data", data.display())
    })
}

fn greet(url: &str) -> anyhow::Result<()> {
    let text = format!(
        "Tocsin is replaying recorded air-quality readings and shop orders.\n\n  open   {url}/inbox\n  why    each mail there has a link that says why it was sent\n  stop   Ctrl-C\n"
    );
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn unpack(data: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let directory = data.join("recorded");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Imports a file row by row on a thread of its own. A demo on a kept directory goes on where it
/// was.
fn replay(
    log: &Arc<dyn Log>,
    source: &SourceConfig,
    path: PathBuf,
    stop: &Stop,
) -> anyhow::Result<()> {
    let import = Import::new(log.clone(), source, Arc::new(facts::now));
    let mut import = import.map_err(anyhow::Error::msg)?.rows_at_once(1);
    let token = stop.clone();
    let work = move || match import.import(&path, &mut |_| !token.sleep(PACE)) {
        Err(tocsin_ingest::IngestError::Stopped) => Ok(()),
        done => done.map(drop),
    };
    lifecycle::spawn(&format!("replay-{}", source.name), stop, work)?;
    Ok(())
}
