//! `tocsin up`: every service in one process, until it is told to stop.

use crate::backend::Backend;
use crate::cli::UpArgs;
use crate::facts;
use crate::runtime::{self, Node, Plan};
use crate::settings::Settings;
use tocsin_service::lifecycle;

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// Wrong configuration, a data directory or an address that is in use, a service that failed.
pub fn run(args: &UpArgs) -> anyhow::Result<()> {
    runtime::start_logging()?;
    let settings = Settings::load(&args.place.config, facts::now())?;
    let backend = Backend::whole(&settings, &args.place.data)?;
    let (admin, slot) = (args.admin, args.slot.slot);
    let plan = Plan { admin, slot, ..Plan::whole(&settings, args.listen) };
    let node = Node::run(settings, backend, plan)?;
    lifecycle::on_signals(&node.stop)?;
    eprintln!("tocsin: serving {}", node.url);
    node.wait()
}
