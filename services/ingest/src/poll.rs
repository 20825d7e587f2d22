//! Asks upstreams, for as long as the process runs. Each source has a poller on a thread of its
//! own, so that a slow one holds up nobody else; one process asks, the others stand by.
//!
//! Before each call the ledger is committed, so that it never counts less than was spent. Then
//! events, what is remembered of the search, and how it stands are one transaction, so that a
//! repeated answer adds nothing and a kill loses nothing. What to do next is decided by pure
//! functions: [`plan`] (which search, when), [`ledger`] (what it costs, what a failure means),
//! [`talk`] (pages, redirects, logins).

pub mod account;
pub mod archive;
pub mod asks;
pub mod client;
pub mod ledger;
pub mod plan;
pub mod seen;
pub mod settings;
pub mod talk;

mod desk;
mod guard;
mod intake;
mod outcome;
mod request;
mod run;

use crate::folders::News;
use crate::poison::Rate;
use crate::settings::SourceConfig;
use crate::source::{IngestError, Source};
use crate::sources;
use crate::upstream::Upstream;
use client::Client;
use desk::Desk;
use plan::Plan;
use settings::Polling;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tocsin_domain::Micros;
use tocsin_service::Metrics;
use tocsin_stream::Log;

/// How long a poller sleeps at most before it looks whether to go on.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a source that is paused, and files with credentials, are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long it waits after the log has let it down.
const AGAIN: Duration = Duration::from_secs(1);

/// What pollers of a process share.
#[derive(Clone)]
pub struct Office {
    /// Where the facts go.
    pub log: Arc<dyn Log>,
    /// The wall clock.
    pub now: Arc<dyn Fn() -> Micros + Send + Sync>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether this process is the one that asks.
    pub ours: Arc<AtomicBool>,
    /// Hears what was read and committed, and which sources are paused or go on.
    pub tell: Arc<dyn Fn(News<'_>) + Send + Sync>,
    /// What jitter is drawn from.
    pub seed: u64,
}

/// Asks one source.
pub struct Poller {
    office: Office,
    config: SourceConfig,
    polling: Polling,
    upstream: Arc<dyn Upstream>,
    source: Box<dyn Source>,
    client: Client,
    /// When it was looked whether the credentials are still the same.
    looked_at: Option<Micros>,
    /// When a token that was handed out is to be got again.
    token_until: Option<Micros>,
    /// Of a source of which no row has been read yet.
    rate: Rate,
    dice: Dice,
}

impl Poller {
    /// The poller of a source; `None` if it is not asked.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn new(config: &SourceConfig, office: Office) -> Result<Option<Poller>, String> {
        let config = &sources::complete(config)?;
        let Some(polling) = config.polling()? else { return Ok(None) };
        let Some(upstream) = sources::upstream(config)? else { return Ok(None) };
        let seed =
            config.name.bytes().fold(office.seed, |all, byte| all.rotate_left(8) ^ u64::from(byte));
        Ok(Some(Poller {
            client: Client::new(&polling.contact, polling.timeout)?,
            upstream: Arc::from(upstream),
            source: sources::open(config)?,
            looked_at: None,
            token_until: None,
            rate: Rate::of(config.pause_above.as_deref())?,
            config: config.clone(),
            polling,
            office,
            dice: Dice(seed),
        }))
    }

    /// Asks until `go_on` says no. What the log does not take is begun again from what it has.
    ///
    /// # Errors
    /// If the source is configured wrong.
    pub fn run(&mut self, go_on: &dyn Fn() -> bool) -> Result<(), IngestError> {
        let mut desk = None;
        while go_on() {
            if !self.office.ours.load(Ordering::Relaxed) {
                desk = None;
                std::thread::sleep(PAUSE);
                continue;
            }
            let done = match desk.as_mut() {
                None => self.open().map(|opened| {
                    desk = Some(opened);
                    Duration::ZERO
                }),
                Some(desk) => self.turn(desk, go_on),
            };
            match done {
                Ok(wait) => std::thread::sleep(wait.min(PAUSE)),
                Err(Lost(reason)) => {
                    tracing::warn!(
                        source = self.config.name,
                        reason,
                        "asking again from what is committed"
                    );
                    desk = None;
                    self.sleep(AGAIN, go_on);
                }
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<Desk, Lost> {
        Desk::open(&self.office, &self.config, &self.polling, self.rate)
    }

    /// Asks one search if one is due; gives how long there is nothing to do.
    fn turn(&mut self, desk: &mut Desk, go_on: &dyn Fn() -> bool) -> Result<Duration, Lost> {
        let now = (self.office.now)();
        desk.look(&*self.office.log, &self.polling, now)?;
        self.look_at_account(desk, now);
        self.tell(desk, now);
        if let Some(wait) = self.paused(desk, now)? {
            return Ok(wait);
        }
        match plan::plan(now, &desk.quota, &self.polling.limits, &desk.searches) {
            Plan::Wait(at) => Ok(at.since(now)),
            Plan::Ask(which) => self.ask(desk, which, go_on).map(|()| Duration::ZERO),
        }
    }

    /// Takes over credentials that stand in their files by now, as those that end after some hours do:
    /// whoever was refused is asked again at once.
    fn look_at_account(&mut self, desk: &mut Desk, now: Micros) {
        if self.looked_at.is_some_and(|last| last <= now && now.since(last) < LOOK_EVERY) {
            return;
        }
        self.looked_at = Some(now);
        let polling = &mut self.polling;
        if polling.account.reread() {
            tracing::info!(source = self.config.name, "it is asked with other credentials");
            polling.account.fill(&mut polling.credentials);
            desk.recognize(&polling.account.mark());
            self.token_until = None;
        }
    }

    /// How long it is left alone, if it is paused.
    fn paused(&self, desk: &mut Desk, now: Micros) -> Result<Option<Duration>, Lost> {
        let mut tell = |reason: Option<&str>| {
            (self.office.tell)(News::Paused(&self.config.name, reason));
        };
        let paused = desk.standing.look(&*self.office.log, now, &mut tell)?;
        Ok(paused.then_some(LOOK_EVERY))
    }

    /// How the source stands, for whoever scrapes.
    fn tell(&self, desk: &Desk, now: Micros) {
        let (metrics, source) = (&self.office.metrics, self.config.name.as_str());
        metrics.upstream_breaker(source, desk.quota.breaker(now) as i64);
        if let Some(left) = desk.quota.left(now) {
            metrics.upstream_budget_left(source, left);
        }
    }

    fn sleep(&self, time: Duration, go_on: &dyn Fn() -> bool) {
        let mut left = time;
        while !left.is_zero() && go_on() {
            std::thread::sleep(left.min(PAUSE));
            left = left.saturating_sub(PAUSE);
        }
    }
}

/// The log has not taken something, or may not have: begin again from what it has.
#[derive(Debug)]
struct Lost(String);

impl<E: std::error::Error> From<E> for Lost {
    fn from(error: E) -> Lost {
        Lost(error.to_string())
    }
}

/// Draws from 0 to 1; the same seed, the same draws.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
