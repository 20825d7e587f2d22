//! The open transaction of an import and what is in it: events, dead letters, and the cursor that
//! says how far the file is read.

use super::ImportReport;
use crate::cursor::{self, Cursor};
use crate::pause::Whom;
use crate::poison::Rate;
use crate::settings::SourceConfig;
use crate::source::{Event, IngestError, Item, Mark};
use crate::tally::{Row, Tally};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::topics::DEAD_LETTERS;
use tocsin_domain::{Micros, wire};
use tocsin_stream::log::PATIENCE;
use tocsin_stream::{CommitError, Log, Transaction, Worker};

/// Bytes in a transaction, after which it is committed even if it has fewer rows.
const BATCH_BYTES: usize = 4 << 20;
/// How many reasons of dead letters a report shows.
const REASONS: usize = 5;

/// Why an attempt ended early.
pub(super) enum Ending {
    /// Too many rows cannot be read.
    Paused,
    Error(IngestError),
    Fenced(String),
    Restart(String),
}

impl From<IngestError> for Ending {
    fn from(error: IngestError) -> Ending {
        Ending::Error(error)
    }
}

/// What an import is told.
pub(super) struct Terms<'a> {
    pub(super) rows_at_once: u64,
    pub(super) rate: Option<Rate>,
    pub(super) now: &'a dyn Fn() -> Micros,
}

/// The open transaction.
pub(super) struct Batch<'a> {
    terms: Terms<'a>,
    worker: Box<dyn Worker>,
    transaction: Transaction,
    events: usize,
    dead_letters: usize,
    cursors: usize,
    cursor: Cursor,
    cursor_key: Vec<u8>,
    event_key: Vec<u8>,
    tally: Tally,
    row: Row,
    reasons: Vec<String>,
    now: Micros,
}

impl<'a> Batch<'a> {
    pub(super) fn open(
        log: &dyn Log,
        worker: Box<dyn Worker>,
        topic: &str,
        (cursor_key, cursor): (Vec<u8>, Cursor),
        terms: Terms<'a>,
    ) -> Result<Batch<'a>, Ending> {
        let mut transaction = Transaction::default();
        let mut register = |topic: &str| {
            let partitions = log.partitions(topic).map_err(IngestError::from)?;
            Ok::<_, Ending>(transaction.register(topic, partitions))
        };
        let (events, dead_letters) = (register(topic)?, register(DEAD_LETTERS)?);
        let cursors = register(cursor::TOPIC)?;
        let now = (terms.now)();
        Ok(Batch {
            terms,
            worker,
            transaction,
            events,
            dead_letters,
            cursors,
            cursor,
            cursor_key,
            event_key: Vec::new(),
            tally: Tally::default(),
            row: Row::default(),
            reasons: Vec::new(),
            now,
        })
    }

    /// Up to where the file is read.
    pub(super) fn mark(&self) -> Mark {
        self.cursor.mark
    }

    pub(super) fn clock(&self) -> &'a dyn Fn() -> Micros {
        self.terms.now
    }

    /// How the last rows were.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.terms.rate
    }

    /// The file is read to its end.
    pub(super) fn done(&mut self) {
        self.cursor.done = true;
    }

    pub(super) fn take(
        &mut self,
        item: Item<'_>,
        report: &mut ImportReport,
        progress: &mut dyn FnMut(Tally) -> bool,
    ) -> Result<(), Ending> {
        self.row.take(&item, &mut self.tally);
        match item {
            Item::Event(event) => self.event(&event),
            Item::DeadLetter(letter) => self.dead_letter(&letter),
            Item::Skipped(_) => {}
            // What comes of the row is committed with the end of the file, or not at all: before
            // that, an import that begins again at the mark would hand it over twice.
            Item::OpenEnd => _ = self.row.end(&mut self.tally),
            Item::RowEnd(mark) => {
                let is_dead = self.row.end(&mut self.tally);
                self.cursor.mark = mark;
                if self.terms.rate.as_mut().is_some_and(|rate| rate.row(is_dead)) {
                    self.now = (self.terms.now)();
                    return Err(Ending::Paused);
                }
                let rows = self.tally.rows;
                let full = rows.is_multiple_of(64) && self.transaction.bytes() >= BATCH_BYTES;
                if rows >= self.terms.rows_at_once || full {
                    self.now = (self.terms.now)();
                    self.commit(report)?;
                    if !progress(report.tally) {
                        return Err(IngestError::Stopped.into());
                    }
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>) {
        event.key(&mut self.event_key);
        let builder = self.transaction.to(self.events, &self.event_key);
        builder.push_with(&self.event_key, |out| event.write(out));
    }

    fn dead_letter(&mut self, letter: &DeadLetter) {
        if self.reasons.len() < REASONS {
            self.reasons.push(format!("{}: {}", letter.origin, letter.reason));
        }
        let builder = self.transaction.to(self.dead_letters, &letter.key);
        builder.push_with(&letter.key, |out| wire::write(letter, out));
    }

    /// Puts the fact that the source is paused beside what is open, and says why it is. The cursor
    /// stays behind the last row that was read.
    pub(super) fn pause(&mut self, config: &SourceConfig, file: &str) -> Result<String, Ending> {
        let reason = self.terms.rate.map(|rate| rate.reason()).unwrap_or_default();
        let whom = Whom::source(config);
        let pause = whom.pause((reason.clone(), file), self.now);
        whom.write(&pause, &mut self.transaction, self.cursors).map_err(IngestError::Commit)?;
        Ok(reason)
    }

    /// Commits what is open with its cursor, and tells the report.
    pub(super) fn commit(&mut self, report: &mut ImportReport) -> Result<(), Ending> {
        let value = serde_json::to_vec(&self.cursor)
            .map_err(|e| IngestError::Commit(format!("the cursor cannot be written: {e}")))?;
        let builder = self.transaction.to(self.cursors, &self.cursor_key);
        builder.push(&self.cursor_key, Some(&value));
        self.transaction.time = self.now;
        self.try_commit()?;
        report.tally = report.tally.plus(std::mem::take(&mut self.tally));
        let room = REASONS.saturating_sub(report.reasons.len());
        report.reasons.extend(self.reasons.drain(..).take(room));
        Ok(())
    }

    fn try_commit(&mut self) -> Result<(), Ending> {
        self.worker.commit_patiently(&mut self.transaction, PATIENCE).map_err(|error| match error {
            CommitError::Retriable(reason) => IngestError::Commit(reason).into(),
            // A new worker would shut out the import that has shut out this one.
            CommitError::Fatal(reason) => Ending::Fenced(reason),
            // A new worker and the cursor tell what is committed, whichever it was.
            other => Ending::Restart(other.to_string()),
        })
    }
}
