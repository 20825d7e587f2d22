//! What a service is: its parts, what it needs, how it starts. `tocsin <name>` runs one, `tocsin up`
//! all of them; what runs is the same.

use crate::backend::{self, Backend};
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::schema_desk::Desk;
use crate::settings::Settings;
use crate::vitals::Vitals;
use std::fmt::Display;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use tocsin_ingest::own_topics::source_of;
use tocsin_notify::channels::{self, Channels};
use tocsin_service::{Stop, http, lifecycle};
use tocsin_store::Store;
use tocsin_stream::processor::{Failure, Options, Processor, Sink, Turn};
use tocsin_stream::step::Step;
use tocsin_stream::topology::Topology;
use tocsin_stream::{Log, Observer, Schemas};
use tokio::runtime::Runtime;

/// A service.
pub struct Service {
    /// Its subcommand.
    pub name: &'static str,
    /// Its loops, each on a thread, as probes and metrics name them.
    pub parts: &'static [&'static str],
    /// Whether it reads or writes the tables.
    pub tables: bool,
    /// Whether it reads facts, which the ids of a schema registry may frame.
    pub facts: bool,
    /// Why there is nothing for it to do; `None` if there is.
    pub idle: fn(&Settings) -> Option<&'static str>,
    /// Starts its parts on the host.
    pub start: fn(&mut Host) -> anyhow::Result<()>,
}

/// The process that services run in.
pub struct Host {
    /// What was configured.
    pub settings: Settings,
    /// Log, tables, directories.
    pub backend: Backend,
    /// Whether every service runs here, so that nobody else makes the tables.
    pub whole: bool,
    /// Which one this process is among those of its service.
    pub slot: u32,
    /// Where the pages are, or where links lead if there are none here.
    pub url: String,
    /// Where the pages are to be served; taken by who serves them.
    pub listener: Option<TcpListener>,
    /// Routes of services that are served beside the pages, if there are pages here.
    pub beside: axum::Router,
    /// Whether the inbox reloads itself.
    pub demo: bool,
    /// Ends all of it.
    pub stop: Stop,
    /// What is known of the parts.
    pub vitals: Vitals,
    /// Who asks the schema registry, if there is one.
    pub schemas: Option<Arc<Desk>>,
    /// For HTTP.
    pub runtime: Runtime,
    /// What was started.
    pub threads: Vec<JoinHandle<()>>,
}

impl Host {
    /// The log.
    pub fn log(&self) -> Arc<dyn Log> {
        self.backend.log.clone()
    }

