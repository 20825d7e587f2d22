//! A row of a data set that is a dead letter, read again as the set is declared today. It is taken
//! only while its upload is the newest of the set, so that rows of two versions never mix; what it
//! refers to is looked for among the rows of that upload. It writes nothing.

use super::cell::Cells;
use super::judge::{Judge, Keys};
use super::layout::Layout;
use super::plan::Line;
use super::press;
use super::receipt::{self, Receipt};
use super::settings::{DatasetConfig, Encoding};
use super::table::{self, Read, Row};
use super::text;
use crate::mapping::DEAD_LETTER_CAP;
use crate::redrive::Outcome;
use crate::source::Event;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Read as _};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::{DatasetRow, DatasetRowKind, subject_key};
use tocsin_domain::partition::partition_of;
use tocsin_domain::topics::DATASETS_ROWS;
use tocsin_domain::wire::{self, SchemaIds};
use tocsin_domain::{Id, TopicPartition};
use tocsin_stream::{Log, LogError};

/// What a row is read with, beside its bytes: it stands in its dead letter, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Its upload.
    upload: Id,
    /// Its number among the rows of that.
    row: u64,
    /// What its file stands for.
    file: String,
    /// What the header says.
    pub(super) columns: Vec<String>,
    pub(super) delimiter: u8,
    pub(super) encoding: Encoding,
    /// Whether numbers have a decimal comma, if any number tells.
    pub(super) comma: Option<bool>,
}

impl Head {
    /// Of a row, as it stands in a dead letter; nothing if that would be too long to keep.
    pub(super) fn of(line: &Line<'_>, upload: Id, row: u64) -> Vec<u8> {
        let Layout { columns, delimiter, encoding, comma, .. } = line.layout;
        let head = Head {
            upload,
            row,
            file: line.file.to_owned(),
            columns: columns.clone(),
            delimiter: *delimiter,
            encoding: *encoding,
            comma: *comma,
        };
        let bytes = serde_json::to_vec(&head).ok();
        bytes.filter(|bytes| bytes.len() <= DEAD_LETTER_CAP).unwrap_or_default()
    }
}

/// Knows the sets, and what the log has of them.
pub(crate) struct Again {
    sets: HashMap<String, DatasetConfig>,
    versions: HashMap<String, Option<Version>>,
}

/// The newest upload of a set.
struct Version {
    receipt: Receipt,
    keys: Keys,
}

/// A letter that can be read.
struct Letter<'l> {
    letter: &'l DeadLetter,
    head: Head,
    /// The name of its file, and its line.
    place: (&'l str, u64),
    set: &'l DatasetConfig,
    layout: Layout,
    file: usize,
}

impl Again {
    /// As declared today.
    pub(crate) fn new(sets: &[DatasetConfig]) -> Again {
        let sets = sets.iter().map(|set| (set.name.clone(), set.clone()));
        Again { sets: sets.collect(), versions: HashMap::new() }
    }

    /// What would come of the letter, which stood at that place in a file of a set. Without a log it
    /// is not looked whether its upload is the newest, nor what it refers to.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(crate) fn reread(
        &mut self,
        (letter, place): (&DeadLetter, (&str, u64)),
        set: &str,
        log: Option<&dyn Log>,
    ) -> Result<Outcome, LogError> {
        let letter = match Letter::open(letter, place, self.sets.get(set)) {
            Ok(letter) => letter,
            Err(reason) => return Ok(Outcome::dead(reason)),
        };
        let Some(log) = log else {
            let mut found = letter.read(None);
            found.told.push("`tocsin dlq show` looks at what it refers to".to_owned());
            return Ok(found);
        };
        let version = match self.versions.entry(set.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(Version::newest(log, letter.set)?),
        };
        match version.as_mut().filter(|version| version.receipt.upload == letter.head.upload) {
            Some(version) => Ok(letter.read(Some(version))),
            None => Ok(Outcome::dead(
                "another upload of its set came after it, and rows of two versions do not mix: if it \
                 is missing there too, upload the corrected set; then drop this"
                    .to_owned(),
            )),
        }
    }
}

