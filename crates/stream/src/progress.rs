//! What a processor tells whoever watches it: what it has, and how far it is there. The
//! processor does not care who listens, and nobody who listens can change what it does.

use crate::log::{Log, LogError, Worker};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tocsin_domain::TopicPartition;

/// Something that has happened. What is still to be restored, each turn says.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// These are all the partitions that it works on now; their state is there.
    Assigned(&'a [u32]),
    /// Where these inputs go on from: known when a partition is opened, moved by a commit.
    Positions(&'a BTreeMap<TopicPartition, u64>),
    /// So many of its partitions wait for something outside, and why; `None` once none does.
    Waits(Option<(usize, &'a str)>),
}

type Listener = dyn Fn(Progress<'_>) + Send + Sync;

/// Who is told; by default nobody. Clones tell the same one.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Listener>>);

impl Observer {
    /// Tells `listener`, which must return quickly.
    pub fn new(listener: impl Fn(Progress<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Some(Arc::new(listener)))
    }

    /// Whether anybody listens.
    pub fn listens(&self) -> bool {
        self.0.is_some()
    }

    /// What will be told later, if anybody listens: a commit clears it.
    pub fn keep(&self, progress: &BTreeMap<TopicPartition, u64>) -> BTreeMap<TopicPartition, u64> {
        if self.listens() { progress.clone() } else { BTreeMap::new() }
    }

    /// Tells it.
    pub fn tell(&self, progress: Progress<'_>) {
        if let Some(listener) = &self.0 {
            listener(progress);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.listens() { "Observer" } else { "nobody" })
    }
}

/// Where a worker goes on in one partition of its inputs.
pub(crate) fn positions(
    log: &dyn Log,
    worker: &dyn Worker,
    (inputs, partition): (&[&'static str], u32),
) -> Result<BTreeMap<TopicPartition, u64>, LogError> {
    let mut found = BTreeMap::new();
    for topic in inputs {
        let at = TopicPartition::new(topic, partition);
        let next = match worker.committed(&at)? {
            Some(next) => next,
            None => log.span(&at)?.start,
        };
        found.insert(at, next);
    }
    Ok(found)
}
