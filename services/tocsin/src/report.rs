//! What a backtest found: every alert, and what would have been mailed to whom. As text and as one
//! JSON document, whose shape is a contract (CONTRIBUTING.md).

use crate::facts;
use crate::settings::Settings;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use tocsin_domain::alert::{Alert, AlertState, Evidence};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::delivery::{Delivery, DeliveryState};
use tocsin_domain::{Id, Micros, topics};
use tocsin_notify::render::{self, Site};
use tocsin_stream::Log;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Events that detection took in.
    pub events: u64,
    /// By event time.
    pub alerts: Vec<FoundAlert>,
    /// In the order of the configuration.
    pub watches: Vec<WatchReport>,
    /// Rows and events that could not be processed.
    pub dead_letters: u64,
    /// Why events could not be processed, by what they have in common; why rows could not stands
    /// with their file.
    pub reasons: Vec<String>,
    /// Events that came after their subject's watermark.
    pub late_events: u64,
    /// Events that had been seen before.
    pub duplicates: u64,
    /// In the order they were read.
    pub sources: Vec<FileReport>,
}

/// One alert.
#[derive(Debug, Serialize)]
pub struct FoundAlert {
    /// The alert's id, the same in every run.
    pub id: Id,
    /// The name in the configuration.
    detector: String,
    /// The kind of detector.
    kind: String,
    subject: String,
    measure: String,
    place: String,
    state: AlertState,
    event_time: Micros,
    value: String,
    unit: String,
    limit: String,
    band: String,
    episode: Id,
    evidence: Evidence,
}

/// What one watch would have brought.
#[derive(Debug, Serialize)]
pub struct WatchReport {
    /// To whom.
    pub email: String,
    /// The name of the detector in the configuration.
    pub detector: String,
    /// The subject that is watched.
    pub subject: String,
    /// By time.
    pub mails: Vec<FoundMail>,
}

/// One mail that would have been sent.
#[derive(Debug, Serialize)]
pub struct FoundMail {
    /// Its subject line.
    pub subject: String,
    /// The alert that it tells.
    pub alert: Id,
    /// When that was so.
    pub event_time: Micros,
}

/// What was read from one file.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// The file's name.
    pub file: String,
    /// The source that read it.
    pub source: String,
    /// Rows, of every kind.
    pub rows: u64,
    /// Events that came of them.
    pub events: u64,
    /// Values that were missing.
    pub no_value: u64,
    /// Rows left out by `only`.
    pub filtered: u64,
    /// Rows with nothing in them.
    pub blank: u64,
    /// Rows that could not be read.
    pub dead_letters: u64,
    /// Why, for the first few.
    pub reasons: Vec<String>,
}

/// Every alert in the log, by event time.
///
/// # Errors
/// If the log does not answer.
pub fn alerts(log: &dyn Log) -> anyhow::Result<Vec<FoundAlert>> {
    let mut alerts: Vec<Alert> = facts::all(log, topics::ALERTS)?;
    alerts.sort_by(|a, b| {
        let key = |alert: &Alert| (alert.event_time, alert.state);
        let names = |alert: &Alert| (alert.condition_name.clone(), alert.subject.clone(), alert.id);
        key(a).cmp(&key(b)).then_with(|| names(a).cmp(&names(b)))
    });
    let found = |alert: Alert| FoundAlert {
        id: alert.id,
        detector: alert.condition_name,
        kind: alert.detector,
        subject: alert.subject,
        measure: alert.measure,
        place: alert.place,
        state: alert.state,
        event_time: alert.event_time,
        value: alert.value,
        unit: alert.unit,
        limit: alert.limit,
        band: alert.band,
        episode: alert.episode,
        evidence: alert.evidence,
    };
    Ok(alerts.into_iter().map(found).collect())
}

/// Why events became dead letters once they were in the log, and how many.
///
/// # Errors
/// If the log does not answer.
pub fn reasons(log: &dyn Log) -> anyhow::Result<Vec<String>> {
    let letters: Vec<DeadLetter> = facts::all(log, topics::DEAD_LETTERS)?;
    let mut groups = BTreeMap::<String, u64>::new();
    for letter in letters.iter().filter(|letter| letter.position.is_some()) {
        *groups.entry(letter.group().to_string()).or_default() += 1;
    }
    Ok(groups.into_iter().map(|(group, count)| format!("{count} of {group}")).collect())
}

