//! Every service in one process: a thread each over the same log, the pages on tokio. Services
//! share topics only; nothing here calls from one into another.

use crate::exit::{Exit, Kind};
use crate::facts;
use crate::settings::Settings;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tocsin_api::{App, Ready, Rendered};
use tocsin_detect::DetectStep;
use tocsin_domain::topics::Topics;
use tocsin_notify::channels::{self, Channels};
use tocsin_notify::deliver::{self, DeliverStep};
use tocsin_notify::matching::{self, MatchStep};
use tocsin_notify::render::{self, Site};
use tocsin_notify::retry::Retry;
use tocsin_notify::send::{self, Sender};
use tocsin_project::{ProjectStep, StoreSink};
use tocsin_service::{Metrics, Stop, lifecycle, telemetry};
use tocsin_store::{SqliteStore, Store};
use tocsin_stream::Log;
use tocsin_stream::embedded::{DirectoryLock, EmbeddedLog, Options as LogOptions, Sync};
use tocsin_stream::processor::{Options, Processor, Sink};
use tocsin_stream::step::Step;
use tocsin_stream::topology::Topology;

/// How often the log is cleaned: retention, compaction, merging.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// The services that must have their state before the process is ready.
const SERVICES: [&str; 4] = ["detect", "match", "deliver", "project"];

/// A running process.
pub struct Node {
    /// Where the pages are, `http://127.0.0.1:8080`.
    pub url: String,
    /// Ends it.
    pub stop: Stop,
    /// What it runs on.
    pub log: Arc<dyn Log>,
    threads: Vec<JoinHandle<()>>,
    server: tokio::runtime::Runtime,
    _lock: DirectoryLock,
}

/// Logging, at the level of the environment.
///
/// # Errors
/// A level that is none; exit code 3.
pub fn start_logging() -> anyhow::Result<()> {
    let level = std::env::var(telemetry::LEVEL_VARIABLE).ok();
    telemetry::init(level.as_deref()).map_err(|error| Exit::error(Kind::Configuration, error))
}

/// The embedded log of a data directory, with every topic.
///
/// # Errors
/// If it cannot be opened; exit code 4.
pub fn open_log(data: &Path, sync: Sync) -> anyhow::Result<Arc<dyn Log>> {
    Ok(open_embedded(data, sync)?)
}

/// The same, for commands that only make sense where something has run before.
///
/// # Errors
/// If there is no log, or it cannot be opened; exit code 4.
pub fn open_existing(data: &Path, sync: Sync) -> anyhow::Result<Arc<dyn Log>> {
    if !data.join("log.db").is_file() {
        let text = format!(
            "there is no Tocsin data in {}; name the directory with --data",
            data.display()
        );
        return Err(Exit::error(Kind::Unreachable, text));
    }
    open_log(data, sync)
}

fn open_embedded(data: &Path, sync: Sync) -> anyhow::Result<Arc<EmbeddedLog>> {
    let unreachable = |error| Exit::error(Kind::Unreachable, error);
    let options = LogOptions { sync, ..LogOptions::default() };
    let log = EmbeddedLog::open(data, options).map_err(unreachable)?;
    log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).map_err(unreachable)?;
    Ok(log)
}

/// The tables of a data directory.
///
/// # Errors
/// If they cannot be opened; exit code 4.
pub fn open_store(data: &Path) -> anyhow::Result<Arc<dyn Store>> {
    match SqliteStore::open(data) {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(Exit::error(Kind::Unreachable, error)),
    }
}

impl Node {
    /// Starts every service on the data directory and serves the pages on `listen`.
    ///
    /// # Errors
    /// A directory or an address that is in use (exit code 4), a channel that is configured wrong
    /// (3).
    pub fn start(settings: Settings, data: &Path, listen: SocketAddr) -> anyhow::Result<Node> {
        Node::start_as(settings, data, listen, false)
    }

    /// The same; `demo` makes the inbox reload itself.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_as(
        settings: Settings,
        data: &Path,
        listen: SocketAddr,
        demo: bool,
    ) -> anyhow::Result<Node> {
        let unreachable = |text: String| Exit::error(Kind::Unreachable, text);
        let lock = DirectoryLock::take(data).map_err(|error| unreachable(error.to_string()))?;
        let embedded = open_embedded(data, settings.sync)?;
        let log: Arc<dyn Log> = embedded.clone();
        let store = open_store(data)?;
        tocsin_project::prepare(&*log, &*store)?;
        facts::declare(&*log, &settings.conditions, &settings.watches)?;

        let listener = std::net::TcpListener::bind(listen).map_err(|error| {
            unreachable(format!("cannot listen on {listen}: {error}; choose another with --listen"))
        })?;
        let url = format!("http://{}", listener.local_addr()?);
        let channels = channels::open(&settings.channels, &url, &data.join("mailbox"))
            .map_err(|error| Exit::error(Kind::Configuration, error))?;

        let (stop, metrics) = (Stop::new(), Metrics::new());
        let ready = Ready::wait_for(&SERVICES);
        let site = channels.site.clone();
        let services = Services {
            log: log.clone(),
            data: data.to_owned(),
            stop: stop.clone(),
            metrics: metrics.clone(),
            ready: ready.clone(),
        };
        let mut threads = services.start(&settings, channels, store.clone())?;
        threads.push(clean(&embedded, &stop)?);
        threads.push(services.meter()?);

        let mut app = App::new(log.clone(), store, metrics, render_for_pages(site));
        (app.ready, app.tenant, app.demo) = (ready, settings.tenant.clone(), demo);
        app.ids = settings.schema_ids.clone();
        let server = serve(app, listener, &stop)?;
        Ok(Node { url, stop, log, threads, server, _lock: lock })
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
        self.server.shutdown_timeout(Duration::from_secs(2));
        match self.stop.failure() {
            Some(reason) => Err(anyhow::anyhow!(reason)),
            None => Ok(()),
        }
    }
}

