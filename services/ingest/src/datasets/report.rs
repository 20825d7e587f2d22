//! What came of an upload: counts that add up, what was detected, what is wrong. Every way in gives
//! the same report for the same bytes.

use super::finding::{Finding, Kind};
use super::layout::Layout;
use super::settings::FileConfig;
use super::text::Survey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many findings a report keeps; all of them are counted.
pub const KEPT: usize = 1_000;
/// The longest text of a kept finding, in bytes: a thousand of them must fit into one record.
const TEXT_CAP: usize = 240;
/// The longest name of a column in it.
const COLUMN_CAP: usize = 100;

/// What came of an upload. `rows` = `events` + `dead_letters` + `blank`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows of all files, without headers.
    pub rows: u64,
    /// Rows that are events.
    pub events: u64,
    /// Rows that cannot be read.
    pub dead_letters: u64,
    /// Rows with nothing in them.
    pub blank: u64,
    /// How often each kind of thing was found; a row may have several.
    pub faults: BTreeMap<Kind, u64>,
    /// The files.
    pub files: Vec<FileReport>,
    /// The first findings, in the order of files and lines.
    pub findings: Vec<Finding>,
}

/// What was detected in one file, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// What it stands for.
    pub file: String,
    /// What it is called.
    pub name: String,
    /// Its bytes, unpacked.
    pub bytes: u64,
    /// Whether it was gzipped.
    pub gzip: bool,
    /// How its bytes are text.
    pub encoding: String,
    /// Whether it begins with a byte-order mark.
    pub byte_order_mark: bool,
    /// `lf`, `crlf` or `cr`.
    pub line_end: String,
    /// Between its fields.
    pub delimiter: char,
    /// `.` or `,`; nothing if no number tells.
    pub decimal: Option<char>,
    /// Its columns that nobody has declared.
    pub undeclared: Vec<String>,
    /// Its rows.
    pub rows: u64,
    /// Of them, events.
    pub events: u64,
    /// Of them, dead letters.
    pub dead_letters: u64,
    /// Of them, blank.
    pub blank: u64,
}

impl FileReport {
    /// What was detected; nothing is counted yet.
    pub fn detected(
        config: &FileConfig,
        (name, gzip): (&str, bool),
        survey: &Survey,
        layout: &Layout,
    ) -> FileReport {
        let undeclared = layout.undeclared.iter().take(100).cloned().map(|mut name| {
            shorten(&mut name, COLUMN_CAP);
            name
        });
        FileReport {
            file: config.name.clone(),
            name: name.to_owned(),
            bytes: survey.bytes,
            gzip,
            encoding: survey.encoding.word().to_owned(),
            byte_order_mark: survey.mark,
            line_end: survey.line_end.word().to_owned(),
            delimiter: char::from(layout.delimiter),
            decimal: layout.comma.map(|comma| if comma { ',' } else { '.' }),
            undeclared: undeclared.collect(),
            ..FileReport::default()
        }
    }
}

impl Report {
    /// Counts a finding, and keeps it if there is room.
    pub fn found(&mut self, finding: &Finding) {
        *self.faults.entry(finding.kind).or_default() += 1;
        if self.findings.len() < KEPT {
            let mut kept = finding.clone();
            shorten(&mut kept.text, TEXT_CAP);
            shorten(&mut kept.column, COLUMN_CAP);
            self.findings.push(kept);
        }
    }

    /// Adds the counts of a file that was read to its end.
    pub fn file(&mut self, file: FileReport) {
        self.rows += file.rows;
        self.events += file.events;
        self.dead_letters += file.dead_letters;
        self.blank += file.blank;
        self.files.push(file);
    }

    /// How many findings there are.
    pub fn found_in_all(&self) -> u64 {
        self.faults.values().sum()
    }
}

fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}
