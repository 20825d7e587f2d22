//! `[[datasets]]` in `tocsin.toml`: which files make up a set, and what is to hold in each and
//! between them. It says what is declared wrong; it reads no file of a set.

use crate::settings::{DecimalMark, OneOrMany, fits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tocsin_domain::DEFAULT_TENANT;
use tocsin_service::config::{ConfigError, Document, suggest};

/// How many bytes a set may have, unpacked, if nothing is said.
const MAX_BYTES: u64 = 256 << 20;
/// How many rows, if nothing is said: what is kept to judge them takes up to 150 bytes each.
const MAX_ROWS: u64 = 1_000_000;
/// More cannot be allowed: line numbers and memory are bounded.
const MOST_ROWS: u64 = 20_000_000;
/// The longest name.
const NAME_CAP: usize = 100;

/// One data set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// What it is called in events, routes and errors.
    pub name: String,
    /// The namespace; the document's `tenant` if none is given.
    pub tenant: Option<String>,
    /// A directory whose files, and whose directories' files, are read when they are a whole set.
    pub folder: Option<PathBuf>,
    /// Between fields; found in each header if none is given.
    pub delimiter: Option<char>,
    /// How bytes are text; found in each file if nothing is said.
    pub encoding: Option<Encoding>,
    /// The decimal mark; found in each file if none is given.
    pub decimal: Option<DecimalMark>,
    /// Of columns of type `date`: one or several strptime formats; ISO 8601 if none is given.
    pub date_format: Option<OneOrMany>,
    /// What becomes of cells that a spreadsheet would compute.
    #[serde(default)]
    pub formulas: Formulas,
    /// The most rows of all files together.
    pub max_rows: Option<u64>,
    /// The most bytes of all files together, unpacked.
    pub max_bytes: Option<u64>,
    /// Its files, in the order in which they are read.
    pub files: Vec<FileConfig>,
}

/// One file of a set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// What the file stands for: `columns`.
    pub name: String,
    /// Its name on disk, with `*` for any characters; `NAME.csv` and `NAME.csv.gz` if none is given.
    pub pattern: Option<String>,
    /// Columns that together tell its rows apart.
    #[serde(default)]
    pub key: Vec<String>,
    /// Columns that the header must have and that are not empty in any row.
    #[serde(default)]
    pub required: Vec<String>,
    /// What stands in a column, if it is more than text.
    #[serde(default)]
    pub types: BTreeMap<String, CellType>,
    /// Columns that name a row of a file: `column = "file.key"`.
    #[serde(default)]
    pub references: BTreeMap<String, String>,
    /// Whether the set is whole without it.
    #[serde(default)]
    pub optional: bool,
}

/// How bytes are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, low byte first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, high byte first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// Windows-1252, of which Latin-1 is a part.
    #[serde(rename = "windows-1252", alias = "latin-1")]
    Windows1252,
}

impl Encoding {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Windows1252 => "windows-1252",
        }
    }
}

/// What stands in a cell that is not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellType {
    /// Anything.
    #[default]
    Text,
    /// A whole number.
    Whole,
    /// A number, with the set's decimal mark.
    Decimal,
    /// A date, or a date with a time.
    Date,
}

/// What becomes of rows with cells that a spreadsheet would compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Formulas {
    /// They are dead letters.
    #[default]
    Refuse,
    /// They are events, and the report tells of them.
    Flag,
}

