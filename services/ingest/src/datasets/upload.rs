//! The files of one upload: which of the set's each of them is, and its bytes, as often as they are
//! needed. It trusts no name and keeps no bytes in memory.

use super::DatasetError;
use super::settings::DatasetConfig;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use tocsin_service::config::suggest;

/// The longest name that is kept, in bytes.
const NAME_CAP: usize = 200;

/// The files of one upload, in the order in which the set declares them.
#[derive(Debug)]
pub struct Upload {
    /// At least one; no two of one declared file.
    pub parts: Vec<Part>,
}

/// One file of an upload.
#[derive(Debug)]
pub struct Part {
    /// Which of the set's files it is.
    pub file: usize,
    /// What it is called where it comes from; no directories.
    pub name: String,
    content: File,
}

/// A file that somebody hands over.
#[derive(Debug)]
pub struct Given {
    /// What it stands for, if it is said.
    pub field: Option<String>,
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub content: File,
}

impl Upload {
    /// The upload that `given` make up.
    ///
    /// # Errors
    /// If one of them is not in the set, comes twice, or is missing.
    pub fn of(set: &DatasetConfig, given: Vec<Given>) -> Result<Upload, DatasetError> {
        let mut parts: Vec<Part> = Vec::new();
        for Given { field, name, content } in given {
            let file = which(set, field.as_deref(), &name).map_err(|e| refuse(set, e))?;
            let declared = &set.files[file].name;
            let name = if name.is_empty() { format!("{declared}.csv") } else { plain(&name) };
            if let Some(other) = parts.iter().find(|part| part.file == file) {
                let names = format!("{:?} and {name:?}", other.name);
                return Err(refuse(set, format!("file `{declared}` comes twice, as {names}")));
            }
            parts.push(Part { file, name, content });
        }
        let missing = set
            .files
            .iter()
            .enumerate()
            .filter(|(at, file)| !file.optional && parts.iter().all(|part| part.file != *at));
        let missing: Vec<String> = missing.map(|(_, file)| format!("`{}`", file.name)).collect();
        if !missing.is_empty() || parts.is_empty() {
            let missing = match missing.as_slice() {
                [] => "every file of it".to_owned(),
                some => format!("file {}", some.join(", ")),
            };
            let text = format!("{missing} is missing; its files are {}", set.file_names());
            return Err(refuse(set, text));
        }
        parts.sort_by_key(|part| part.file);
        Ok(Upload { parts })
    }

    /// The upload of files on this machine.
    ///
    /// # Errors
    /// The same, and if one cannot be opened.
    pub fn open<P: AsRef<Path>>(set: &DatasetConfig, paths: &[P]) -> Result<Upload, DatasetError> {
        let given = paths.iter().map(|path| {
            let path = path.as_ref();
            let content = File::open(path)
                .map_err(|e| refuse(set, format!("cannot open {}: {e}", path.display())))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Given { field: None, name, content })
        });
        let given = given.collect::<Result<Vec<_>, DatasetError>>()?;
        Upload::of(set, given)
    }
}

impl Part {
    /// Its bytes from the first one, unpacked; and whether they are packed.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read(&self) -> io::Result<(Box<dyn Read + Send + '_>, bool)> {
        let mut content = &self.content;
        content.rewind()?;
        let mut first = Vec::with_capacity(2);
        content.take(2).read_to_end(&mut first)?;
        content.rewind()?;
        Ok(match first == [0x1f, 0x8b] {
            true => (Box::new(MultiGzDecoder::new(content)), true),
            false => (Box::new(content), false),
        })
    }
}

/// Which file of the set is meant.
fn which(set: &DatasetConfig, field: Option<&str>, name: &str) -> Result<usize, String> {
    let names = || set.files.iter().map(|file| file.name.as_str());
    let by_field = field.and_then(|field| names().position(|name| name == field));
    by_field.or_else(|| set.which(&plain(name))).ok_or_else(|| {
        let word = field.unwrap_or_else(|| name.split('.').next().unwrap_or_default());
        let meant = suggest(word, names()).map(|meant| format!("; did you mean `{meant}`?"));
        let field = field.map(|field| format!(" in field {:?}", plain(field)));
        format!(
            "{:?}{} is none of its files{} its files are {}",
            plain(name),
            field.unwrap_or_default(),
            meant.unwrap_or_else(|| ";".into()),
            set.file_names()
        )
    })
}

/// A name without directories and control characters, of bearable length.
fn plain(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut plain = String::new();
    for c in base.chars().map(|c| if c.is_control() { '_' } else { c }) {
        if plain.len() + c.len_utf8() > NAME_CAP {
            break;
        }
        plain.push(c);
    }
    plain
}

pub(super) fn refuse(set: &DatasetConfig, reason: impl Into<String>) -> DatasetError {
    DatasetError::Refused { set: set.name.clone(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::tests::set;

    fn given(field: Option<&str>, name: &str) -> Given {
        let content = tempfile::tempfile().unwrap();
        Given { field: field.map(str::to_owned), name: name.to_owned(), content }
    }

    #[test]
    fn files_are_known_by_field_or_name_and_nothing_else_is_taken() {
        let set = set("[[datasets.files]]\nname = \"notes\"\noptional = true\n");
        let of = |given: Vec<Given>| {
            let upload = Upload::of(&set, given).map_err(|error| error.to_string())?;
            Ok(upload.parts.into_iter().map(|part| (part.file, part.name)).collect::<Vec<_>>())
        };
        let columns = || given(None, "columns.csv");
        let named = of(vec![columns(), given(Some("namespaces"), "../../etc/n\n.csv")]);
        assert_eq!(named, Ok(vec![(0, "n_.csv".into()), (1, "columns.csv".into())]));
        let nameless = of(vec![columns(), given(Some("namespaces"), "")]);
        assert_eq!(nameless.unwrap()[0].1, "namespaces.csv");
        for (parts, wanted) in [
            (vec![columns()], "file `namespaces` is missing; its files are `namespaces`"),
            (vec![], "file `namespaces`, `columns` is missing"),
            (vec![columns(), columns()], "file `columns` comes twice, as \"columns.csv\" and"),
            (
                vec![given(Some("colums"), "x")],
                "in field \"colums\" is none of its files; did you mean `columns`?",
            ),
            (vec![given(None, "namespace.csv")], "did you mean `namespaces`?"),
        ] {
            let error: String = of(parts).unwrap_err();
            assert!(error.contains(wanted), "{wanted} is not in {error}");
        }
        assert_eq!(plain(&"é".repeat(200)).len(), NAME_CAP);
    }
}
