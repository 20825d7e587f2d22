//! `tocsin ingest`, `detect`, `notify`, `project`, `api`: one service, until it is told to stop.
//! The very services of `tocsin up`, on a log and tables that other processes share.

use crate::backend::Backend;
use crate::cli::ServiceArgs;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::runtime::{self, Node, Plan};
use crate::services::SERVICES;
use crate::settings::Settings;
use std::net::SocketAddr;
use tocsin_service::{Stop, lifecycle};

/// Runs the service of that name until SIGINT or SIGTERM; `listen` is where the pages go.
///
/// # Errors
/// Wrong configuration, a log or an address that is in use or does not answer, a part that failed.
pub fn run(name: &str, args: &ServiceArgs, listen: Option<SocketAddr>) -> anyhow::Result<()> {
    runtime::start_logging()?;
    let settings = Settings::load(&args.config, facts::now())?;
    let service = SERVICES.into_iter().find(|service| service.name == name);
    let service = service.ok_or_else(|| anyhow::anyhow!("there is no service {name:?}"))?;
    if let Some(reason) = (service.idle)(&settings) {
        let text = format!("there is nothing to {name}: {reason}");
        return Err(Exit::error(Kind::Configuration, text));
    }
    // From here on: the first process of a container is not ended by a signal that nobody takes.
    let stop = Stop::new();
    lifecycle::on_signals(&stop)?;
    let backend = Backend::shared(&settings, args.data.as_deref(), service.tables)?;
    let (slot, admin) = (args.slot.slot, Some(args.admin));
    let plan = Plan { services: vec![service], slot, listen, admin, stop, ..Plan::default() };
    let node = Node::run(settings, backend, plan)?;
    if !node.url.is_empty() {
        eprintln!("tocsin: serving {}", node.url);
    }
    if let Some(admin) = node.admin {
        eprintln!("tocsin: {name} is running, probes at http://{admin}");
    }
    node.wait()
}