impl DatasetConfig {
    /// The namespace of its events.
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
    }

    /// The most rows of all files together.
    pub fn max_rows(&self) -> u64 {
        self.max_rows.unwrap_or(MAX_ROWS)
    }

    /// The most bytes of all files together, unpacked.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(MAX_BYTES)
    }

    /// Which of its files a file of that name is.
    pub fn which(&self, name: &str) -> Option<usize> {
        self.files.iter().position(|file| file.takes(name))
    }

    /// The names of its files, for errors.
    pub fn file_names(&self) -> String {
        self.files.iter().map(|file| format!("`{}`", file.name)).collect::<Vec<_>>().join(", ")
    }

    /// Where a reference leads: the file, and its column.
    pub fn target<'a>(&self, reference: &'a str) -> Option<(usize, &'a str)> {
        // Names of files and columns may have dots in them.
        self.files.iter().enumerate().find_map(|(at, file)| {
            let column = reference.strip_prefix(file.name.as_str())?.strip_prefix('.')?;
            Some((at, column))
        })
    }

    fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        if let Some(c) = self.delimiter
            && (!c.is_ascii() || matches!(c, '"' | '\n' | '\r' | '\0'))
        {
            return Err(format!(
                "`delimiter` is {c:?}; it must be one ASCII character, and no quote"
            ));
        }
        for (key, value, most) in [
            ("max_rows", self.max_rows(), MOST_ROWS),
            ("max_bytes", self.max_bytes(), u64::from(u32::MAX) * 16),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("`{key}` is {value}; allowed: 1 to {most}"));
            }
        }
        let formats = self.date_format.as_ref().map(OneOrMany::all).unwrap_or_default();
        crate::moment::Moments::new(formats, "UTC")?;
        if self.files.is_empty() {
            return Err("it has no files; each needs a [[datasets.files]]".into());
        }
        for (at, file) in self.files.iter().enumerate() {
            if self.files[..at].iter().any(|other| other.name == file.name) {
                return Err(format!(
                    "there are two files `{}`; each needs its own name",
                    file.name
                ));
            }
            self.check_file(file).map_err(|reason| format!("file `{}`: {reason}", file.name))?;
        }
        Ok(())
    }

    fn check_file(&self, file: &FileConfig) -> Result<(), String> {
        check_name(&file.name)?;
        if file.pattern.as_deref().is_some_and(|pattern| pattern.is_empty()) {
            return Err("its `pattern` is empty".into());
        }
        let twice = |columns: &[String]| {
            let at = (1..columns.len()).find(|at| columns[..*at].contains(&columns[*at]));
            at.map(|at| columns[at].clone())
        };
        for (key, columns) in [("key", &file.key), ("required", &file.required)] {
            if let Some(column) = twice(columns) {
                return Err(format!("`{key}` names column `{column}` twice"));
            }
        }
        for (column, reference) in &file.references {
            let names = || self.files.iter().map(|file| file.name.as_str());
            let Some((at, key)) = self.target(reference) else {
                let name = reference.split('.').next().unwrap_or_default();
                let meant = suggest(name, names()).map(|n| format!("did you mean `{n}`? "));
                return Err(format!(
                    "reference `{column}` is to {reference:?}, which is no file's key; {}\
                     allowed: FILE.KEY, with a file out of {}",
                    meant.unwrap_or_default(),
                    self.file_names()
                ));
            };
            let wanted = &self.files[at].key;
            if wanted.as_slice() != [key] {
                return Err(format!(
                    "reference `{column}` is to `{key}` of `{}`, whose key is {wanted:?}; \
                     a reference is to a key of one column",
                    self.files[at].name
                ));
            }
        }
        Ok(())
    }
}

impl FileConfig {
    /// Whether a file of that name is this one.
    pub fn takes(&self, name: &str) -> bool {
        match &self.pattern {
            Some(pattern) => fits(pattern, name),
            None => {
                let rest = name.strip_prefix(self.name.as_str());
                rest.is_some_and(|rest| matches!(rest, ".csv" | ".csv.gz"))
            }
        }
    }

    /// The columns that its header must have.
    pub fn needed(&self) -> impl Iterator<Item = &String> {
        self.key.iter().chain(&self.required).chain(self.references.keys())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= NAME_CAP && name.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!(
            "name {name:?} cannot be one; allowed: up to {NAME_CAP} letters, digits, `-`, `_`, `.`"
        )),
    }
}

