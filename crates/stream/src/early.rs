//! Snapshots that are read while the worker is still being made: a log that first has to end what a
//! dead worker had open takes half a second for that, and reading them takes as long.

use crate::snapshot::{self, Loaded};
use crate::state::State;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use tocsin_domain::TopicPartition;

/// Nobody knows yet which partitions will be ours: more bytes of files are not read ahead.
const MOST: u64 = 64 << 20;

/// The snapshots of one changelog, as they come.
pub(crate) struct Early<S> {
    coming: Receiver<(u32, Loaded<S>)>,
    here: BTreeMap<u32, Loaded<S>>,
}

impl<S: State> Early<S> {
    /// Begins to read them, in the order of their partitions, on a thread of its own.
    pub(crate) fn begin(directory: PathBuf, topic: &'static str, partitions: u32) -> Early<S> {
        let (sender, coming) = mpsc::channel();
        let read = move || {
            let mut left = MOST;
            for number in 0..partitions {
                let at = TopicPartition::new(topic, number);
                let size = snapshot::size(&directory, &at);
                if size > left {
                    break;
                }
                left -= size;
                let loaded = snapshot::load(&directory, &at);
                // Who does not want the others any more has gone.
                if loaded.is_some_and(|loaded| sender.send((number, loaded)).is_err()) {
                    break;
                }
            }
        };
        // Without a thread, each is read when it is wanted.
        let _ = std::thread::Builder::new().name("snapshots".to_owned()).spawn(read);
        Early { coming, here: BTreeMap::new() }
    }

    /// That of a partition, if there is one; waits until it is read.
    pub(crate) fn take(&mut self, number: u32) -> Option<Loaded<S>> {
        let is_past = |here: &BTreeMap<u32, _>| {
            here.last_key_value().is_some_and(|(last, _)| *last >= number)
        };
        while !is_past(&self.here) {
            let Ok((found, loaded)) = self.coming.recv() else { break };
            self.here.insert(found, loaded);
        }
        self.here.remove(&number)
    }
}
