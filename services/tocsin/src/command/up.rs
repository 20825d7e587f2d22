//! `tocsin up`: every service in one process, until it is told to stop.

use crate::backend::Backend;
use crate::cli::UpArgs;
use crate::facts;
use crate::runtime::{self, Node, Plan};
use crate::schema_ids;
use crate::settings::Settings;
use tocsin_service::{Stop, lifecycle};

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// Wrong configuration, a data directory or an address that is in use, a service that failed.
pub fn run(args: &UpArgs) -> anyhow::Result<()> {
    runtime::start_logging()?;
    let mut settings = Settings::load(&args.place.config, facts::now())?;
    let stop = Stop::new();
    lifecycle::on_signals(&stop)?;
    let backend = Backend::whole(&settings, &args.place.data)?;
    schema_ids::learn(&mut settings, Some(&args.place.data))?;
    let (admin, slot) = (args.admin, args.slot.slot);
    let plan = Plan { admin, slot, stop, ..Plan::whole(&settings, args.listen) };
    let node = Node::run(settings, backend, plan)?;
    eprintln!("tocsin: serving {}", node.url);
    if let Some(admin) = node.admin {
        eprintln!("tocsin: probes at http://{admin}");
    }
    node.wait()
}
