//! One upload, read before anything of it is written: its id, what each file is made of, the keys
//! that others refer to; then, as often as it is asked for, every row with what is wrong with it.
//! The same bytes give the same rows in the same order. It writes nothing.

use super::finding::Finding;
use super::judge::{Judge, Keys};
use super::layout::Layout;
use super::report::{FileReport, Report};
use super::settings::{DatasetConfig, Formulas};
use super::table::{self, Fault, Read, Row};
use super::text::{self, Survey};
use super::upload::{Part, Upload, refuse};
use super::{DatasetError, Kind};
use crate::IngestError;
use std::borrow::Cow;
use std::io;
use tocsin_domain::Id;

/// How often somebody is asked whether to go on, in rows.
const ASK: u64 = 4_096;
/// How many times its own size an upload may be in the log, as each row names its columns.
const GROWTH: u64 = 16;

/// An upload that can be read.
pub struct Plan<'u> {
    /// The id of the set's files, by their bytes.
    pub id: Id,
    set: &'u DatasetConfig,
    sheets: Vec<Sheet<'u>>,
    keys: Keys,
}

/// One of its files.
pub struct Sheet<'u> {
    /// The file.
    pub part: &'u Part,
    layout: Layout,
    survey: Survey,
    packed: bool,
}

/// A row, and what comes of it.
pub struct Line<'a> {
    /// What its file stands for.
    pub file: &'a str,
    /// What its file is called.
    pub name: &'a str,
    /// Its line.
    pub line: u64,
    /// Its bytes as they stand in the file.
    pub raw: Cow<'a, [u8]>,
    /// What is known of its file.
    pub layout: &'a Layout,
    /// What comes of it.
    pub fate: Fate<'a>,
}

/// What comes of a row.
pub enum Fate<'a> {
    /// Nothing is in it.
    Blank,
    /// An event: its columns and cells.
    Event(Vec<(&'a str, Cow<'a, str>)>),
    /// A dead letter.
    Dead(Fault),
}

/// Says whether to go on.
pub type GoOn<'g> = dyn FnMut() -> bool + 'g;

impl<'u> Plan<'u> {
    /// Reads `upload` and writes nothing.
    ///
    /// # Errors
    /// What it is refused for as a whole, or that `go_on` said no.
    pub fn of(
        set: &'u DatasetConfig,
        upload: &'u Upload,
        go_on: &mut GoOn<'_>,
    ) -> Result<Plan<'u>, DatasetError> {
        let (mut sheets, mut left) = (Vec::new(), set.max_bytes());
        for part in &upload.parts {
            let sheet = Sheet::of(set, part, left)?;
            left -= sheet.survey.bytes;
            sheets.push(sheet);
            if !go_on() {
                return Err(IngestError::Stopped.into());
            }
        }
        let files = sheets
            .iter()
            .flat_map(|sheet| [set.files[sheet.part.file].name.as_bytes(), &sheet.survey.hash]);
        let whose = [set.tenant().as_bytes(), set.name.as_bytes()];
        let id = Id::of("upload", &whose.into_iter().chain(files).collect::<Vec<_>>());
        let layouts: Vec<_> = sheets.iter().map(|sheet| (sheet.part.file, &sheet.layout)).collect();
        let keys = Keys::of(&layouts);
        let mut plan = Plan { id, set, sheets, keys };
        plan.keys = plan.collect_keys(go_on)?;
        Ok(plan)
    }

    /// The files.
    pub fn sheets(&self) -> &[Sheet<'u>] {
        &self.sheets
    }

    /// What one of its files stands for.
    pub fn file_name(&self, sheet: &Sheet<'_>) -> &str {
        &self.set.files[sheet.part.file].name
    }

    /// The keys of the files that others refer to; and whether there are too many rows.
    fn collect_keys(&mut self, go_on: &mut GoOn<'_>) -> Result<Keys, DatasetError> {
        let mut keys = std::mem::take(&mut self.keys);
        let (mut rows, mut grown) = (0, 0);
        for sheet in &self.sheets {
            let layout = &sheet.layout;
            let names: u64 = layout.columns.iter().map(|name| name.len() as u64 + 4).sum();
            let wanted = keys.wanted(sheet.part.file);
            let mut take = |read: Read<'_>| -> Result<(), DatasetError> {
                rows += 1;
                grown += names;
                self.check(rows, grown)?;
                if rows.is_multiple_of(ASK) && !go_on() {
                    return Err(IngestError::Stopped.into());
                }
                match read {
                    Read::Row(Row { cells: Ok(cells), .. }) if wanted => {
                        keys.note(sheet.part.file, layout, &cells);
                    }
                    _ => {}
                }
                Ok(())
            };
            sheet.each(self.set, &mut take)?;
        }
        Ok(keys)
    }

    fn check(&self, rows: u64, grown: u64) -> Result<(), DatasetError> {
        let set = self.set.name.clone();
        let most = self.set.max_rows();
        if rows > most {
            let reason = format!("it has more than {most} rows, which is its `max_rows`");
            return Err(DatasetError::TooLarge { set, reason });
        }
        let most = self.set.max_bytes().saturating_mul(GROWTH);
        if grown > most {
            let reason = format!(
                "the names of its columns, which stand in the event of each row, would take more \
                 than {most} bytes; give it fewer or shorter columns, or raise `max_bytes`"
            );
            return Err(DatasetError::TooLarge { set, reason });
        }
        Ok(())
    }

    /// Gives every row to `take` and what is wrong with it to `tell`, in the order of files and
    /// lines; says what came of all of them.
    ///
    /// # Errors
    /// Those of `take`, and if a file has changed under its reader.
    pub fn walk<E: From<DatasetError>>(
        &self,
        tell: &mut dyn FnMut(&Finding),
        take: &mut dyn FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<Report, E> {
        let mut report = Report::default();
        for sheet in &self.sheets {
            let config = &self.set.files[sheet.part.file];
            let (name, packed) = (sheet.part.name.as_str(), sheet.packed);
            let mut counts =
                FileReport::detected(config, (name, packed), &sheet.survey, &sheet.layout);
            let mut judge = Judge::default();
            let decimals =
                table::cells(self.set, &sheet.layout).map_err(|e| refuse(self.set, e))?;
            let mut one = |read: Read<'_>| -> Result<(), E> {
                counts.rows += 1;
                let Read::Row(row) = read else {
                    counts.blank += 1;
                    let (line, raw) = (0, Cow::Borrowed(&[][..]));
                    let file = config.name.as_str();
                    let (layout, fate) = (&sheet.layout, Fate::Blank);
                    return take(Line { file, name, line, raw, layout, fate });
                };
                let found = sheet.judge(&row, &mut judge, &self.keys);
                for finding in found.into_iter().map(|found| sheet.finding(config, &row, found)) {
                    report.found(&finding);
                    tell(&finding);
                }
                let columns = sheet.layout.columns.iter().zip(&sheet.layout.types);
                let fate = match row.cells {
                    Err(fault) => Fate::Dead(fault),
                    Ok(cells) => {
                        let named = columns.zip(cells).map(|((column, kind), cell)| {
                            (column.as_str(), decimals.value(cell, *kind))
                        });
                        Fate::Event(named.collect())
                    }
                };
                match fate {
                    Fate::Dead(_) => counts.dead_letters += 1,
                    _ => counts.events += 1,
                }
                let raw = text::original(row.raw, sheet.survey.encoding);
                let (file, layout) = (config.name.as_str(), &sheet.layout);
                take(Line { file, name, line: row.line, raw, layout, fate })
            };
            sheet.each(self.set, &mut one)?;
            report.file(counts);
        }
        Ok(report)
    }
}

