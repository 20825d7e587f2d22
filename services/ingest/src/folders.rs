//! Reads the files that come into the sources' folders, each once, for as long as the process runs.
//! One process at a time reads: the one that the log gives the cursors' partition. What was read is
//! known by the cursors, so whoever comes next goes on where the last one stopped.

use crate::cursor;
use crate::datasets::{DatasetConfig, folder::SetFolders};
use crate::import::{Import, ImportReport};
use crate::pause::{Standing, Whom};
use crate::poison::Rate;
use crate::redrive::OF_SET;
use crate::settings::SourceConfig;
use crate::source::IngestError;
use crate::tally::Tally;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tocsin_domain::Micros;
use tocsin_stream::{Log, LogError, Observer, Polled, Progress, Worker, WorkerSpec};

/// How often the folders are looked into. A file is read when it has not changed in between.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a look for other work lasts.
const PAUSE: Duration = Duration::from_millis(250);

/// Size and time of a file: what tells that it has changed.
type Stamp = (u64, Option<SystemTime>);

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    stamp: Stamp,
    /// Whether it was read as it is.
    done: bool,
}

/// The folders of all sources.
pub struct Folders {
    log: Arc<dyn Log>,
    sources: Vec<Folder>,
    sets: SetFolders,
    observer: Observer,
    worker: Box<dyn Worker>,
    /// Whether this process is the one that reads; pollers look at it too.
    ours: Arc<AtomicBool>,
    now: Arc<dyn Fn() -> Micros + Send + Sync>,
}

struct Folder {
    source: SourceConfig,
    path: PathBuf,
    seen: HashMap<PathBuf, Seen>,
    rate: Rate,
    standing: Standing,
}

/// What there is to tell of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum News<'a> {
    /// These rows were read and committed. The source is called as dead letters call it: a set by
    /// `dataset:` and its name.
    Rows(&'a str, Tally),
    /// It is paused, and why; `None`: it is not, or not any more.
    Paused(&'a str, Option<&'a str>),
}

