//! What is found wrong in a set, row by row, counted by kind; and as the table that people download.
//! Cells of that table are never formulas.

use super::cell::tame;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Fewer cells than the header.
    ShortRow,
    /// More cells than the header.
    LongRow,
    /// A NUL character.
    Nul,
    /// Bytes that are no text.
    Encoding,
    /// A quote that is not closed.
    OpenQuote,
    /// A row or a cell over the limit.
    TooLong,
    /// A cell that a spreadsheet would compute.
    Formula,
    /// A cell that is not of its column's type.
    Type,
    /// The same cells as a row before it in its file.
    DuplicateRow,
    /// The same key as a row before it, and other cells.
    DuplicateKey,
    /// Nothing in a column of the key.
    EmptyKey,
    /// Nothing in a column that must have something.
    EmptyCell,
    /// A name of a row that is not there.
    BrokenReference,
}

impl Kind {
    /// Its word, also the class of dead letters.
    pub fn word(self) -> &'static str {
        match self {
            Kind::ShortRow => "short-row",
            Kind::LongRow => "long-row",
            Kind::Nul => "nul",
            Kind::Encoding => "encoding",
            Kind::OpenQuote => "open-quote",
            Kind::TooLong => "too-long",
            Kind::Formula => "formula",
            Kind::Type => "type",
            Kind::DuplicateRow => "duplicate-row",
            Kind::DuplicateKey => "duplicate-key",
            Kind::EmptyKey => "empty-key",
            Kind::EmptyCell => "empty-cell",
            Kind::BrokenReference => "broken-reference",
        }
    }
}

/// Something wrong with one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What the file stands for.
    pub file: String,
    /// The line that the row begins on.
    pub line: u64,
    /// The column; empty for the row as a whole.
    pub column: String,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What was found, and what is allowed.
    pub text: String,
    /// Whether the row is a dead letter; if not, it is an event.
    pub dead: bool,
}

/// Findings as CSV, one row each: `file,line,anomalie`.
pub struct Table<W: Write>(csv::Writer<W>);

impl<W: Write> Table<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(out: W) -> io::Result<Table<W>> {
        let mut table = csv::Writer::from_writer(out);
        table.write_record(["file", "line", "anomalie"])?;
        Ok(Table(table))
    }

    /// Writes one finding.
    ///
    /// # Errors
    /// Those of the output.
    pub fn row(&mut self, finding: &Finding) -> io::Result<()> {
        let (file, text) = (format!("{} file", finding.file), finding.anomaly());
        self.0.write_record([&*tame(&file), &finding.line.to_string(), &*tame(&text)])?;
        Ok(())
    }

    /// Writes what is held back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The findings as one text.
///
/// # Errors
/// None that memory does not have.
pub fn csv<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut table = Table::new(&mut text)?;
    findings.into_iter().try_for_each(|finding| table.row(finding))?;
    table.end()?;
    Ok(text)
}

impl Finding {
    /// What the table says of it.
    fn anomaly(&self) -> String {
        match self.kind {
            Kind::DuplicateRow => "Duplicated row in file".into(),
            Kind::ShortRow | Kind::LongRow => "Row doesn't match with the headers schema".into(),
            _ if self.column.is_empty() => self.text.clone(),
            _ => format!("{}: {}", self.column, self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_known_layout_and_no_formulas() {
        let finding = |kind, column: &str, text: &str| Finding {
            file: "columns".into(),
            line: 7,
            column: column.into(),
            kind,
            text: text.into(),
            dead: false,
        };
        let findings = [
            finding(Kind::DuplicateRow, "", "the row is the same as line 3"),
            finding(Kind::ShortRow, "", "the row has 2 cells and the header 3"),
            finding(Kind::BrokenReference, "owner", "no \"x, y\""),
            finding(Kind::EmptyKey, "=HYPERLINK(1)", "is empty"),
        ];
        let out = csv(&findings).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "file,line,anomalie\n\
             columns file,7,Duplicated row in file\n\
             columns file,7,Row doesn't match with the headers schema\n\
             columns file,7,\"owner: no \"\"x, y\"\"\"\n\
             columns file,7,'=HYPERLINK(1): is empty\n"
        );
    }

    #[test]
    fn words_are_those_of_json() {
        for kind in [Kind::ShortRow, Kind::Nul, Kind::BrokenReference, Kind::TooLong, Kind::Type] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
    }
}
