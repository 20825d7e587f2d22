//! What an answer says goes into the open transaction: events that say something new, dead letters
//! that were not there before.

use super::Lost;
use super::desk::Desk;
use super::seen::Seen;
use crate::mapping::DEAD_LETTER_CAP;
use crate::redrive::ANSWER;
use crate::source::{Event, File, IngestError, Item, Mark, Skipped, Source};
use crate::tally::{Row, Tally};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::DatasetRowKind;
use tocsin_domain::{Id, Micros, wire};
use tocsin_stream::Log;

/// Bytes in a transaction, after which it is committed although more is to come.
const BATCH_BYTES: usize = 4 << 20;

/// An answer that is to be read.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    /// Which search it answers.
    pub which: usize,
    /// The address, without credentials.
    pub url: &'a str,
    /// What came.
    pub body: &'a [u8],
    /// When.
    pub now: Micros,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Rows of every kind.
    pub rows: u64,
    /// What came of them, nothing new and what is left out among it; of a blank row comes nothing.
    pub found: u64,
    /// Events that are new.
    pub events: u64,
    /// Dead letters that are new.
    pub dead_letters: u64,
    /// Whether too many of the last rows are dead: it was not read to its end.
    pub is_over: bool,
}

/// Why it was not read to its end.
pub(super) enum Fault {
    /// It is not what the source reads.
    Broken(String),
    Lost(Lost),
}

/// Reads a page into the desk's transaction, which is committed in between if it gets large.
pub(super) fn take(
    desk: &mut Desk,
    log: &dyn Log,
    source: &mut dyn Source,
    page: Page<'_>,
) -> Result<Taken, Fault> {
    let search = desk.searches.get(page.which).map(|asked| asked.search.clone());
    let search = search.unwrap_or_default();
    let mut seen = desk.seen.remove(&search).unwrap_or_default();
    let (mut taken, mut lost, mut buffer) = (Taken::default(), None, Vec::new());
    let (mut row, mut is_known) = (Row::default(), false);
    let mut content = page.body;
    let now = || page.now;
    let file = File { content: &mut content, name: page.url, from: Mark::default(), now: &now };
    let read = source.read(file, &mut |item| {
        let before = row;
        row.take(&item, &mut desk.tally);
        taken.found += u64::from(is_something(&item));
        let done = match item {
            Item::Event(event) => {
                let event = event.found_by(&search);
                put(desk, log, &mut seen, &event, &mut buffer).map(|new| {
                    taken.events += u64::from(new);
                    row = if new { row } else { before.repeating() };
                })
            }
            Item::DeadLetter(letter) => {
                let letter = DeadLetter { search: search.clone(), ..*letter };
                let new = letter_in(desk, &mut seen, letter, &page);
                taken.dead_letters += u64::from(new);
                is_known |= !new;
                row = if new { row } else { before.repeating() };
                Ok(())
            }
            Item::RowEnd(_) | Item::OpenEnd => {
                taken.rows += 1;
                let is_dead = row.end(&mut desk.tally);
                // A dead row that was there before adds nothing: behind a pause its answer is read
                // again, and goes on to the rows that nobody has looked at.
                if !std::mem::take(&mut is_known) && desk.rate.row(is_dead) {
                    taken.is_over = true;
                    return Err(IngestError::Stopped);
                }
                flush(desk, &mut seen, &search, &page)
            }
            Item::Skipped(_) => Ok(()),
        };
        done.map_err(|fault| {
            lost = Some(fault);
            IngestError::Stopped
        })
    });
    desk.seen.insert(search, seen);
    if row != Row::default() {
        // It broke off in the middle of a row: what came of that is committed like the rest.
        row.end(&mut desk.tally);
    }
    match (read, lost) {
        (_, Some(fault)) => Err(Fault::Lost(fault)),
        (Ok(()), None) => Ok(taken),
        (Err(_), None) if taken.is_over => Ok(taken),
        (Err(IngestError::Read { reason, .. }), None) => Err(Fault::Broken(reason)),
        (Err(error), None) => Err(Fault::Broken(error.to_string())),
    }
}

/// Whether it is of a row that says something, and not of a blank one or of the answer itself.
fn is_something(item: &Item<'_>) -> bool {
    match item {
        Item::RowEnd(_) | Item::OpenEnd | Item::Skipped(Skipped::Blank) => false,
        Item::Event(Event::DatasetRow(row)) => row.kind == DatasetRowKind::Row,
        _ => true,
    }
}

fn put(
    desk: &mut Desk,
    log: &dyn Log,
    seen: &mut Seen,
    event: &Event<'_>,
    buffer: &mut Vec<u8>,
) -> Result<bool, Lost> {
    if !seen.event(event, buffer) {
        return Ok(false);
    }
    let topic = event.topic();
    let topic = desk.transaction.register(topic, log.partitions(topic)?);
    event.key(buffer);
    desk.transaction.to(topic, buffer).push_with(buffer, |out| event.write(out));
    Ok(true)
}

/// The same bytes at the same address are one dead letter, whenever they come.
fn letter_in(desk: &mut Desk, seen: &mut Seen, mut letter: DeadLetter, page: &Page<'_>) -> bool {
    let parts = [letter.key.as_slice(), page.url.as_bytes(), &letter.value];
    letter.id = Id::of("dead-letter", &parts);
    let new = seen.dead_letter(&letter);
    if new {
        let to = desk.transaction.to(desk.dead_letters, &letter.key);
        to.push_with(&letter.key, |out| wire::write(&letter, out));
    }
    new
}

fn flush(desk: &mut Desk, seen: &mut Seen, search: &str, page: &Page<'_>) -> Result<(), Lost> {
    if desk.transaction.bytes() < BATCH_BYTES {
        return Ok(());
    }
    desk.seen.insert(search.to_owned(), std::mem::take(seen));
    desk.put_seen(page.which);
    let done = desk.commit(page.now);
    *seen = desk.seen.remove(search).unwrap_or_default();
    done
}

/// A whole answer that cannot be read; whether it was not there before.
pub(super) fn bury(desk: &mut Desk, topic: &str, reason: &str, page: Page<'_>) -> bool {
    let kept = &page.body[..page.body.len().min(DEAD_LETTER_CAP)];
    let key = format!("{}/{}", desk.tenant, desk.quota.source).into_bytes();
    let search = desk.searches.get(page.which).map(|asked| asked.search.clone());
    let search = search.unwrap_or_default();
    let letter = DeadLetter {
        id: Id::default(),
        topic: topic.to_owned(),
        position: None,
        origin: page.url.to_owned(),
        key,
        value: kept.to_vec(),
        class: ANSWER.to_owned(),
        reason: reason.to_owned(),
        service: "ingest".to_owned(),
        at: page.now,
        source: desk.quota.source.clone(),
        head: Vec::new(),
        cut: page.body.len() > kept.len(),
        search: search.clone(),
    };
    let mut seen = desk.seen.remove(&search).unwrap_or_default();
    let new = letter_in(desk, &mut seen, letter, &page);
    desk.seen.insert(search, seen);
    desk.tally = desk.tally.plus(if new { Tally::dead(1) } else { Tally::repeats(1) });
    new
}
