//! The rows of one file: cells, or what makes a row unreadable. It knows nothing of other rows.

use super::cell::{Cells, is_formula, shown};
use super::finding::Kind;
use super::layout::Layout;
use super::settings::{DatasetConfig, Formulas};
use super::text;
use crate::fields::{Fields, is_blank};
use crate::rows::{Found, ROW_CAP, Rows};
use std::io::{self, BufRead};

/// The longest cell, in bytes.
const CELL_CAP: usize = 64 << 10;

/// A row that is not blank.
pub struct Row<'a> {
    /// The line that it begins on, counted from 1.
    pub line: u64,
    /// Its bytes, without its line end; UTF-16 as UTF-8.
    pub raw: &'a [u8],
    /// Its cells, one for each column, or why it cannot be read.
    pub cells: Result<Vec<&'a str>, Fault>,
    /// The column of a cell that a spreadsheet would compute, if such are let in.
    pub formula: Option<usize>,
}

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: Kind,
    /// The column at fault.
    pub column: Option<usize>,
    /// What was found, and what is allowed.
    pub reason: String,
}

impl Fault {
    fn new(kind: Kind, reason: impl Into<String>) -> Fault {
        Fault { kind, column: None, reason: reason.into() }
    }
}

/// What reading a file hands over.
pub enum Read<'a> {
    /// A row.
    Row(Row<'a>),
    /// A row with nothing in it.
    Blank,
}

/// Reads the rows of `content` after its header and gives each to `take`, in order.
///
/// # Errors
/// Those of the content, and those of `take`.
pub fn each<E: From<io::Error>>(
    content: &mut dyn BufRead,
    (layout, formulas): (&Layout, Formulas),
    cells: &mut Cells,
    take: &mut dyn FnMut(Read<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rows = Rows::new(content);
    while rows.next(None)? == Found::Row && rows.row().trim_ascii().is_empty() {}
    let mut fields = Fields::default();
    loop {
        let found = rows.next(Some(layout.delimiter))?;
        let raw = trim_end(rows.row());
        if found == Found::End {
            return Ok(());
        }
        if found == Found::Row && is_blank(raw, layout.delimiter) {
            take(Read::Blank)?;
            continue;
        }
        let text = whole(found, raw).and_then(|()| {
            text::text(raw, layout.encoding).map_err(|e| Fault::new(Kind::Encoding, e))
        });
        let mut formula = None;
        let read = match &text {
            Err(fault) => Err(fault.clone()),
            Ok(text) => split(text, layout, &mut fields).and_then(|row| {
                formula = row.iter().position(|cell| is_formula(cell));
                check(&row, layout, formula.filter(|_| formulas == Formulas::Refuse), cells)?;
                Ok(row)
            }),
        };
        take(Read::Row(Row { line: rows.line(), raw, cells: read, formula }))?;
    }
}

/// A row must end where it should, and have no NUL in it.
fn whole(found: Found, raw: &[u8]) -> Result<(), Fault> {
    match found {
        Found::TooLong => Err(Fault::new(
            Kind::TooLong,
            format!("the row is longer than {ROW_CAP} bytes, which is the limit"),
        )),
        Found::OpenQuote => Err(Fault::new(
            Kind::OpenQuote,
            "a quote is opened and not closed; quotes in quoted cells are doubled",
        )),
        Found::Row | Found::End => match raw.iter().position(|byte| *byte == 0) {
            None => Ok(()),
            Some(at) => Err(Fault::new(
                Kind::Nul,
                format!("byte {} of the row is NUL, which no text has", at + 1),
            )),
        },
    }
}

/// As many cells as there are columns; empty ones may follow.
fn split<'a>(
    text: &'a str,
    layout: &Layout,
    fields: &'a mut Fields,
) -> Result<Vec<&'a str>, Fault> {
    let (text, spans) = fields.split(text, layout.delimiter);
    let (has, wanted) = (spans.len(), layout.columns.len());
    if has < wanted {
        let reason = format!("the row has {has} cells and the header {wanted}");
        return Err(Fault::new(Kind::ShortRow, reason));
    }
    let cell = |(start, end): &(usize, usize)| &text[*start..*end];
    if spans[wanted..].iter().any(|span| !is_blank(cell(span).as_bytes(), layout.delimiter)) {
        let reason = format!(
            "the row has {has} cells and the header {wanted}; is a delimiter in a cell without \
             quotes?"
        );
        return Err(Fault::new(Kind::LongRow, reason));
    }
    match spans[..wanted].iter().position(|(start, end)| end - start > CELL_CAP) {
        None => Ok(spans[..wanted].iter().map(cell).collect()),
        Some(at) => {
            let reason = format!("the cell is longer than {CELL_CAP} bytes, which is the limit");
            Err(Fault { column: Some(at), ..Fault::new(Kind::TooLong, reason) })
        }
    }
}

fn check(
    row: &[&str],
    layout: &Layout,
    formula: Option<usize>,
    cells: &mut Cells,
) -> Result<(), Fault> {
    if let Some(at) = formula {
        let reason = formula_text(row[at]);
        return Err(Fault { column: Some(at), ..Fault::new(Kind::Formula, reason) });
    }
    for (at, (cell, wanted)) in row.iter().zip(&layout.types).enumerate() {
        cells
            .check(cell, *wanted)
            .map_err(|reason| Fault { column: Some(at), ..Fault::new(Kind::Type, reason) })?;
    }
    Ok(())
}

/// What to say of a cell that a spreadsheet would compute.
pub fn formula_text(cell: &str) -> String {
    format!(
        "{} begins as a formula, which a spreadsheet would compute; \
         remove the first character, or allow it with formulas = \"flag\"",
        shown(cell)
    )
}

/// The reader of a set's cells.
///
/// # Errors
/// If the set's date formats are none.
pub fn cells(set: &DatasetConfig, layout: &Layout) -> Result<Cells, String> {
    Cells::new(set, layout.comma == Some(true))
}

fn trim_end(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}
