//! A file's header against its declaration: delimiter, columns and decimal mark. What is missing,
//! doubled or without a name refuses the file as a whole, before any row of the set is written.

use super::again::Head;
use super::settings::{CellType, DatasetConfig, Encoding};
use super::text::{self, Survey};
use crate::fields::{Fields, detect_delimiter, is_blank};
use crate::rows::{Found, Rows};
use crate::settings::DecimalMark;
use std::collections::HashMap;
use std::io::{self, BufRead};
use tocsin_service::config::suggest;

/// The most columns.
const COLUMN_CAP: usize = 10_000;
/// The longest name of a column, in bytes.
const NAME_CAP: usize = 1_000;
/// How many rows are looked at to find the decimal mark.
const SAMPLE: usize = 1_000;

/// What is known of a file once its header is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How its bytes are text.
    pub encoding: Encoding,
    /// Between its fields.
    pub delimiter: u8,
    /// Its columns; nameless ones at the end are none.
    pub columns: Vec<String>,
    /// What stands in each of them.
    pub types: Vec<CellType>,
    /// Whether its numbers have a decimal comma; `None` if no number tells.
    pub comma: Option<bool>,
    /// The columns that together are its key.
    pub key: Vec<usize>,
    /// The columns that are not empty in any row.
    pub required: Vec<usize>,
    /// Columns that name rows of files: column, file.
    pub references: Vec<(usize, usize)>,
    /// What to tell of it: columns that nobody has declared.
    pub undeclared: Vec<String>,
}

impl Layout {
    /// Reads the header of `content`, which is file number `file` of `set`, and a sample of its rows.
    ///
    /// # Errors
    /// What is wrong with it, and what is wanted.
    pub fn read(
        content: &mut dyn BufRead,
        (set, file): (&DatasetConfig, usize),
        survey: &Survey,
    ) -> Result<Layout, String> {
        let mut rows = Rows::new(content);
        let broken = |error: io::Error| format!("it cannot be read: {error}");
        let mut found = rows.next(None).map_err(broken)?;
        while found == Found::Row && rows.row().trim_ascii().is_empty() {
            found = rows.next(None).map_err(broken)?;
        }
        match found {
            Found::End => return Err("it is empty: it has not even a header".into()),
            Found::Row => {}
            _ => return Err("its header is longer than a row may be; is it CSV?".into()),
        }
        let given = set.delimiter.map(|delimiter| delimiter as u8);
        let delimiter = given.unwrap_or_else(|| detect_delimiter(rows.row()));
        let columns = columns(rows.row(), delimiter, survey.encoding)?;
        let mut layout = declared(set, file, columns)?;
        (layout.encoding, layout.delimiter) = (survey.encoding, delimiter);
        layout.comma = match set.decimal {
            Some(mark) => Some(mark == DecimalMark::Comma),
            None => layout.sample(&mut rows).map_err(broken)?,
        };
        Ok(layout)
    }

    /// Of a file whose header was kept with a row of it.
    ///
    /// # Errors
    /// If it lacks a column that is needed today.
    pub(super) fn kept(set: &DatasetConfig, file: usize, head: &Head) -> Result<Layout, String> {
        let layout = declared(set, file, head.columns.clone())?;
        Ok(Layout {
            encoding: set.encoding.unwrap_or(head.encoding),
            delimiter: head.delimiter,
            comma: set.decimal.map(|mark| mark == DecimalMark::Comma).or(head.comma),
            ..layout
        })
    }

    /// Whether most of the first numbers with a mark in them have a comma.
    fn sample(&self, rows: &mut Rows<'_>) -> io::Result<Option<bool>> {
        let (mut commas, mut points) = (0, 0);
        let mut fields = Fields::default();
        for _ in 0..SAMPLE {
            match rows.next(Some(self.delimiter))? {
                Found::Row => {}
                Found::End => break,
                _ => continue,
            }
            let Ok(text) = text::text(rows.row(), self.encoding) else { continue };
            let (text, spans) = fields.split(&text, self.delimiter);
            let decimals = self.types.iter().zip(spans).filter(|(t, _)| **t == CellType::Decimal);
            for (_, (start, end)) in decimals {
                match (text[*start..*end].contains(','), text[*start..*end].contains('.')) {
                    (true, false) => commas += 1,
                    (false, true) => points += 1,
                    _ => {}
                }
            }
        }
        Ok((commas + points > 0).then_some(commas > points))
    }
}