    /// The tables.
    ///
    /// # Errors
    /// If they were not opened: a service that needs them must say so in [`Service::tables`].
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        self.backend.store.clone().ok_or_else(|| anyhow::anyhow!("no tables were opened"))
    }

    /// The channels that messages leave by.
    ///
    /// # Errors
    /// What is configured wrong; exit code 3.
    pub fn channels(&self) -> anyhow::Result<Channels> {
        let wrong = |text: String| Exit::error(Kind::Configuration, text);
        let email = &self.settings.channels.email;
        if self.url.is_empty() && email.base_url.is_none() {
            let text = "[channels.email]: `base_url` is missing: the address of the pages, where the links in mails lead";
            return Err(wrong(text.to_owned()));
        }
        let mailbox = match &self.backend.data {
            Some(data) => data.join("mailbox"),
            None if email.transport == "mailbox" => {
                let text = "[channels.email]: a mailbox needs a directory: name one with --data, or set `transport` to \"smtp\"";
                return Err(wrong(text.to_owned()));
            }
            None => PathBuf::new(),
        };
        channels::open(&self.settings.channels, &self.url, &mailbox)
            .map_err(|error| wrong(error.to_string()))
    }

    /// Runs a step as a part.
    ///
    /// # Errors
    /// If the log does not take its worker.
    pub fn run<S: Step + 'static>(
        &mut self,
        topology: Topology,
        step: S,
        sink: Box<dyn Sink<S::Write>>,
    ) -> anyhow::Result<()> {
        let (vitals, stop) = (self.vitals.clone(), self.stop.clone());
        let options = self.options(&topology);
        let part = topology.service;
        let processor = Processor::new(topology, self.log(), step, sink, options)?;
        self.spawn(part, move || turn(processor, part, &vitals, &stop))
    }

    /// The same, once `wait` says that it may begin; if it says no, the part is not run.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn run_after<S: Step + 'static, E: Display>(
        &mut self,
        wait: impl FnOnce() -> Result<bool, E> + Send + 'static,
        topology: Topology,
        step: S,
        sink: Box<dyn Sink<S::Write>>,
    ) -> anyhow::Result<()> {
        let (vitals, stop, log) = (self.vitals.clone(), self.stop.clone(), self.log());
        let options = self.options(&topology);
        let part = topology.service;
        self.spawn(part, move || {
            if !wait().map_err(|error| error.to_string())? {
                return Ok(());
            }
            let processor = Processor::new(topology, log, step, sink, options);
            let processor = processor.map_err(|error| error.to_string())?;
            turn(processor, part, &vitals, &stop).map_err(|error| error.to_string())
        })
    }

    fn options(&self, topology: &Topology) -> Options {
        let data = self.backend.data.as_ref();
        let snapshots = data.map(|data| backend::snapshots(&*self.backend.log, data));
        let of = snapshots.clone().zip(topology.changelog);
        let observer = self.vitals.observer(topology.service, of);
        let standby = self.settings.standby;
        let schemas = self.schemas.clone().map(|desk| desk as Arc<dyn Schemas>);
        self.vitals.health.add_loop(topology.service);
        Options { snapshots, slot: self.slot, standby, observer, schemas, ..Options::default() }
    }

    /// Who hears a part that is no processor.
    pub fn observer(&self, part: &'static str) -> Observer {
        self.vitals.observer(part, None)
    }

    /// Runs a loop on a thread of its own; if it fails, the process ends.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn<E: Display>(
        &mut self,
        part: &str,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> anyhow::Result<()> {
        self.threads.push(lifecycle::spawn(part, &self.stop, work)?);
        Ok(())
    }

    /// Serves HTTP until the end.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn serve(&self, router: axum::Router, listener: TcpListener) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        self.runtime.spawn(async move {
            if let Err(error) = http::serve(listener, router, stop.clone()).await {
                stop.fail(format!("HTTP cannot be served: {error}"));
            }
        });
        Ok(())
    }
}

/// Turns a part until it is told to stop. The processor ends on this thread, and leaves its group.
fn turn<S: Step>(
    mut processor: Processor<S>,
    part: &'static str,
    vitals: &Vitals,
    stop: &Stop,
) -> Result<(), Failure> {
    let go_on = || {
        vitals.turned(part);
        stop.stopped()
    };
    processor.run(&go_on, &facts::now, &mut |turn| count(vitals, part, turn))
}

fn count(vitals: &Vitals, part: &'static str, turn: &Turn) {
    vitals.restoring(part, turn.restoring);
    let metrics = &vitals.metrics;
    if let Some(behind) = turn.standby {
        metrics.standby_lag(part, behind);
    }
    if turn.aborted {
        metrics.aborted(part);
    } else if turn.records > 0 || turn.published > 0 {
        metrics.committed(part, turn.commit);
        metrics.records(part, turn.records);
        let tally = &turn.tally;
        let aside = tally.filtered + tally.dead + tally.late_events + tally.duplicates;
        let processed = tally.consumed.saturating_sub(aside);
        if let Some(source) = source_of(part) {
            // Its step keeps nothing, so that none of its records is late or known to be a repeat.
            metrics.source_rows(source, "processed", processed);
            metrics.source_rows(source, "filtered", tally.filtered);
            metrics.source_rows(source, "dead", tally.dead);
        }
        for (outcome, count) in [
            ("processed", processed),
            ("filtered", tally.filtered),
            ("dead", tally.dead),
            ("late", tally.late_events),
            ("duplicate", tally.duplicates),
        ] {
            metrics.outcome(part, outcome, count);
        }
        metrics.late_events(part, turn.tally.late_events);
        metrics.watermark(part, turn.tally.event_time);
    }
}
