//! Raw rows out of a stream of bytes, with their line numbers, in constant memory. A row keeps its
//! original bytes until the next one is asked for, so that a bad one can be handed on whole.

use crate::source::{Item, Mark};
use std::io::{self, BufRead, Read};

/// The longest row, in bytes.
pub const ROW_CAP: usize = 1 << 20;

/// Reads rows.
pub struct Rows<'a> {
    input: &'a mut dyn BufRead,
    /// Read already, but to be read again; from `again_at` on.
    again: Vec<u8>,
    again_at: usize,
    row: Vec<u8>,
    first_line: u64,
    lines: u64,
    bytes: u64,
    open: bool,
}

/// What [`Rows::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A row.
    Row,
    /// The first [`ROW_CAP`] bytes of a row that is longer.
    TooLong,
    /// The first line of a row with a quote that is not closed within [`ROW_CAP`] bytes. The lines
    /// after it will be read as rows of their own.
    OpenQuote,
    /// Nothing: the input has ended.
    End,
}

impl<'a> Rows<'a> {
    /// Rows of `input`, from its start.
    pub fn new(input: &'a mut dyn BufRead) -> Rows<'a> {
        let (again, row) = (Vec::new(), Vec::with_capacity(4096));
        Rows { input, again, again_at: 0, row, first_line: 0, lines: 0, bytes: 0, open: false }
    }

    /// Reads the next row. With a `delimiter`, line ends within quotes belong to the row.
    ///
    /// # Errors
    /// Those of the input.
    pub fn next(&mut self, delimiter: Option<u8>) -> io::Result<Found> {
        self.row.clear();
        self.first_line = self.lines + 1;
        if self.read_line()? == 0 {
            return Ok(Found::End);
        }
        self.lines += 1;
        let mut found = Found::Row;
        if self.row.len() > ROW_CAP {
            self.skip_line()?;
            self.row.truncate(ROW_CAP);
            found = Found::TooLong;
        } else if let Some(delimiter) = delimiter.filter(|_| self.row.contains(&b'"')) {
            found = self.close_quotes(delimiter)?;
        }
        self.open |= found != Found::TooLong && self.row.last() != Some(&b'\n');
        if found != Found::TooLong {
            self.bytes += self.row.len() as u64;
        }
        Ok(found)
    }

    /// The row's original bytes, with its line end.
    pub fn row(&self) -> &[u8] {
        &self.row
    }

    /// The line on which the row begins, counted from 1.
    pub fn line(&self) -> u64 {
        self.first_line
    }

    /// Tells that everything of the row has been handed over, as the last of `rows` in the file.
    pub fn end(&self, rows: u64) -> Item<'static> {
        match self.open {
            true => Item::OpenEnd,
            false => Item::RowEnd(Mark { rows, lines: self.lines, bytes: self.bytes }),
        }
    }

    /// Whether the input has ended within this row, or within the quotes of one before: more input
    /// might make another row of it.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// How many lines and bytes were read, up to the end of the row.
    pub fn position(&self) -> (u64, u64) {
        (self.lines, self.bytes)
    }

    /// Goes on after `lines` lines that take `bytes` bytes. What is before is not looked at.
    ///
    /// # Errors
    /// If the input is shorter, and those of the input.
    pub fn skip_to(&mut self, lines: u64, bytes: u64) -> io::Result<()> {
        let skip = bytes.saturating_sub(self.bytes);
        let skipped = io::copy(&mut Read::take(&mut *self.input, skip), &mut io::sink())?;
        if skipped < skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes += skip;
        self.lines = self.lines.max(lines);
        Ok(())
    }

    fn close_quotes(&mut self, delimiter: u8) -> io::Result<Found> {
        let first_length = self.row.len();
        let mut quotes = Quotes { delimiter, inside: false, at_start: true };
        let mut scanned = 0;
        loop {
            quotes.scan(&self.row[scanned..]);
            scanned = self.row.len();
            if !quotes.inside {
                return Ok(Found::Row);
            }
            let ended = self.read_line()? == 0;
            if ended || self.row.len() > ROW_CAP {
                self.open |= ended;
                let mut again = self.row.split_off(first_length);
                again.extend_from_slice(&self.again[self.again_at..]);
                (self.again, self.again_at) = (again, 0);
                self.lines = self.first_line;
                return Ok(Found::OpenQuote);
            }
            self.lines += 1;
        }
    }

    /// Appends a line to the row, or as much of it as passes the cap by one byte.
    fn read_line(&mut self) -> io::Result<usize> {
        let before = self.row.len();
        let again = &self.again[self.again_at..];
        if !again.is_empty() {
            let line = again.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            self.row.extend_from_slice(line);
            self.again_at += line.len();
        }
        if self.row.len() == before || self.row.last() != Some(&b'\n') {
            let room = (ROW_CAP + 1).saturating_sub(self.row.len()) as u64;
            Read::take(&mut *self.input, room).read_until(b'\n', &mut self.row)?;
        }
        Ok(self.row.len() - before)
    }