impl Folders {
    /// The folders of those sources that have one; reads nothing yet. The slot tells this process
    /// from others that stand by.
    ///
    /// # Errors
    /// If the log does not answer, or a source is configured wrong.
    pub fn new(
        log: Arc<dyn Log>,
        sources: &[SourceConfig],
        (slot, observer): (u32, Observer),
        now: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Result<Folders, LogError> {
        let spec = WorkerSpec {
            id: format!("folders-{slot}"),
            group: "ingest".to_owned(),
            inputs: vec![cursor::TOPIC.into()],
        };
        let worker = log.worker(&spec)?;
        let folder = |source: &SourceConfig| {
            let path = source.folder.clone()?;
            let (source, seen) = (source.clone(), HashMap::new());
            let standing = Standing::new(Whom::source(&source));
            let rate = Rate::of(source.pause_above.as_deref()).map_err(LogError::Refused);
            Some(rate.map(|rate| Folder { source, path, seen, rate, standing }))
        };
        let sources = sources.iter().filter_map(folder).collect::<Result<_, _>>()?;
        let sets = SetFolders::default();
        Ok(Folders { log, sources, sets, observer, worker, ours: Arc::default(), now })
    }

    /// Reads the folders of these sets as well.
    #[must_use]
    pub fn datasets(mut self, sets: &[DatasetConfig]) -> Folders {
        self.sets = SetFolders::new(sets);
        self
    }

    /// Whether this process is the one that reads files, and asks upstreams; for who does it with
    /// this one's membership.
    pub fn ours(&self) -> Arc<AtomicBool> {
        self.ours.clone()
    }

    /// Reads until `go_on` says no; `observe` hears what came of it.
    ///
    /// # Errors
    /// If a source is configured wrong, or the log fails for good. What fails for a while, or for
    /// one file, is tried again later.
    pub fn run(
        &mut self,
        go_on: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(News<'_>),
    ) -> Result<(), IngestError> {
        let mut looked: Option<Instant> = None;
        while go_on() {
            self.follow(PAUSE)?;
            if self.ours.load(Ordering::Relaxed)
                && looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
            {
                self.look(go_on, observe)?;
                self.look_for_sets(go_on, observe);
                looked = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Learns whether this process is the one that reads.
    fn follow(&mut self, timeout: Duration) -> Result<(), LogError> {
        follow(&mut *self.worker, &self.ours, &self.observer, timeout)
    }

    /// Reads every set that is there, whole and not being written.
    fn look_for_sets(&mut self, go_on: &dyn Fn() -> bool, observe: &mut dyn FnMut(News<'_>)) {
        let (worker, ours, observer) = (&mut self.worker, &self.ours, &self.observer);
        let mut watch = || {
            // The group must hear of us during a long upload.
            let heard = follow(&mut **worker, ours, observer, Duration::ZERO);
            heard.is_ok() && ours.load(Ordering::Relaxed) && go_on()
        };
        let mut count = |set: &str, tally| observe(News::Rows(&format!("{OF_SET}{set}"), tally));
        self.sets.look(&self.log, &self.now, &mut watch, &mut count);
    }

    /// Reads every file that is there, new or changed, and not being written.
    fn look(
        &mut self,
        go_on: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(News<'_>),
    ) -> Result<(), IngestError> {
        for folder in &mut self.sources {
            if folder.is_paused(&*self.log, (self.now)(), observe)? {
                continue;
            }
            let files = match folder.files() {
                Ok(files) => files,
                Err(error) => {
                    let path = folder.path.display();
                    tracing::warn!(source = folder.source.name, %path, %error, "cannot look into the folder");
                    continue;
                }
            };
            for path in due(&mut folder.seen, files) {
                let (worker, ours, observer) = (&mut self.worker, &self.ours, &self.observer);
                let mut go_on = || {
                    // The group must hear of us during a long file.
                    let heard = follow(&mut **worker, ours, observer, Duration::ZERO);
                    heard.is_ok() && ours.load(Ordering::Relaxed) && go_on()
                };
                if !go_on() {
                    return Ok(());
                }
                let import = Import::new(self.log.clone(), &folder.source, self.now.clone());
                let mut import = import.map_err(IngestError::Commit)?.pausing(folder.rate);
                let (name, mut told) = (folder.source.name.as_str(), Tally::default());
                let read = import.import(&path, &mut |progress| {
                    // What is committed counts, whatever becomes of the rest of the file.
                    observe(News::Rows(name, progress.tally.since(told)));
                    told = progress.tally;
                    go_on()
                });
                folder.rate = import.rate().unwrap_or(folder.rate);
                match read {
                    Ok(report) => {
                        tell(&path, &report);
                        if report.paused.is_some() {
                            folder.standing.forget();
                            break;
                        }
                        folder.done(&path);
                    }
                    Err(IngestError::Stopped) => return Ok(()),
                    Err(error @ IngestError::Read { .. }) => {
                        tracing::error!(file = %path.display(), %error, "not read, until it changes");
                        folder.done(&path);
                    }
                    Err(error) => {
                        tracing::warn!(file = %path.display(), %error, "trying again later");
                    }
                }
            }
        }
        Ok(())
    }
}

fn follow(
    worker: &mut dyn Worker,
    ours: &AtomicBool,
    observer: &Observer,
    timeout: Duration,
) -> Result<(), LogError> {
    match worker.poll(1_000, timeout) {
        Ok(Polled::Assigned(partitions)) => {
            tell_ours(ours, observer, ours.load(Ordering::Relaxed) || partitions.contains(&0));
        }
        Ok(Polled::Revoked { partitions, .. }) => {
            tell_ours(ours, observer, ours.load(Ordering::Relaxed) && !partitions.contains(&0));
        }
        // The cursors themselves are looked up where they are needed.
        Ok(Polled::Records(_)) => {}
        Err(LogError::Unavailable(reason)) => tracing::warn!(reason, "the log does not answer"),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn tell_ours(ours: &AtomicBool, observer: &Observer, now: bool) {
    ours.store(now, Ordering::Relaxed);
    observer.tell(Progress::Assigned(if now { &[0] } else { &[] }));
}

fn tell(path: &Path, report: &ImportReport) {
    let (file, tally) = (path.display(), &report.tally);
    if !report.already_imported {
        let (rows, events, dead_letters) = (tally.rows, tally.events, tally.dead_letters);
        tracing::info!(%file, rows, events, dead_letters, "read");
    }
}

impl Folder {
    /// Whether it is paused.
    fn is_paused(
        &mut self,
        log: &dyn Log,
        now: Micros,
        observe: &mut dyn FnMut(News<'_>),
    ) -> Result<bool, LogError> {
        let name = self.source.name.as_str();
        self.standing.look(log, now, &mut |reason| observe(News::Paused(name, reason)))
    }

    /// The files that the source takes, in the order of their names; none that are hidden.
    fn files(&self) -> io::Result<Vec<(PathBuf, Stamp)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let wanted = self.source.files.is_empty() || self.source.takes(&path);
            // What has gone since is no error.
            let Ok(metadata) = path.metadata() else { continue };
            if wanted && metadata.is_file() && !name.starts_with('.') {
                files.push((path.clone(), (metadata.len(), metadata.modified().ok())));
            }
        }
        files.sort();
        Ok(files)
    }

    fn done(&mut self, path: &Path) {
        if let Some(seen) = self.seen.get_mut(path) {
            seen.done = true;
        }
    }
}

/// The files that are as they were at the last look and have not been read so; notes how they are.
fn due(seen: &mut HashMap<PathBuf, Seen>, files: Vec<(PathBuf, Stamp)>) -> Vec<PathBuf> {
    let before = std::mem::take(seen);
    let mut due = Vec::new();
    for (path, stamp) in files {
        let known = before.get(&path).filter(|known| known.stamp == stamp).copied();
        if known.is_some_and(|known| !known.done) {
            due.push(path.clone());
        }
        seen.insert(path, known.unwrap_or(Seen { stamp, done: false }));
    }
    due
}

#[cfg(test)]
mod tests;