/// The names in a header.
fn columns(row: &[u8], delimiter: u8, encoding: Encoding) -> Result<Vec<String>, String> {
    if row.contains(&0) {
        return Err("its header has NUL characters; is it UTF-16 without a mark? \
                    declare `encoding`, or save it as UTF-8"
            .into());
    }
    let text = text::text(row.trim_ascii_end(), encoding)?;
    let mut fields = Fields::default();
    let (text, spans) = fields.split(&text, delimiter);
    let mut columns: Vec<String> =
        spans.iter().map(|(start, end)| text[*start..*end].trim().to_owned()).collect();
    // Delimiters at the end of every line make no columns.
    while columns.last().is_some_and(|name| is_blank(name.as_bytes(), delimiter)) {
        columns.pop();
    }
    if columns.is_empty() || columns.len() > COLUMN_CAP {
        let found = columns.len();
        return Err(format!("its header has {found} columns; allowed: 1 to {COLUMN_CAP}"));
    }
    let mut seen = HashMap::new();
    for (at, name) in columns.iter().enumerate() {
        let place = at + 1;
        if name.is_empty() {
            return Err(format!("column {place} has no name; each column needs one"));
        }
        if name.len() > NAME_CAP || name.chars().any(char::is_control) {
            return Err(format!(
                "the name of column {place} has control characters, or more than {NAME_CAP} bytes"
            ));
        }
        if let Some(other) = seen.insert(name.as_str(), place) {
            return Err(format!("columns {other} and {place} are both called `{name}`"));
        }
    }
    Ok(columns)
}

/// What the declaration says of `columns`.
fn declared(set: &DatasetConfig, file: usize, columns: Vec<String>) -> Result<Layout, String> {
    let config = &set.files[file];
    let find = |name: &String| columns.iter().position(|column| column == name);
    let missing: Vec<String> = config
        .needed()
        .filter(|name| find(name).is_none())
        .map(|name| {
            let meant = suggest(name, columns.iter().map(String::as_str));
            let meant = meant.map(|meant| format!(" (is it `{meant}`?)"));
            format!("`{name}`{}", meant.unwrap_or_default())
        })
        .collect();
    if !missing.is_empty() {
        let shown: Vec<String> = columns.iter().take(50).map(|c| format!("`{c}`")).collect();
        return Err(format!(
            "it has no column {}; its columns are {}",
            missing.join(", "),
            shown.join(", ")
        ));
    }
    let type_of = |name: &String| config.types.get(name).copied().unwrap_or_default();
    let known = |name: &String| {
        config.types.contains_key(name) || config.needed().any(|needed| needed == name)
    };
    // A typed column that is not there may be one that is, with another spelling.
    let absent = || config.types.keys().filter(|name| find(name).is_none()).map(String::as_str);
    let undeclared = columns.iter().filter(|name| !known(name)).map(|name| {
        let meant = suggest(name, absent()).map(|meant| format!(" (is it `{meant}`?)"));
        format!("{name}{}", meant.unwrap_or_default())
    });
    let references = config.references.iter();
    let references = references.filter_map(|(name, to)| Some((find(name)?, set.target(to)?.0)));
    Ok(Layout {
        encoding: Encoding::Utf8,
        delimiter: b',',
        types: columns.iter().map(type_of).collect(),
        comma: None,
        key: config.key.iter().filter_map(find).collect(),
        required: config.required.iter().filter_map(find).collect(),
        references: references.collect(),
        undeclared: undeclared.collect(),
        columns,
    })
}
