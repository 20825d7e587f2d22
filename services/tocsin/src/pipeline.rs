//! Detection, matching and delivery over any log, turned by hand: what a backtest runs, and what
//! tests and benchmarks look into. The very same steps as in `tocsin up`.

use crate::settings::Settings;
use std::sync::Arc;
use std::time::Duration;
use tocsin_detect::DetectStep;
use tocsin_domain::Micros;
use tocsin_notify::deliver::{self, DeliverStep};
use tocsin_notify::matching::{self, MatchStep};
use tocsin_notify::retry::Retry;
use tocsin_stream::Log;
use tocsin_stream::effects::Tally;
use tocsin_stream::processor::{Failure, Options, Processor, Turn};
use tocsin_stream::step::Step;

/// The services between an event and a delivery.
pub struct Pipeline {
    /// Events to alerts.
    pub detect: Processor<DetectStep>,
    /// Alerts to notices.
    pub matching: Processor<MatchStep>,
    /// Notices to deliveries.
    pub deliver: Processor<DeliverStep>,
}

/// What turning the pipeline did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Events that detection took in.
    pub events: u64,
    /// What detection counted.
    pub tally: Tally,
}

impl Pipeline {
    /// The services, with their state restored on the first turn.
    ///
    /// # Errors
    /// If a topology does not fit the topics, or the log does not answer.
    pub fn new(
        log: &Arc<dyn Log>,
        settings: &Settings,
        mail_domain: &str,
        options: &Options,
    ) -> Result<Pipeline, Failure> {
        let ids = || settings.schema_ids.clone();
        let retry = Retry::default();
        let deliver_options = deliver::Options { mail_domain: mail_domain.to_owned(), retry };
        Ok(Pipeline {
            detect: Processor::new(
                tocsin_detect::topology(),
                log.clone(),
                DetectStep::new(settings.lateness.clone()).with_schema_ids(ids()),
                Box::new(()),
                options.clone(),
            )?,
            matching: Processor::new(
                matching::topology(),
                log.clone(),
                MatchStep::new(ids()),
                Box::new(()),
                options.clone(),
            )?,
            deliver: Processor::new(
                deliver::topology(),
                log.clone(),
                DeliverStep::new(deliver_options, ids()),
                Box::new(()),
                options.clone(),
            )?,
        })
    }

    /// Turns detection until it has taken in everything that is there.
    ///
    /// # Errors
    /// If a service cannot go on.
    pub fn detect_all(&mut self, now: Micros) -> Result<Done, Failure> {
        let mut done = Done::default();
        settle(&mut self.detect, now, &mut |turn| {
            done.events += turn.records;
            done.tally.dead_letters += turn.tally.dead_letters;
            done.tally.late_events += turn.tally.late_events;
            done.tally.duplicates += turn.tally.duplicates;
        })?;
        Ok(done)
    }

    /// The input has ended: closes what is open, then matches and delivers everything.
    ///
    /// # Errors
    /// If a service cannot go on.
    pub fn finish(&mut self, now: Micros) -> Result<(), Failure> {
        self.detect.finish(now)?;
        settle(&mut self.matching, now, &mut |_| {})?;
        settle(&mut self.deliver, now, &mut |_| {})
    }
}

/// Turns a processor until it has taken in everything that is there.
///
/// # Errors
/// If it cannot go on.
pub fn settle<S: Step>(
    processor: &mut Processor<S>,
    now: Micros,
    observe: &mut dyn FnMut(&Turn),
) -> Result<(), Failure> {
    // The first turns bring the assignment; after that a turn without records has found the end.
    let mut quiet = 0;
    while quiet < 2 {
        let turn = processor.turn(Duration::ZERO, now)?;
        observe(&turn);
        let idle = turn.records == 0 && !turn.aborted && turn.restoring == 0;
        quiet = if idle { quiet + 1 } else { 0 };
    }
    Ok(())
}
