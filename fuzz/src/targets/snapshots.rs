//! Snapshots: any bytes as one of each state that there is, behind a checksum that is right, so that what is
//! beneath it is read. One that is taken is written, and what was written is the same.

use crate::target::{Target, scratch};
use std::fs;
use std::path::Path;
use tocsin_detect::subjects::Subject;
use tocsin_domain::{Micros, TopicPartition};
use tocsin_notify::pending::Pending;
use tocsin_project::totals::Total;
use tocsin_stream::snapshot::{self, Loaded};
use tocsin_stream::state::{Clock, State};

pub(super) fn targets() -> Vec<Target> {
    vec![Target { name: "snapshots", open }]
}

fn open(_: &str) -> crate::Suffer {
    let directory = scratch();
    Box::new(move |bytes| {
        for snapshot in [&whole(bytes), bytes] {
            suffer::<Subject>(directory.path(), snapshot);
            suffer::<Pending>(directory.path(), snapshot);
            suffer::<Total>(directory.path(), snapshot);
        }
    })
}

/// A snapshot of the partition that is read, with a checksum that is right.
fn whole(bytes: &[u8]) -> Vec<u8> {
    let mut whole = [b"tocsin1\n\x01t\x03", bytes].concat();
    let checksum = crc32fast::hash(&whole);
    whole.extend_from_slice(&checksum.to_le_bytes());
    whole
}

fn suffer<S: State>(directory: &Path, bytes: &[u8]) {
    let at = TopicPartition::new("t", 3);
    let file = directory.join("t-3.snapshot");
    let kept = fs::write(&file, bytes);
    assert!(kept.is_ok(), "{kept:?}");
    let Some(loaded) = snapshot::load::<S>(directory, &at) else {
        assert!(!file.exists(), "a snapshot that is damaged is still there");
        return;
    };
    _ = loaded.is_of_now(Micros(1_700_000_000_000_000));
    let stands = stand(&loaded);
    let written = snapshot::write(directory, &at, loaded.next, Micros(0), &loaded.store);
    assert!(written.is_ok(), "{written:?}");
    let again = snapshot::load::<S>(directory, &at);
    assert_eq!(again.as_ref().map(stand), Some(stands), "what was written is not what was read");
}

/// What must be the same once it was written: where it stands, how much it holds, what, and who wakes next.
fn stand<S: State>(loaded: &Loaded<S>) -> (u64, usize, u32, [Option<Micros>; 2]) {
    let store = &loaded.store;
    let wakes = [Clock::Event, Clock::Processing];
    let wakes = wakes.map(|clock| store.next_wake(clock).map(|(time, _)| time));
    (loaded.next, store.len(), store.hash(), wakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many keys the seed of a state has, if it is one.
    fn keys<S: State>(seed: &[u8]) -> Option<usize> {
        let directory = scratch();
        fs::write(directory.path().join("t-3.snapshot"), whole(seed)).unwrap();
        let loaded = snapshot::load::<S>(directory.path(), &TopicPartition::new("t", 3));
        loaded.map(|loaded| loaded.store.len())
    }

    #[test]
    fn the_seeds_are_snapshots() {
        let subject = include_bytes!("../../corpus/snapshots/subject");
        assert_eq!((keys::<Subject>(subject), keys::<Pending>(subject)), (Some(1), None));
        assert_eq!(keys::<Pending>(include_bytes!("../../corpus/snapshots/pending")), Some(1));
        assert_eq!(keys::<Total>(include_bytes!("../../corpus/snapshots/total")), Some(1));
        assert_eq!(keys::<Total>(include_bytes!("../../corpus/snapshots/empty")), Some(0));
    }
}
