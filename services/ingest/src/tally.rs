//! Counts rows and what comes of them, so that nothing is missing from the sum: every row is
//! processed, left out, blank, without a value, a repeat, or dead. Pure.

use crate::source::{Event, Item, Skipped};
use tocsin_domain::event::DatasetRowKind;

/// Counted rows and what came of them.
///
/// `rows` is `processed + filtered + blank + empty + repeated + dead_letters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows of every kind, without the header.
    pub rows: u64,
    /// Rows that gave events, and no fault.
    pub processed: u64,
    /// Events, of which a row may have several.
    pub events: u64,
    /// Values that are missing.
    pub no_value: u64,
    /// Rows in which every value is missing.
    pub empty: u64,
    /// Rows that `only` leaves out.
    pub filtered: u64,
    /// Rows with nothing in them.
    pub blank: u64,
    /// Rows that say only what is there already.
    pub repeated: u64,
    /// Rows that cannot be read, or not whole: then the rest of them are events.
    pub dead_letters: u64,
}

impl Tally {
    /// So many rows, all of which say what is there already.
    pub(crate) fn repeats(rows: u64) -> Tally {
        Tally { rows, repeated: rows, ..Tally::default() }
    }

    /// So many rows, none of which can be read.
    pub(crate) fn dead(rows: u64) -> Tally {
        Tally { rows, dead_letters: rows, ..Tally::default() }
    }

    /// What was counted here and there.
    pub fn plus(self, other: Tally) -> Tally {
        self.with(other, |a, b| a + b)
    }

    /// What was counted since `before`.
    pub fn since(self, before: Tally) -> Tally {
        self.with(before, u64::saturating_sub)
    }

    fn with(self, other: Tally, both: impl Fn(u64, u64) -> u64) -> Tally {
        Tally {
            rows: both(self.rows, other.rows),
            processed: both(self.processed, other.processed),
            events: both(self.events, other.events),
            no_value: both(self.no_value, other.no_value),
            empty: both(self.empty, other.empty),
            filtered: both(self.filtered, other.filtered),
            blank: both(self.blank, other.blank),
            repeated: both(self.repeated, other.repeated),
            dead_letters: both(self.dead_letters, other.dead_letters),
        }
    }

    /// The words for what becomes of whatever comes in, by any way, and how many became it: it is
    /// processed, or nothing is to come of it, or nothing can. They add up to `rows`.
    pub fn outcomes(&self) -> [(&'static str, u64); 3] {
        let filtered = self.filtered + self.blank + self.empty + self.repeated;
        [("processed", self.processed), ("filtered", filtered), ("dead", self.dead_letters)]
    }
}

/// What has come of the row that is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    events: bool,
    no_value: bool,
    filtered: bool,
    blank: bool,
    repeated: bool,
    dead: bool,
}

impl Row {
    /// Counts an item, and notes what it says of its row.
    pub fn take(&mut self, item: &Item<'_>, tally: &mut Tally) {
        match item {
            Item::Event(event) => {
                tally.events += 1;
                // That a data set begins or ends is said by no row.
                self.events |=
                    !matches!(event, Event::DatasetRow(row) if row.kind != DatasetRowKind::Row);
            }
            Item::DeadLetter(_) => self.dead = true,
            Item::Skipped(Skipped::NoValue) => {
                tally.no_value += 1;
                self.no_value = true;
            }
            Item::Skipped(Skipped::Filtered) => self.filtered = true,
            Item::Skipped(Skipped::Blank) => self.blank = true,
            Item::RowEnd(_) | Item::OpenEnd => {}
        }
    }

    /// The same row, of which something was there already.
    pub fn repeating(self) -> Row {
        Row { repeated: true, ..self }
    }

    /// The row has ended: counts it as one thing. Whether it is dead.
    pub fn end(&mut self, tally: &mut Tally) -> bool {
        let row = std::mem::take(self);
        tally.rows += 1;
        match row {
            Row { dead: true, .. } => tally.dead_letters += 1,
            Row { events: true, .. } => tally.processed += 1,
            Row { repeated: true, .. } => tally.repeated += 1,
            Row { filtered: true, .. } => tally.filtered += 1,
            Row { no_value: true, .. } => tally.empty += 1,
            Row { .. } => tally.blank += 1,
        }
        row.dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::collect_tally;

    const SOURCE: &str = "name = \"a\"\nkind = \"csv\"\nevent = \"reading\"\nsubject = \"{s}\"\n\
        time = \"2020-01-01\"\nmissing = [\"\"]\n[[values]]\nmeasure = \"m\"\nvalue = \"{v}\"\n\
        [[values]]\nmeasure = \"n\"\nvalue = \"{w}\"\n[[only]]\nfield = \"{s}\"\nnot_equals = \"out\"\n";

    #[test]
    fn every_row_is_exactly_one_thing() {
        for (row, wanted) in [
            ("a,1,2", "processed"),
            ("a,1,", "processed"),
            ("a,,", "no-value"),
            ("a,1,x", "dead"),
            ("a,,x", "dead"),
            ("a", "dead"),
            ("out,x,x", "filtered"),
            (",,", "blank"),
            ("", "blank"),
        ] {
            let tally = collect_tally(SOURCE, "a.csv", format!("s,v,w\n{row}\n").as_bytes());
            let Tally { processed, filtered, blank, empty, repeated, dead_letters, .. } = tally;
            for (word, count) in [
                ("processed", processed),
                ("filtered", filtered),
                ("blank", blank),
                ("no-value", empty),
                ("repeated", repeated),
                ("dead", dead_letters),
            ] {
                assert_eq!(count, u64::from(word == wanted), "{row:?}: {word}");
            }
            let coarse = if ["processed", "dead"].contains(&wanted) { wanted } else { "filtered" };
            for (word, count) in tally.outcomes() {
                assert_eq!(count, u64::from(word == coarse), "{row:?}: {word}");
            }
            assert_eq!(tally.rows, 1);
        }
    }

    #[test]
    fn a_row_of_which_anything_is_new_is_no_repeat() {
        let row = Row::default();
        for (row, wanted) in [
            (row.repeating(), Tally::repeats(1)),
            (Row { dead: true, ..row.repeating() }, Tally::dead(1)),
            (
                Row { events: true, ..row.repeating() },
                Tally { rows: 1, processed: 1, ..Tally::default() },
            ),
            (Row { no_value: true, ..row.repeating() }, Tally::repeats(1)),
        ] {
            let (mut row, mut tally) = (row, Tally::default());
            row.end(&mut tally);
            assert_eq!((row, tally), (Row::default(), wanted));
        }
    }

    #[test]
    fn what_is_added_and_taken_away_is_the_same() {
        let tally = collect_tally(SOURCE, "a.csv", b"s,v,w\na,1,2\na,,\nb\n");
        assert_eq!(tally.plus(tally).since(tally), tally);
        assert_eq!(tally.outcomes().iter().map(|(_, n)| n).sum::<u64>(), tally.rows);
    }
}
