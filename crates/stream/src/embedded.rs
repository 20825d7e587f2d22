//! The log of one machine: a SQLite file in write-ahead mode. It survives the death of its process
//! at any moment, and other processes may append to the same file. It is not replicated.
//!
//! Read in this order: `schema` (the file), `catalog` (what is in memory), `write`, `read`,
//! `worker`, `clean`, `archive`.

mod archive;
pub(crate) mod bell;
mod catalog;
mod clean;
mod compact;
mod errors;
mod lock;
mod merge;
mod read;
mod schema;
pub(crate) mod worker;
mod write;

pub use archive::{Archive, Stand};
pub use clean::Cleaned;
pub use lock::DirectoryLock;

use crate::log::{CommitError, Log, LogError, Span, Transaction, Worker, WorkerSpec};
use crate::record::Batch;
use bell::{Bell, lock};
use catalog::Catalog;
use errors::{Stop, before_commit, reading, writing};
use read::Readers;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::{Duration, Instant};
use tocsin_domain::topics::Topic;
use tocsin_domain::{Micros, TopicPartition};
use worker::{Limit, Pass, Shelf, ShelfWorker};
use write::Writer;

/// How often the file is asked whether another process has written, in milliseconds.
const GLANCE_MILLIS: u64 = 90;

/// What a commit means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// It survives a power cut.
    #[default]
    Full,
    /// It survives the death of the process; a power cut may take the last moments.
    Normal,
}

/// How the log is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What a commit means.
    pub sync: Sync,
    /// A partition of a compacted topic is left alone until it has this many new bytes.
    pub compact_from: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { sync: Sync::Full, compact_from: 1 << 20 }
    }
}

/// A log in a directory.
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

/// What the log and its workers share.
pub(crate) struct Inner {
    file: PathBuf,
    options: Options,
    catalog: RwLock<Catalog>,
    writer: Mutex<Writer>,
    readers: Readers,
    bell: Bell,
    cleaning: Mutex<()>,
    opened: Instant,
    /// When [`Shelf::glance`] last looked, in milliseconds after `opened`.
    glanced: AtomicU64,
}

impl EmbeddedLog {
    /// Opens `log.db` in `dir`; creates both if need be. [`LogError::Refused`] if the directory
    /// cannot be written or the file comes from a newer Tocsin.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<EmbeddedLog>, LogError> {
        let file = dir.join("log.db");
        std::fs::create_dir_all(dir).map_err(|error| {
            let dir = dir.display();
            LogError::Refused(format!("cannot create the data directory {dir}: {error}"))
        })?;
        let stopped = |error| writing(before_commit(&file, &error));
        let (connection, version) = schema::open_writer(&file, options.sync).map_err(stopped)?;
        if version != schema::VERSION {
            let (file, known) = (file.display(), schema::VERSION);
            return Err(LogError::Refused(format!(
                "cannot open {file}: it has version {version} and this tocsin knows version {known}: start the newer tocsin that wrote it"
            )));
        }
        EmbeddedLog::on(file, connection, options)
    }

    /// The log in `file`; what is written goes through `connection`.
    fn on(
        file: PathBuf,
        connection: rusqlite::Connection,
        options: Options,
    ) -> Result<Arc<EmbeddedLog>, LogError> {
        let inner = Inner {
            readers: Readers::new(file.clone()),
            options,
            catalog: RwLock::default(),
            writer: Mutex::new(Writer { connection, seen: None }),
            bell: Bell::default(),
            cleaning: Mutex::default(),
            opened: Instant::now(),
            glanced: AtomicU64::new(0),
            file,
        };
        let followed = inner.follow(&mut lock(&inner.writer));
        followed.map_err(|error| writing(before_commit(&inner.file, &error)))?;
        Ok(Arc::new(EmbeddedLog { inner: Arc::new(inner) }))
    }

    /// Deletes what is older than its topic keeps, compacts compacted topics and joins small
    /// chunks, in steps of a few megabytes between which others commit. For one process at a time,
    /// every minute or so.
    pub fn clean(&self, now: Micros) -> Result<Cleaned, LogError> {
        self.inner.clean(now)
    }
}