/// What the services have in common.
struct Services {
    log: Arc<dyn Log>,
    data: std::path::PathBuf,
    stop: Stop,
    metrics: Arc<Metrics>,
    ready: Ready,
}

impl Services {
    fn start(
        &self,
        settings: &Settings,
        channels: Channels,
        store: Arc<dyn Store>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let ids = || settings.schema_ids.clone();
        let detect = DetectStep::new(settings.lateness.clone()).with_schema_ids(ids());
        let retry = Retry::default();
        let mail_domain = channels.site.mail_domain().to_owned();
        let deliver = DeliverStep::new(deliver::Options { mail_domain, retry }, ids());
        let sending = send::Options { retry, ids: ids(), ..send::Options::default() };
        let sink = Box::new(StoreSink::new(store));
        Ok(vec![
            self.run(tocsin_detect::topology(), detect, Box::new(()))?,
            self.run(matching::topology(), MatchStep::new(ids()), Box::new(()))?,
            self.run(deliver::topology(), deliver, Box::new(()))?,
            self.run(tocsin_project::topology(), ProjectStep::new(ids()), sink)?,
            self.send(Sender::new(self.log.clone(), channels, sending))?,
        ])
    }

    /// A processor on a thread of its own.
    fn run<S: Step + 'static>(
        &self,
        topology: Topology,
        step: S,
        sink: Box<dyn Sink<S::Write>>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let service = topology.service;
        let options =
            Options { snapshots: Some(self.data.join("snapshots")), ..Options::default() };
        let mut processor = Processor::new(topology, self.log.clone(), step, sink, options)?;
        let (stop, metrics, ready) = (self.stop.clone(), self.metrics.clone(), self.ready.clone());
        let mut waiting = true;
        let work = move || {
            processor.run(&|| stop.stopped(), &facts::now, &mut |turn| {
                // The first turn is the assignment: the state has been restored.
                if std::mem::take(&mut waiting) {
                    ready.ok(service);
                }
                observe(&metrics, service, turn);
            })
        };
        Ok(lifecycle::spawn(service, &self.stop, work)?)
    }

    fn send(&self, sender: Sender) -> anyhow::Result<JoinHandle<()>> {
        let stop = self.stop.clone();
        let work = move || sender.run(&|| stop.stopped(), &facts::now, &mut |_| {});
        Ok(lifecycle::spawn("send", &self.stop, work)?)
    }

    /// Counts what the services say, from now on, by reading along.
    fn meter(&self) -> anyhow::Result<JoinHandle<()>> {
        let mut meter = crate::meter::Meter::new(self.log.clone(), self.metrics.clone())?;
        let stop = self.stop.clone();
        Ok(lifecycle::spawn("meter", &self.stop, move || meter.run(&stop))?)
    }
}

fn observe(metrics: &Metrics, service: &str, turn: &tocsin_stream::processor::Turn) {
    if turn.aborted {
        metrics.commit("aborted", Duration::ZERO);
    } else if turn.records > 0 || turn.published > 0 {
        metrics.commit("committed", turn.commit);
        metrics.records(service, turn.records);
        metrics.late_events(service, turn.tally.late_events);
        metrics.watermark(service, turn.tally.event_time);
    }
}

fn clean(log: &Arc<EmbeddedLog>, stop: &Stop) -> anyhow::Result<JoinHandle<()>> {
    let (log, token) = (log.clone(), stop.clone());
    let work = move || {
        while !token.sleep(CLEAN_EVERY) {
            if let Err(error) = log.clean(facts::now()) {
                tracing::warn!(%error, "cannot clean the log now; trying again later");
            }
        }
        Ok::<(), String>(())
    };
    Ok(lifecycle::spawn("clean", stop, work)?)
}

fn render_for_pages(site: Site) -> tocsin_api::app::Render {
    Arc::new(move |delivery| match render::render(delivery, &site) {
        Ok(mail) => Rendered { subject: mail.subject, text: mail.text, html: mail.html },
        Err(error) => Rendered { subject: error.to_string(), ..Rendered::default() },
    })
}

fn serve(
    app: App,
    listener: std::net::TcpListener,
    stop: &Stop,
) -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()?;
    listener.set_nonblocking(true)?;
    let (router, stop) = (tocsin_api::router(app), stop.clone());
    let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
    runtime.spawn(async move {
        let ended = stop.clone();
        let served = axum::serve(listener, router);
        let served = served.with_graceful_shutdown(async move { ended.wait().await });
        if let Err(error) = served.await {
            stop.fail(format!("the pages cannot be served: {error}"));
        }
    });
    Ok(runtime)
}