    /// Drops the rest of a line that is too long.
    fn skip_line(&mut self) -> io::Result<()> {
        self.bytes += self.row.len() as u64;
        let mut rest = Vec::new();
        while self.row.last() != Some(&b'\n') && rest.last() != Some(&b'\n') {
            rest.clear();
            let room = ROW_CAP as u64;
            let read = Read::take(&mut *self.input, room).read_until(b'\n', &mut rest)?;
            self.bytes += read as u64;
            if read == 0 {
                self.open = true;
                break;
            }
        }
        Ok(())
    }
}

/// Whether a place in a row is within quotes. A quote opens only where a field begins.
struct Quotes {
    delimiter: u8,
    inside: bool,
    at_start: bool,
}

impl Quotes {
    fn scan(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match (*byte, self.inside) {
                // A doubled quote closes and opens again: it must not wait for a field's start.
                (b'"', true) => (self.inside, self.at_start) = (false, true),
                (b'"', false) if self.at_start => self.inside = true,
                (_, true) => {}
                (byte, false) => self.at_start = byte == self.delimiter,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(Found, u64, usize)> {
        let mut input = text;
        let mut rows = Rows::new(&mut input);
        let mut found = Vec::new();
        loop {
            match rows.next(Some(b',')).unwrap() {
                Found::End => break,
                kind => found.push((kind, rows.line(), rows.row().len())),
            }
        }
        assert_eq!(rows.position().1, text.len() as u64);
        found
    }

    #[test]
    fn rows_end_at_line_ends_outside_of_quotes() {
        use Found::{OpenQuote, Row};
        for (text, wanted) in [
            ("a,b\nc\r\nd", vec![(Row, 1, 4), (Row, 2, 3), (Row, 3, 1)]),
            ("a,\"b\nc\"\nd\n", vec![(Row, 1, 8), (Row, 3, 2)]),
            ("\"a\"\"\n\"\nb", vec![(Row, 1, 7), (Row, 3, 1)]),
            ("5\" pipe\nx\n", vec![(Row, 1, 8), (Row, 2, 2)]),
            ("a,\"b\nc\nd\n", vec![(OpenQuote, 1, 5), (Row, 2, 2), (Row, 3, 2)]),
            ("\n\nx", vec![(Row, 1, 1), (Row, 2, 1), (Row, 3, 1)]),
            ("", vec![]),
        ] {
            assert_eq!(read(text.as_bytes()), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_row_that_is_too_long_is_cut_and_the_next_is_whole() {
        let mut text = vec![b'x'; 3 * ROW_CAP];
        text.extend_from_slice(b"\nnext\n");
        assert_eq!(read(&text), [(Found::TooLong, 1, ROW_CAP), (Found::Row, 2, 5)]);
        let mut text = b"\"".to_vec();
        text.resize(2 * ROW_CAP, b'\n');
        let found = read(&text);
        assert_eq!((found[0], found.len()), ((Found::OpenQuote, 1, 2), 2 * ROW_CAP - 1));
    }

    #[test]
    fn rows_that_more_input_might_change_are_open() {
        let long = "x".repeat(2 * ROW_CAP);
        let late = format!("a,\"b\n{}", "c\n".repeat(ROW_CAP));
        for (text, wanted) in [
            ("a\nb\n", [false, false]),
            ("a\nb", [false, true]),
            ("a\n\"b\nc\"", [false, true]),
            ("a\n\"b\nc\"\n", [false, false]),
            ("a,\"b\nc\n", [true, true]),
            (&format!("a\n{long}"), [false, true]),
            (&format!("{long}\nb\n"), [false, false]),
            (&late, [false, false]),
        ] {
            let mut input = text.as_bytes();
            let mut rows = Rows::new(&mut input);
            for open in wanted {
                rows.next(Some(b',')).unwrap();
                assert_eq!(rows.is_open(), open, "{:?}", &text[..text.len().min(20)]);
            }
        }
    }

    #[test]
    fn goes_on_where_it_was() {
        let text = b"head\none\n\"two\nlines\"\nthree\n";
        let mut input = &text[..];
        let mut rows = Rows::new(&mut input);
        rows.next(Some(b',')).unwrap();
        rows.skip_to(4, 21).unwrap();
        assert_eq!(rows.next(Some(b',')).unwrap(), Found::Row);
        assert_eq!((rows.row(), rows.line()), (&b"three\n"[..], 5));
        assert!(rows.skip_to(9, 99).is_err());
    }
}