/// Kind, column and text of something wrong.
type Found = (Kind, Option<usize>, String);

impl<'u> Sheet<'u> {
    fn of(set: &DatasetConfig, part: &'u Part, most: u64) -> Result<Sheet<'u>, DatasetError> {
        let name = &part.name;
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::FileTooLarge => {
                let most = set.max_bytes();
                let reason = format!(
                    "its files have more than {most} bytes, unpacked, which is its `max_bytes`"
                );
                DatasetError::TooLarge { set: set.name.clone(), reason }
            }
            _ => refuse(set, format!("{name:?} cannot be read: {error}")),
        };
        let (content, packed) = part.read().map_err(broken)?;
        let survey = text::survey(content, set.encoding, most).map_err(broken)?;
        let (content, _) = part.read().map_err(broken)?;
        let mut lines = text::reader(content, &survey).map_err(broken)?;
        let layout = Layout::read(&mut *lines, (set, part.file), &survey)
            .map_err(|reason| refuse(set, format!("{name:?}: {reason}")))?;
        drop(lines);
        Ok(Sheet { part, layout, survey, packed })
    }

    fn each<E: From<DatasetError>>(
        &self,
        set: &DatasetConfig,
        take: &mut dyn FnMut(Read<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let broken = |error| refuse(set, format!("{:?} cannot be read: {error}", self.part.name));
        let (content, _) = self.part.read().map_err(broken)?;
        let mut lines = text::reader(content, &self.survey).map_err(broken)?;
        let mut cells = table::cells(set, &self.layout).map_err(|e| refuse(set, e))?;
        let formulas: Formulas = set.formulas;
        let mut halted = None;
        let read = table::each(&mut *lines, (&self.layout, formulas), &mut cells, &mut |read| {
            take(read).map_err(|error| {
                halted = Some(error);
                io::Error::other("halted")
            })
        });
        match (read, halted) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(broken(error).into()),
        }
    }

    fn judge(&self, row: &Row<'_>, judge: &mut Judge, keys: &Keys) -> Vec<Found> {
        let cells = match &row.cells {
            Err(fault) => return vec![(fault.kind, fault.column, fault.reason.clone())],
            Ok(cells) => cells,
        };
        let formula =
            row.formula.map(|at| (Kind::Formula, Some(at), table::formula_text(cells[at])));
        let judged = judge.row(&self.layout, row.line, cells, keys);
        formula.into_iter().chain(judged).collect()
    }

    fn finding(
        &self,
        config: &super::settings::FileConfig,
        row: &Row<'_>,
        (kind, column, text): Found,
    ) -> Finding {
        let column = column.map(|at| self.layout.columns[at].clone()).unwrap_or_default();
        let (file, dead) = (config.name.clone(), row.cells.is_err());
        Finding { file, line: row.line, column, kind, text, dead }
    }
}