/// What each watch would have brought.
///
/// # Errors
/// If the log does not answer.
pub fn watches(
    log: &dyn Log,
    settings: &Settings,
    site: &Site,
) -> anyhow::Result<Vec<WatchReport>> {
    let mut deliveries: Vec<Delivery> = facts::all(log, topics::DELIVERIES)?;
    deliveries.retain(|delivery| delivery.state == DeliveryState::Requested);
    let name = |id: Id| {
        let condition = settings.conditions.iter().find(|condition| condition.id == id);
        condition.map_or_else(|| id.to_string(), |condition| condition.name.clone())
    };
    let mut reports: Vec<(Id, WatchReport)> = settings
        .watches
        .iter()
        .map(|(subscriber, watch)| {
            let report = WatchReport {
                email: subscriber.email.clone(),
                detector: name(watch.condition),
                subject: watch.subject.clone(),
                mails: Vec::new(),
            };
            (watch.id, report)
        })
        .collect();
    for delivery in &deliveries {
        let subject = render::render(delivery, site)?.subject;
        for notice in &delivery.notices {
            if let Some((_, report)) = reports.iter_mut().find(|(id, _)| *id == notice.watch) {
                report.mails.push(FoundMail {
                    subject: subject.clone(),
                    alert: notice.alert.id,
                    event_time: notice.alert.event_time,
                });
            }
        }
    }
    for (_, report) in &mut reports {
        report.mails.sort_by_key(|mail| (mail.event_time, mail.alert));
    }
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

impl Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "read     {} by {}: {} rows, {} events, {} without a value, {} left out, {} blank, {} dead letters",
            self.file,
            self.source,
            self.rows,
            self.events,
            self.no_value,
            self.filtered,
            self.blank,
            self.dead_letters
        )?;
        for reason in &self.reasons {
            writeln!(f, "         {reason}")?;
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.sources {
            write!(f, "{file}")?;
        }
        for alert in &self.alerts {
            let band =
                if alert.band.is_empty() { String::new() } else { format!(", {}", alert.band) };
            let limit = if alert.limit.is_empty() {
                String::new()
            } else {
                format!(" (limit {})", alert.limit)
            };
            writeln!(
                f,
                "{:<8} {} {} {} {}: {} {}{band}{limit}, {}",
                alert.state.as_str(),
                alert.event_time,
                alert.detector,
                alert.subject,
                alert.measure,
                alert.value,
                alert.unit,
                evidence(&alert.evidence)
            )?;
        }
        for watch in &self.watches {
            writeln!(
                f,
                "mail     {} watching {} of {}: {} mails",
                watch.email,
                watch.detector,
                watch.subject,
                watch.mails.len()
            )?;
            for mail in &watch.mails {
                writeln!(f, "         {} {}", mail.event_time, mail.subject)?;
            }
        }
        for reason in &self.reasons {
            writeln!(f, "dead     {reason}")?;
        }
        if self.late_events > 0 {
            writeln!(
                f,
                "hint     {} events came when later ones of their subject had been seen; [topics.\"…\"] allowed_lateness lets a topic wait",
                self.late_events
            )?;
        }
        let mails: usize = self.watches.iter().map(|watch| watch.mails.len()).sum();
        writeln!(
            f,
            "total    {} events, {} alerts, {mails} mails, {} dead letters, {} late events, {} duplicates; nothing was sent",
            self.events,
            self.alerts.len(),
            self.dead_letters,
            self.late_events,
            self.duplicates
        )
    }
}

fn evidence(evidence: &Evidence) -> String {
    let at = evidence.positions.last().map(|position| format!("by {position}"));
    let figures = evidence.figures.iter().map(|(name, value)| format!("{name} {value}"));
    at.into_iter().chain(figures).collect::<Vec<_>>().join(", ")
}
