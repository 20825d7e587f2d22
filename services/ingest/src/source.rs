//! The contract of a source: it reads one file and hands over what is in it, row by row. It keeps
//! nothing between files, writes nowhere and reads no clock; the caller decides what becomes of
//! the items, how fast, and when to stop.

use crate::mapping::Origin;
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::{DatasetRow, Listing, OrderRow, Reading, Swipe};
use tocsin_domain::event::{pair_key, reading_key, subject_key};
use tocsin_domain::{Id, Micros, topics, wire};

/// Reads files of one kind.
pub trait Source: Send {
    /// Reads `file` from `file.from` to its end and gives every item to `sink`. An error of the
    /// sink ends the reading and is returned as it is.
    ///
    /// # Errors
    /// If the file as a whole cannot be read. A row that cannot be is a [`Item::DeadLetter`].
    fn read(&mut self, file: File<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError>;

    /// Reads one row again that was a dead letter: as a file of its own, unless the kind knows better.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn reread(&mut self, row: Again<'_>, sink: &mut Sink<'_>) -> Result<(), IngestError> {
        let bytes = [row.head, row.bytes].concat();
        let (mut content, now) = (bytes.as_slice(), row.at.now);
        let (name, from) = (row.at.file, Mark::default());
        self.read(File { content: &mut content, name, from, now: &|| now }, sink)
    }
}

/// A row that was set aside.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// What stood before it that it cannot be read without.
    pub head: &'a [u8],
    /// The row as it stood.
    pub bytes: &'a [u8],
    /// Where it stood, and when it was read.
    pub at: Origin<'a>,
}

/// Takes what a source hands over.
pub type Sink<'s> = dyn FnMut(Item<'_>) -> Result<(), IngestError> + 's;

/// A file that is open.
pub struct File<'a> {
    /// Its content, unpacked.
    pub content: &'a mut dyn BufRead,
    /// Its name without directories.
    pub name: &'a str,
    /// Where to begin.
    pub from: Mark,
    /// What time it is, for arrival times.
    pub now: &'a dyn Fn() -> Micros,
}

/// How far a file has been read: up to the line end of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Rows handed over, of every kind.
    pub rows: u64,
    /// Lines read.
    pub lines: u64,
    /// Bytes read, unpacked.
    pub bytes: u64,
}

/// What a source hands over.
#[derive(Debug)]
pub enum Item<'a> {
    /// A fact.
    Event(Event<'a>),
    /// A row that cannot be read.
    DeadLetter(Box<DeadLetter>),
    /// A row, or a value of one, of which nothing comes.
    Skipped(Skipped),
    /// Everything of the row has been handed over.
    RowEnd(Mark),
    /// Everything of a row has been handed over, but the file ends before the row does: no line
    /// end, or an open quote. The mark stays before it, and it is read again, whole, when the file
    /// has grown. Its line is the same then, and so is the id of an event that is made from it.
    OpenEnd,
}

/// Why nothing comes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// There is no value in it.
    NoValue,
    /// The source's `only` leaves it out.
    Filtered,
    /// Nothing is in it.
    Blank,
}