impl Log for EmbeddedLog {
    fn create_topics(&self, topics: &[&Topic]) -> Result<(), LogError> {
        self.inner.create(topics)
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner.partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        self.inner.glance();
        self.inner.span(at)
    }

    fn read(&self, at: &TopicPartition, from: u64, max_bytes: usize) -> Result<Batch, LogError> {
        self.inner.glance();
        self.inner.read(at, from, Limit { bytes: max_bytes, records: usize::MAX })
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        worker::wait(&*self.inner, seen, timeout)
    }

    fn worker(&self, spec: &WorkerSpec) -> Result<Box<dyn Worker>, LogError> {
        Ok(Box::new(ShelfWorker::new(self.inner.clone(), spec)?))
    }
}

impl Inner {
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The span as it is now in the file, whoever has written.
    fn span_now(&self, at: &TopicPartition) -> Result<Span, LogError> {
        let followed = self.follow(&mut lock(&self.writer));
        followed.map_err(|error| reading(&self.file, &error))?;
        self.span(at)
    }

    fn query<T>(
        &self,
        at: &TopicPartition,
        from: u64,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Stop<LogError>>,
    ) -> Result<T, LogError> {
        self.readers.with(work).map_err(|stop| match stop {
            Stop::Because(error) => error,
            Stop::Sql(error) => errors::reading_at(&self.file, &error, at, from),
        })
    }
}

impl Shelf for Inner {
    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn glance(&self) {
        let now = self.opened.elapsed().as_millis() as u64;
        let last = self.glanced.load(Ordering::Relaxed);
        let due = now >= last + GLANCE_MILLIS;
        if !due || self.glanced.fetch_max(now, Ordering::Relaxed) >= now {
            return;
        }
        // A writer that is at work looks by itself, and an error comes back where it matters.
        match self.writer.try_lock() {
            Ok(mut writer) => _ = self.follow(&mut writer),
            Err(TryLockError::Poisoned(writer)) => _ = self.follow(&mut writer.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.catalog().partitions(topic)
    }

    fn span(&self, at: &TopicPartition) -> Result<Span, LogError> {
        self.catalog().part(at).map(|part| part.span)
    }

    fn read(&self, at: &TopicPartition, from: u64, limit: Limit) -> Result<Batch, LogError> {
        let part = self.catalog().part(at)?;
        let mut span = part.span;
        if from > span.end {
            span = self.span_now(at)?;
        }
        span.check(at, from)?;
        let (topic, partition) = (at.topic.clone(), at.partition);
        if from == span.end {
            return Ok(Batch { topic, partition, from, next: from, chunks: Vec::new() });
        }
        let found = self.query(at, from, |sql| {
            let found = read::chunks(sql, (at, part.id), from, limit)?;
            if found.chunks.first().is_none_or(|chunk| chunk.base > from) {
                let start = read::start(sql, part.id)?;
                Span { start, ..span }.check(at, from).map_err(Stop::Because)?;
            }
            Ok(found)
        })?;
        let last = found.next.unwrap_or(from);
        // `span` was taken before the read: nothing below its end can have been missed.
        let next = if found.more { last } else { last.max(span.end) };
        Ok(Batch { topic, partition, from, next, chunks: found.chunks })
    }

    fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        let part = self.catalog().part(at)?.id;
        self.query(at, 0, |sql| Ok(read::committed(sql, group, part)?))
    }

    fn enter(&self, id: &str) -> Result<u64, LogError> {
        self.admit_new(id)
    }

    fn commit(&self, pass: &Pass, transaction: &Transaction) -> Result<(), CommitError> {
        self.append(pass, transaction)
    }
}