impl Again {
    /// A set of which another upload has begun since its letters were read.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(crate) fn overtaken(&self, log: &dyn Log) -> Result<Option<&str>, LogError> {
        for (name, version) in &self.versions {
            let Some(set) = self.sets.get(name) else { continue };
            let newest = receipt::of_set(log, set.tenant(), name)?.pop();
            let is = |receipt: &Receipt| (receipt.upload, receipt.begun);
            if newest.as_ref().map(is) != version.as_ref().map(|known| is(&known.receipt)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl<'l> Letter<'l> {
    fn open(
        letter: &'l DeadLetter,
        place: (&'l str, u64),
        set: Option<&'l DatasetConfig>,
    ) -> Result<Letter<'l>, String> {
        let set = set.filter(|set| key(set) == letter.key).ok_or_else(|| {
            let name = &letter.source;
            format!("there is no {name:?} any more where it was: declare it again, or drop it")
        })?;
        if letter.head.is_empty() {
            return Err("it was kept without its header: upload the corrected set, then drop this"
                .to_owned());
        }
        let head: Head = serde_json::from_slice(&letter.head)
            .map_err(|error| format!("its header cannot be read: {error}"))?;
        let file = set.files.iter().position(|file| file.name == head.file).ok_or_else(|| {
            let (file, names) = (&head.file, set.file_names());
            format!("the set has no file `{file}` any more; its files are {names}")
        })?;
        let layout = Layout::kept(set, file, &head)?;
        Ok(Letter { letter, head, place, set, layout, file })
    }

    fn read(&self, version: Option<&mut Version>) -> Outcome {
        match self.try_read(version) {
            Ok(found) => found.checked(),
            Err(reason) => Outcome::dead(reason),
        }
    }

    fn try_read(&self, mut version: Option<&mut Version>) -> Result<Outcome, String> {
        let (mut found, mut rows) = (Outcome::default(), 0);
        let mut cells = table::cells(self.set, &self.layout)?;
        let values = table::cells(self.set, &self.layout)?;
        let lines = text::row(&self.letter.value, self.layout.encoding);
        // Whoever reads a file passes over its header.
        let header: &[u8] = b"-\n";
        let mut content = header.chain(lines.map_err(|error| error.to_string())?);
        let with = (&self.layout, self.set.formulas);
        let read = table::each::<io::Error>(&mut content, with, &mut cells, &mut |read| {
            rows += 1;
            if let Read::Row(row) = read {
                self.row(row, &values, version.as_deref_mut(), &mut found);
            }
            Ok(())
        });
        read.map_err(|error| error.to_string())?;
        match rows {
            0 | 1 => Ok(found),
            _ => Err("it is more than one row now: was `encoding` changed?".to_owned()),
        }
    }

    fn row(
        &self,
        row: Row<'_>,
        values: &Cells,
        version: Option<&mut Version>,
        found: &mut Outcome,
    ) {
        let cells = match row.cells {
            Err(fault) => {
                found.dead = Some(fault.reason);
                return;
            }
            Ok(cells) => cells,
        };
        let ((name, line), set, layout) = (self.place, self.set, &self.layout);
        let event_time = version.as_ref().map(|version| version.receipt.time(self.head.row));
        let named = layout.columns.iter().zip(&layout.types).zip(&cells);
        let fields: Vec<_> = named
            .map(|((column, kind), cell)| (column.as_str(), values.value(cell, *kind)))
            .collect();
        let place = (self.head.file.as_str(), line, self.letter.value.as_slice());
        found.event(&Event::DatasetRow(DatasetRow {
            id: press::id("dataset-row", set, place),
            tenant: set.tenant(),
            dataset: &set.name,
            kind: DatasetRowKind::Row,
            file: name,
            line: i64::try_from(line).unwrap_or(i64::MAX),
            fields: fields.iter().map(|(name, value)| (*name, &**value)).collect(),
            event_time: event_time.unwrap_or(self.letter.at),
            arrival_time: self.letter.at,
            source: &set.name,
        }));
        if let Some(at) = row.formula {
            found.told.push(self.told(Some(at), &table::formula_text(cells[at])));
        }
        if let Some(Version { keys, .. }) = version {
            let judged = Judge::default().row(layout, line, &cells, keys);
            found.told.extend(judged.iter().map(|(_, column, text)| self.told(*column, text)));
            // What stands behind it may refer to it.
            keys.note(self.file, layout, &cells);
        }
    }

    fn told(&self, column: Option<usize>, text: &str) -> String {
        match column {
            Some(at) => format!("`{}`: {text}", self.layout.columns[at]),
            None => text.to_owned(),
        }
    }
}

impl Version {
    fn newest(log: &dyn Log, set: &DatasetConfig) -> Result<Option<Version>, LogError> {
        let newest = receipt::of_set(log, set.tenant(), &set.name)?.pop();
        let Some(receipt) = newest else { return Ok(None) };
        let mut keys = Keys::of_set(set);
        let (key, ids) = (key(set), SchemaIds::default());
        let number = partition_of(&key, log.partitions(DATASETS_ROWS)?);
        // What each file is called, and which of the set's it is.
        let mut names: Vec<(String, usize)> = Vec::new();
        log.scan_all(&TopicPartition::new(DATASETS_ROWS, number), |record| {
            let value = record.value.filter(|_| record.key == key);
            let row = value.and_then(|value| wire::read::<DatasetRow<'_>>(value, &ids).ok());
            // The times of an upload are behind those of every one before it.
            let Some(row) = row.filter(|row| row.event_time >= receipt.begun) else {
                return Ok(());
            };
            let number = |wanted: &str| set.files.iter().position(|file| file.name == wanted);
            match row.kind {
                DatasetRowKind::Opened => {
                    let files = row.fields.iter();
                    let files =
                        files.filter_map(|(file, name)| Some(((*name).to_owned(), number(file)?)));
                    names = files.collect();
                }
                DatasetRowKind::Row => {
                    let known = names.iter().filter(|(name, _)| name == row.file);
                    known.for_each(|(_, file)| keys.note_event(*file, set, &row.fields));
                }
                DatasetRowKind::Closed => {}
            }
            Ok::<(), LogError>(())
        })?;
        Ok(Some(Version { receipt, keys }))
    }
}

/// The key of its rows.
fn key(set: &DatasetConfig) -> Vec<u8> {
    let mut key = Vec::new();
    subject_key(&mut key, set.tenant(), &set.name);
    key
}