/// A fact from upstream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// For `aqi.readings`.
    Reading(Reading<'a>),
    /// For `market.listings`.
    Listing(Listing<'a>),
    /// For `orders.rows`.
    OrderRow(OrderRow<'a>),
    /// For `datasets.rows`.
    DatasetRow(DatasetRow<'a>),
    /// For `social.swipes`.
    Swipe(Swipe<'a>),
}

impl Event<'_> {
    /// When it was so.
    pub fn event_time(&self) -> Micros {
        match self {
            Event::Reading(event) => event.event_time,
            Event::Listing(event) => event.event_time,
            Event::OrderRow(event) => event.event_time,
            Event::DatasetRow(event) => event.event_time,
            Event::Swipe(event) => event.event_time,
        }
    }

    /// When it reached us.
    pub fn arrival_time(&self) -> Micros {
        match self {
            Event::Reading(event) => event.arrival_time,
            Event::Listing(event) => event.arrival_time,
            Event::OrderRow(event) => event.arrival_time,
            Event::DatasetRow(event) => event.arrival_time,
            Event::Swipe(event) => event.arrival_time,
        }
    }

    /// What it says, without what changes from one answer to the next that says the same: id,
    /// arrival and place; and without its time, unless that is its own.
    pub(crate) fn bare(&self, timed: bool) -> Event<'_> {
        let (id, arrival_time, origin) = (Id::default(), Micros::MIN, "");
        let event_time = if timed { self.event_time() } else { Micros::MIN };
        match self.clone() {
            Event::Reading(event) => {
                Event::Reading(Reading { id, arrival_time, origin, event_time, ..event })
            }
            Event::Listing(event) => {
                Event::Listing(Listing { id, arrival_time, origin, event_time, ..event })
            }
            Event::OrderRow(event) => {
                Event::OrderRow(OrderRow { id, arrival_time, origin, event_time, ..event })
            }
            Event::DatasetRow(event) => {
                let (file, line) = ("", 0);
                Event::DatasetRow(DatasetRow { id, arrival_time, file, line, event_time, ..event })
            }
            Event::Swipe(event) => Event::Swipe(Swipe { id, arrival_time, event_time, ..event }),
        }
    }

    /// The same, found by a search of an upstream. A listing says by which, unless it does already.
    pub fn found_by<'s>(self, search: &'s str) -> Event<'s>
    where
        Self: 's,
    {
        let mut event: Event<'s> = self;
        if let Event::Listing(listing) = &mut event
            && listing.searches.is_empty()
            && !search.is_empty()
        {
            listing.searches = vec![search];
        }
        event
    }

    /// The topic that it goes to.
    pub fn topic(&self) -> &'static str {
        match self {
            Event::Reading(_) => topics::AQI_READINGS,
            Event::Listing(_) => topics::MARKET_LISTINGS,
            Event::OrderRow(_) => topics::ORDERS_ROWS,
            Event::DatasetRow(_) => topics::DATASETS_ROWS,
            Event::Swipe(_) => topics::SOCIAL_SWIPES,
        }
    }

    /// Writes the key of its record over `out`.
    pub fn key(&self, out: &mut Vec<u8>) {
        match self {
            Event::Reading(event) => reading_key(out, event.tenant, event.subject, event.measure),
            Event::Listing(event) => subject_key(out, event.tenant, event.listing),
            Event::OrderRow(event) => subject_key(out, event.tenant, event.subject),
            Event::DatasetRow(event) => subject_key(out, event.tenant, event.dataset),
            Event::Swipe(event) => pair_key(out, event.tenant, event.from, event.to),
        }
    }

    /// Appends it as it stands in its topic: schema fingerprint and Avro body.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Event::Reading(event) => wire::write(event, out),
            Event::Listing(event) => wire::write(event, out),
            Event::OrderRow(event) => wire::write(event, out),
            Event::DatasetRow(event) => wire::write(event, out),
            Event::Swipe(event) => wire::write(event, out),
        }
    }
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The file cannot be read.
    #[error("source `{name}`: cannot read {file}: {reason}")]
    Read {
        /// The source.
        name: String,
        /// The file.
        file: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The log cannot answer.
    #[error("cannot import: {0}")]
    Log(#[from] tocsin_stream::LogError),
    /// A transaction could not be committed, however often it was tried.
    #[error(
        "cannot commit what was imported: {0}; \
        what is committed stays, run the import again to go on"
    )]
    Commit(String),
    /// The log takes nothing more from this import.
    #[error(
        "source `{name}`: another import of it runs, or the log has shut this one out: {reason}; \
        what is committed stays, run the import again when the other one has ended"
    )]
    Fenced {
        /// The source.
        name: String,
        /// What the log says.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("stopped; run the import again to go on")]
    Stopped,
}
