//! Snapshots: the committed state of one partition in a file, with the changelog offset that it
//! stands at, so that a restart reads a snapshot and a short tail. A snapshot that is damaged, of
//! another changelog or too old is as good as none: the changelog alone gives the same state.

use crate::chunk::{read_number, write_number};
use crate::state::{State, Store};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tocsin_domain::{Micros, TopicPartition};

/// Older than this, a snapshot may hold keys whose tombstones compaction has already dropped.
pub const OLDEST: Duration = Duration::from_secs(12 * 3600);

const MAGIC: &[u8; 8] = b"tocsin1\n";

/// Writes the committed state, which `next` is the changelog offset after, over the last snapshot.
pub fn write<S: State>(
    directory: &Path,
    changelog: &TopicPartition,
    next: u64,
    now: Micros,
    store: &Store<S>,
) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    write_number(&mut bytes, changelog.topic.len() as u64);
    bytes.extend_from_slice(changelog.topic.as_bytes());
    for number in [u64::from(changelog.partition), next, now.0 as u64, store.len() as u64] {
        write_number(&mut bytes, number);
    }
    let mut value = Vec::new();
    for (key, state) in store.committed() {
        value.clear();
        state.encode(&mut value);
        for part in [key, &value] {
            write_number(&mut bytes, part.len() as u64);
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    fs::create_dir_all(directory)?;
    let (target, draft) =
        (path(directory, changelog), path(directory, changelog).with_extension("new"));
    let mut file = File::create(&draft)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    fs::rename(draft, target)
}

/// A snapshot as it stands in its file.
pub struct Loaded<S> {
    /// The changelog offset to go on from.
    pub next: u64,
    /// What it holds; nothing of it was ever idle.
    pub store: Store<S>,
    taken: Micros,
}

impl<S> Loaded<S> {
    /// Whether it is neither too old nor of the future, which would never grow old.
    pub fn is_of_now(&self, now: Micros) -> bool {
        self.taken <= now && now.since(self.taken) <= OLDEST
    }
}

/// Reads the snapshot of a changelog partition; `None` if there is none. One that is damaged, or of
/// another changelog, is deleted.
pub fn load<S: State>(directory: &Path, changelog: &TopicPartition) -> Option<Loaded<S>> {
    let bytes = fs::read(path(directory, changelog)).ok()?;
    let found = parse(&bytes, changelog);
    if found.is_none() {
        remove(directory, changelog);
        tracing::warn!(%changelog, "the snapshot is damaged; reading the whole changelog");
    }
    found
}

/// Deletes a snapshot that cannot be trusted. If that fails, the next one is written over it.
pub fn remove(directory: &Path, changelog: &TopicPartition) {
    let _ = fs::remove_file(path(directory, changelog));
}

/// When the snapshot of a changelog partition was written; `None` if there is none.
pub fn written(directory: &Path, changelog: &TopicPartition) -> Option<std::time::SystemTime> {
    path(directory, changelog).metadata().ok()?.modified().ok()
}

fn parse<S: State>(bytes: &[u8], changelog: &TopicPartition) -> Option<Loaded<S>> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let mut rest = body.strip_prefix(MAGIC)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let length = read_number(&mut rest)? as usize;
    let topic = rest.split_off(..length)?;
    let partition = read_number(&mut rest)?;
    if topic != changelog.topic.as_bytes() || partition != u64::from(changelog.partition) {
        return None;
    }
    let (next, taken) = (read_number(&mut rest)?, Micros(read_number(&mut rest)? as i64));
    let mut store = Store::default();
    for _ in 0..read_number(&mut rest)? {
        let length = read_number(&mut rest)? as usize;
        let key = rest.split_off(..length)?;
        let length = read_number(&mut rest)? as usize;
        let value = rest.split_off(..length)?;
        store.restore(key, Some(value)).then_some(())?;
    }
    rest.is_empty().then_some(Loaded { next, store, taken })
}

/// How large the snapshot of a changelog partition is, in bytes; 0 if there is none.
pub(crate) fn size(directory: &Path, changelog: &TopicPartition) -> u64 {
    path(directory, changelog).metadata().map_or(0, |found| found.len())
}

fn path(directory: &Path, changelog: &TopicPartition) -> PathBuf {
    directory.join(format!("{}-{}.snapshot", changelog.topic, changelog.partition))
}
