//! A running process: some services or all of them, a thread for each part, HTTP on tokio. Services
//! share topics only; nothing here calls from one into another.

use crate::backend::{Backend, Clean};
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::schema_desk::Desk;
use crate::schema_ids;
use crate::service::{Host, Service};
use crate::services::SERVICES;
use crate::settings::Settings;
use crate::vitals::Vitals;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tocsin_service::{Stop, admin, telemetry};
use tocsin_stream::Log;
use tokio::runtime::Runtime;

/// How often the log is cleaned.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// What a process is to do, and where.
#[derive(Default)]
pub struct Plan {
    /// The services; those with nothing to do must have been left out.
    pub services: Vec<&'static Service>,
    /// Whether these are all that there are anywhere.
    pub whole: bool,
    /// Which one this process is among those of its service.
    pub slot: u32,
    /// Where to serve the pages; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Where to answer probes and scrapes; port 0 takes a free one.
    pub admin: Option<SocketAddr>,
    /// Whether the inbox reloads itself.
    pub demo: bool,
    /// Ends it; whoever watches for signals has it before anything is started.
    pub stop: Stop,
}

impl Plan {
    /// Every service that has something to do, with the pages on `listen`.
    pub fn whole(settings: &Settings, listen: SocketAddr) -> Plan {
        let busy = |service: &&Service| (service.idle)(settings).is_none();
        let services = SERVICES.into_iter().filter(busy).collect();
        Plan { services, whole: true, listen: Some(listen), ..Plan::default() }
    }
}

/// A running process.
pub struct Node {
    /// Where the pages are, `http://127.0.0.1:8080`; empty if there are none.
    pub url: String,
    /// Where probes and scrapes are answered.
    pub admin: Option<SocketAddr>,
    /// Ends it.
    pub stop: Stop,
    /// What it runs on.
    pub log: Arc<dyn Log>,
    threads: Vec<JoinHandle<()>>,
    http: Runtime,
    /// Above all its directory lock, which goes last.
    _backend: Backend,
}

/// Logging, at the level of the environment.
///
/// # Errors
/// A level that is none; exit code 3.
pub fn start_logging() -> anyhow::Result<()> {
    let level = std::env::var(telemetry::LEVEL_VARIABLE).ok();
    telemetry::init(level.as_deref()).map_err(|error| Exit::error(Kind::Configuration, error))
}

impl Node {
    /// Starts every service on the data directory and serves the pages on `listen`.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn start(settings: Settings, data: &Path, listen: SocketAddr) -> anyhow::Result<Node> {
        let plan = Plan::whole(&settings, listen);
        let backend = Backend::whole(&settings, data)?;
        Node::run(settings, backend, plan)
    }

    /// Starts what the plan says.
    ///
    /// # Errors
    /// An address that is in use or a log that does not answer (exit code 4), a channel that is
    /// configured wrong (3).
    pub fn run(settings: Settings, backend: Backend, plan: Plan) -> anyhow::Result<Node> {
        let listener = plan.listen.map(|at| bind(at, "--listen")).transpose()?;
        let admin = plan.admin.map(|at| bind(at, "--admin")).transpose()?;
        let url = match &listener {
            Some(listener) => format!("http://{}", listener.local_addr()?),
            None => String::new(),
        };
        let loops: Vec<&str> = plan.services.iter().flat_map(|one| one.parts).copied().collect();
        let data = backend.data.as_deref();
        let schemas = settings.registry.as_ref().map(|options| Arc::new(Desk::new(options, data)));
        let mut host = Host {
            settings,
            schemas,
            backend,
            whole: plan.whole,
            slot: plan.slot,
            url: url.clone(),
            listener,
            beside: axum::Router::new(),
            demo: plan.demo,
            stop: plan.stop,
            vitals: Vitals::of(&loops),
            runtime: http()?,
            threads: Vec::new(),
        };
        let address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(listener) = admin {
            let vitals = &host.vitals;
            let router = admin::router(vitals.health.clone(), vitals.metrics.clone());
            host.serve(router, listener)?;
        }
        let started = start(&mut host, &plan.services);
        let node = Node::of(host, url, address);
        if started.is_err() {
            // What has begun already ends as it always does.
            node.stop.stop();
            let _ = node.wait();
            return Err(started.err().unwrap_or_else(|| anyhow::anyhow!("cannot start")));
        }
        Ok(node)
    }

    fn of(host: Host, url: String, admin: Option<SocketAddr>) -> Node {
        let log = host.log();
        let Host { stop, threads, runtime, backend, .. } = host;
        Node { url, admin, stop, log, threads, http: runtime, _backend: backend }
    }

    /// Waits for the end, softly: every service commits what it has polled.
    ///
    /// # Errors
    /// Why it ended, if something failed.
    pub fn wait(self) -> anyhow::Result<()> {
        self.stop.join();
        for thread in self.threads {
            // A thread that panicked has already told the token.
            let _ = thread.join();
        }
        self.http.shutdown_timeout(Duration::from_secs(2));
        match self.stop.failure() {
            Some(reason) => Err(anyhow::anyhow!(reason)),
            None => Ok(()),
        }
    }
}

fn start(host: &mut Host, services: &[&'static Service]) -> anyhow::Result<()> {
    if !knows_ids(host, services)? {
        return Ok(());
    }
    for service in services {
        (service.start)(host)?;
    }
    if let Some(desk) = host.schemas.clone() {
        let stop = host.stop.clone();
        host.spawn("schemas", move || {
            desk.run(&stop);
            Ok::<(), String>(())
        })?;
    }
    if let Some(clean) = host.backend.clean.take() {
        let stop = host.stop.clone();
        host.spawn("clean", move || {
            keep_clean(&clean, &stop);
            Ok::<(), String>(())
        })?;
    }
    if let Some(store) = host.backend.store.clone() {
        let (vitals, stop) = (host.vitals.clone(), host.stop.clone());
        host.spawn("store vitals", move || {
            vitals.run_store(&*store, &stop);
            Ok::<(), String>(())
        })?;
    }
    let (vitals, log, stop) = (host.vitals.clone(), host.log(), host.stop.clone());
    host.spawn("vitals", move || {
        vitals.run(&*log, &stop);
        Ok::<(), String>(())
    })
}

/// Waits until it is known what the ids of the schema registry mean, if anybody here needs it; `false` if
/// the process is to end. Where everything runs in one process, that was asked before.
fn knows_ids(host: &mut Host, services: &[&'static Service]) -> anyhow::Result<bool> {
    if host.whole || host.settings.registry.is_none() || !services.iter().any(|one| one.facts) {
        return Ok(true);
    }
    let (health, stop) = (host.vitals.health.clone(), host.stop.clone());
    let tell = |state| health.set("schema ids", state);
    schema_ids::learn_patiently(&mut host.settings, host.backend.data.as_deref(), &stop, &tell)
}

fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let text = format!("cannot listen on {address}: {error}; choose another with {option}");
        Exit::error(Kind::Unreachable, text)
    })
}

fn http() -> std::io::Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).thread_name("http").enable_all().build()
}

fn keep_clean(clean: &Clean, stop: &Stop) {
    while !stop.sleep(CLEAN_EVERY) {
        if let Err(error) = clean(facts::now()) {
            tracing::warn!(%error, "cannot clean the log now; trying again later");
        }
    }
}