/// The data sets of a document, each of them checked.
///
/// # Errors
/// Every fault that can be seen without a file.
pub fn section(document: &Document) -> Result<Vec<DatasetConfig>, ConfigError> {
    let tenant: String = document.section("tenant")?;
    let mut found: Vec<DatasetConfig> = document.list("datasets")?;
    let mut errors = ConfigError::default();
    for i in 0..found.len() {
        let (before, rest) = found.split_at_mut(i);
        let Some(set) = rest.first_mut() else { continue };
        if set.tenant.is_none() && !tenant.is_empty() {
            set.tenant = Some(tenant.clone());
        }
        set.folder = set.folder.take().map(|folder| document.resolve(&folder));
        let fault = match before.iter().any(|other| other.name == set.name) {
            true => Err("there are two data sets of this name; each needs its own".to_owned()),
            false => set.check(),
        };
        if let Err(message) = fault {
            let message = format!("in datasets.{}: {message}", set.name);
            errors = errors.and(document.problem("datasets", &set.name, message));
        }
    }
    errors.or_ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
tenant = "acme"
[[datasets]]
name = "catalogue"
folder = "in"
[[datasets.files]]
name = "namespaces"
key = ["namespace_id"]
[[datasets.files]]
name = "columns"
pattern = "col*.csv"
key = ["column_id"]
types = { size = "whole" }
references = { namespace_id = "namespaces.namespace_id" }
"#;

    fn read(text: &str) -> Result<Vec<DatasetConfig>, String> {
        let document = Document::parse(text, "t.toml").map_err(|e| e.to_string())?;
        section(&document).map_err(|e| e.to_string())
    }

    #[test]
    fn a_set_knows_its_files_by_their_names() {
        let set = &read(GOOD).unwrap()[0];
        assert_eq!((set.tenant(), set.max_rows()), ("acme", MAX_ROWS));
        for (name, wanted) in [
            ("namespaces.csv", Some(0)),
            ("namespaces.csv.gz", Some(0)),
            ("namespaces.csv.bak", None),
            ("col 2024.csv", Some(1)),
            ("columns.txt", None),
        ] {
            assert_eq!(set.which(name), wanted, "{name}");
        }
    }

    #[test]
    fn every_fault_is_named_with_its_line() {
        for (from, to, wanted) in [
            ("\"catalogue\"", "\"a/b\"", "t.toml:3: in datasets.a/b: name \"a/b\" cannot be one"),
            ("\"columns\"", "\"namespaces\"", "there are two files `namespaces`"),
            ("folder", "foldr", "unknown key `foldr`; did you mean `folder`?"),
            ("\"whole\"", "\"int\"", "unknown value `int`"),
            ("key = [\"namespace_id\"]", "key = [\"a\", \"b\"]", "whose key is [\"a\", \"b\"]"),
            ("key = [\"column_id\"]", "key = [\"a\", \"a\"]", "`key` names column `a` twice"),
            ("\"namespaces.n", "\"namespace.n", "did you mean `namespaces`?"),
            ("folder = \"in\"", "max_rows = 0", "`max_rows` is 0; allowed: 1 to 20000000"),
            ("folder = \"in\"", "delimiter = \"é\"", "it must be one ASCII character"),
            ("folder = \"in\"", "date_format = \"%!\"", "is no strptime format"),
            ("pattern = \"col*.csv\"", "pattern = \"\"", "its `pattern` is empty"),
        ] {
            let error = read(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(wanted), "{wanted} is not in {error}");
        }
        let twice = format!("{GOOD}{}", &GOOD[GOOD.find("[[").unwrap()..]);
        assert!(read(&twice).unwrap_err().contains("two data sets of this name"));
        assert!(read("[[datasets]]\nname = \"a\"\nfiles = []").unwrap_err().contains("no files"));
    }
}
