//! Sets that come into folders: a directory is one upload, read when every file that the set needs
//! is in it and nothing has changed between two looks. What is no file of the set is left alone.

use super::load::{Loaded, Loader};
use super::settings::DatasetConfig;
use super::upload::Upload;
use super::{DatasetError, plan::GoOn};
use crate::IngestError;
use crate::tally::Tally;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tocsin_domain::Micros;
use tocsin_stream::Log;

/// A file, its size and its time: what tells that it has changed.
type Stamp = (PathBuf, u64, Option<SystemTime>);

/// The folders of all sets that have one.
#[derive(Default)]
pub struct SetFolders {
    sets: Vec<Watched>,
}

struct Watched {
    set: DatasetConfig,
    folder: PathBuf,
    seen: HashMap<PathBuf, Seen>,
}

/// What is known of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    stamps: Vec<Stamp>,
    /// Whether it was read as it is.
    done: bool,
}

impl SetFolders {
    /// Those of `sets`; reads nothing yet.
    pub fn new(sets: &[DatasetConfig]) -> SetFolders {
        let watched = sets.iter().filter_map(|set| {
            let folder = set.folder.clone()?;
            Some(Watched { set: set.clone(), folder, seen: HashMap::new() })
        });
        SetFolders { sets: watched.collect() }
    }

    /// Writes every upload that is there, whole and unchanged since the last look; `count` hears
    /// what came of the rows of a set. Stops quietly when `go_on` says no.
    pub fn look(
        &mut self,
        log: &Arc<dyn Log>,
        now: &Arc<dyn Fn() -> Micros + Send + Sync>,
        go_on: &mut GoOn<'_>,
        count: &mut dyn FnMut(&str, Tally),
    ) {
        for watched in &mut self.sets {
            let found = match watched.directories() {
                Ok(found) => found,
                Err(error) => {
                    let (set, path) = (&watched.set.name, watched.folder.display());
                    tracing::warn!(dataset = set, %path, %error, "cannot look into the folder");
                    continue;
                }
            };
            for (directory, files) in due(&mut watched.seen, found) {
                if !go_on() {
                    return;
                }
                let set = watched.set.name.as_str();
                let loader = Loader::new(log.clone(), &watched.set, now.clone());
                let loaded = Upload::open(&watched.set, &files).and_then(|upload| {
                    loader.load_and_count(&upload, go_on, &mut |tally| count(set, tally))
                });
                if tell(set, &directory, loaded)
                    && let Some(seen) = watched.seen.get_mut(&directory)
                {
                    seen.done = true;
                }
            }
        }
    }
}

/// Says what came of a directory, and whether that is final.
fn tell(set: &str, directory: &Path, loaded: Result<Loaded, DatasetError>) -> bool {
    let directory = directory.display();
    match loaded {
        Ok(Loaded { known: true, .. }) => true,
        Ok(Loaded { report, .. }) => {
            let (rows, dead_letters) = (report.rows, report.dead_letters);
            let found = report.found_in_all();
            tracing::info!(dataset = set, %directory, rows, dead_letters, found, "read");
            true
        }
        Err(DatasetError::Ingest(IngestError::Stopped)) => false,
        Err(DatasetError::Ingest(error)) => {
            tracing::warn!(dataset = set, %directory, %error, "trying again later");
            false
        }
        Err(error) => {
            tracing::error!(dataset = set, %directory, %error, "not read, until it changes");
            true
        }
    }
}

impl Watched {
    /// The folder and the directories in it that hold every file that the set needs, in the order of
    /// their names; nothing that is hidden.
    fn directories(&self) -> io::Result<Vec<(PathBuf, Vec<Stamp>)>> {
        let (own, mut inner) = list(&self.folder)?;
        inner.sort();
        let mut found = vec![(self.folder.clone(), own)];
        for directory in inner {
            // It may be gone by now.
            if let Ok((files, _)) = list(&directory) {
                found.push((directory, files));
            }
        }
        for (_, files) in &mut found {
            files.retain(|(path, _, _)| self.set.which(&name(path)).is_some());
            files.sort();
        }
        found.retain(|(_, files)| {
            let needed = self.set.files.iter().filter(|file| !file.optional);
            let has = |file: &super::settings::FileConfig| {
                files.iter().any(|(path, _, _)| file.takes(&name(path)))
            };
            !files.is_empty() && needed.into_iter().all(has)
        });
        Ok(found)
    }
}

