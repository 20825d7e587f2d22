//! `tocsin up`: every service in one process, until it is told to stop.

use crate::cli::UpArgs;
use crate::facts;
use crate::runtime::{self, Node};
use crate::settings::Settings;
use tocsin_service::lifecycle;

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// Wrong configuration, a data directory or an address that is in use, a service that failed.
pub fn run(args: &UpArgs) -> anyhow::Result<()> {
    runtime::start_logging()?;
    let settings = Settings::load(&args.place.config, facts::now())?;
    let node = Node::start(settings, &args.place.data, args.listen)?;
    lifecycle::on_signals(&node.stop)?;
    eprintln!("tocsin: serving {}", node.url);
    node.wait()
}
