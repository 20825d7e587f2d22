//! A row against the rows before it and against the other files: duplicates, keys, references. It
//! keeps hashes of rows, never the rows; how many, the set's limit says.

use super::cell::shown;
use super::finding::Kind;
use super::layout::Layout;
use super::settings::DatasetConfig;
use std::collections::{HashMap, HashSet};
use tocsin_domain::Id;

/// The hash of what a key or a row says.
type Hash = [u8; 16];

/// The keys that the rows of each file have; only of files that others refer to.
#[derive(Debug, Default)]
pub struct Keys(HashMap<usize, HashSet<Hash>>);

impl Keys {
    /// None yet, for files that are named in references.
    pub fn of(layouts: &[(usize, &Layout)]) -> Keys {
        let wanted = layouts.iter().flat_map(|(_, layout)| &layout.references);
        Keys(wanted.map(|(_, file)| (*file, HashSet::new())).collect())
    }

    /// None yet, for every file of the set that is named in references.
    pub fn of_set(set: &DatasetConfig) -> Keys {
        let named = set.files.iter().flat_map(|file| file.references.values());
        let wanted = named.filter_map(|to| Some((set.target(to)?.0, HashSet::new())));
        Keys(wanted.collect())
    }

    /// Whether anybody refers to the file.
    pub fn wanted(&self, file: usize) -> bool {
        self.0.contains_key(&file)
    }

    /// Notes the key of a row.
    pub fn note(&mut self, file: usize, layout: &Layout, cells: &[&str]) {
        if let (Some(keys), Some(key)) = (self.0.get_mut(&file), key(layout, cells)) {
            keys.insert(key);
        }
    }

    /// Notes the key of a row that is an event.
    pub fn note_event(&mut self, file: usize, set: &DatasetConfig, fields: &[(&str, &str)]) {
        // A reference is to a key of one column.
        let [column] = set.files[file].key.as_slice() else { return };
        let cell = fields.iter().find(|(name, _)| name == column).map(|(_, cell)| cell.trim());
        if let (Some(keys), Some(cell)) = (self.0.get_mut(&file), cell.filter(|it| !it.is_empty()))
        {
            keys.insert(hash([cell].into_iter()));
        }
    }

    fn has(&self, file: usize, cell: &str) -> bool {
        self.0.get(&file).is_some_and(|keys| keys.contains(&hash([cell.trim()].into_iter())))
    }
}

/// Judges the rows of one file, in order.
#[derive(Debug, Default)]
pub struct Judge {
    rows: HashMap<Hash, u32>,
    keys: HashMap<Hash, u32>,
}

/// What is found: kind, column, text.
pub type Found = (Kind, Option<usize>, String);

impl Judge {
    /// What is wrong with a row that can be read.
    pub fn row(&mut self, layout: &Layout, line: u64, cells: &[&str], keys: &Keys) -> Vec<Found> {
        let mut found = Vec::new();
        // The limit of rows bounds the lines that matter; a later one is shown as the last.
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        match self.rows.entry(hash(cells.iter().copied())) {
            std::collections::hash_map::Entry::Occupied(first) => {
                let text = format!("the row is the same as line {}", first.get());
                found.push((Kind::DuplicateRow, None, text));
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(line);
                found.extend(self.key(layout, line, cells));
            }
        }
        for at in layout.required.iter().filter(|at| !layout.key.contains(at)) {
            if cells[*at].trim().is_empty() {
                found.push((Kind::EmptyCell, Some(*at), "the cell is empty".into()));
            }
        }
        for (at, file) in &layout.references {
            let cell = cells[*at].trim();
            if !cell.is_empty() && !keys.has(*file, cell) {
                let text = format!("no row has the key {}", shown(cell));
                found.push((Kind::BrokenReference, Some(*at), text));
            }
        }
        found
    }

    fn key(&mut self, layout: &Layout, line: u32, cells: &[&str]) -> Option<Found> {
        if let Some(at) = layout.key.iter().find(|at| cells[**at].trim().is_empty()) {
            return Some((Kind::EmptyKey, Some(*at), "the key is empty".into()));
        }
        let key = key(layout, cells)?;
        match self.keys.entry(key) {
            std::collections::hash_map::Entry::Occupied(first) => {
                let at = layout.key.first().copied();
                let text = format!(
                    "line {} has the same key, {}, and other cells",
                    first.get(),
                    layout
                        .key
                        .iter()
                        .map(|at| shown(cells[*at].trim()))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                Some((Kind::DuplicateKey, at, text))
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(line);
                None
            }
        }
    }
}

/// What tells a row apart; `None` if there is no key, or nothing in it.
fn key(layout: &Layout, cells: &[&str]) -> Option<Hash> {
    let mut parts = layout.key.iter().map(|at| cells[*at].trim());
    let whole = !layout.key.is_empty() && parts.clone().all(|part| !part.is_empty());
    whole.then(|| hash(&mut parts))
}

fn hash<'a>(parts: impl Iterator<Item = &'a str>) -> Hash {
    let parts: Vec<&[u8]> = parts.map(str::as_bytes).collect();
    *Id::of("cells", &parts).as_bytes()
}