/// The files of a directory, and its directories.
fn list(directory: &Path) -> io::Result<(Vec<Stamp>, Vec<PathBuf>)> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if name(&path).starts_with('.') {
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => directories.push(path),
            Ok(found) if found.is_file() => {
                files.push((path, found.len(), found.modified().ok()));
            }
            // It may be gone by now, or be no file.
            _ => {}
        }
    }
    Ok((files, directories))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The directories that are as they were at the last look and have not been read so; notes how they
/// are.
fn due(
    seen: &mut HashMap<PathBuf, Seen>,
    found: Vec<(PathBuf, Vec<Stamp>)>,
) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let before = std::mem::take(seen);
    let mut due = Vec::new();
    for (directory, stamps) in found {
        let known = before.get(&directory).filter(|known| known.stamps == stamps);
        if known.is_some_and(|known| !known.done) {
            let files = stamps.iter().map(|(path, _, _)| path.clone()).collect();
            due.push((directory.clone(), files));
        }
        let done = known.is_some_and(|known| known.done);
        seen.insert(directory, Seen { stamps, done });
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::tests::{dead, memory_log, rows, set};

    #[test]
    fn a_set_is_read_once_when_it_is_whole_and_at_rest() {
        let directory = tempfile::tempdir().unwrap();
        let (log, mut set) = (memory_log(), set(""));
        set.folder = Some(directory.path().to_owned());
        let mut folders = SetFolders::new(std::slice::from_ref(&set));
        let shared: Arc<dyn Log> = log.clone();
        let now: Arc<dyn Fn() -> Micros + Send + Sync> = Arc::new(|| Micros(5));
        let mut looked = || {
            let mut seen = Vec::new();
            folders.look(&shared, &now, &mut || true, &mut |set, tally| {
                seen.push((set.to_owned(), tally.outcomes().map(|(_, n)| n)));
            });
            seen
        };
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
        let told = |outcomes: [u64; 3]| ("catalogue".to_owned(), outcomes);
        write("namespaces.csv", "namespace_id\nn1\n").unwrap();
        write("README.txt", "x").unwrap();
        write(".columns.csv", "x").unwrap();
        assert_eq!((looked(), looked()), (vec![], vec![]), "a file is missing");
        let columns = "column_id,namespace_id,parent,owner\nc1,n1,,ann\n";
        write("columns.csv", columns).unwrap();
        assert_eq!((looked(), looked()), (vec![], vec![told([2, 0, 0])]), "at rest");
        assert_eq!(looked(), [], "once");
        let version = directory.path().join("2024");
        std::fs::create_dir(&version).unwrap();
        for (name, text) in [("columns.csv", "c2"), ("namespaces.csv", "n1")] {
            let text = std::fs::read_to_string(directory.path().join(name)).unwrap() + text;
            std::fs::write(version.join(name), text).unwrap();
        }
        assert_eq!((looked(), looked()), (vec![], vec![told([3, 0, 1])]), "a version of its own");
        assert_eq!(dead(&*log).len(), 1);
        let whole = rows(&*log).len();
        let mut fresh = SetFolders::new(std::slice::from_ref(&set));
        for _ in 0..2 {
            fresh.look(&shared, &now, &mut || true, &mut |_, tally| unreachable!("{tally:?}"));
        }
        assert_eq!(rows(&*log).len(), whole, "another process knows it");
        write("columns.csv", "nothing").unwrap();
        assert_eq!((looked(), looked()), (vec![], vec![]), "refused, and told once");
    }
}
