//! What a processor tells whoever watches it: what it restores, what it has, how far it is. The
//! processor does not care who listens, and nobody who listens can change what it does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tocsin_domain::TopicPartition;

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The state of a partition is being read.
    Restoring {
        /// Which.
        partition: u32,
        /// Offsets of the changelog that are still to be read.
        left: u64,
    },
    /// These are all the partitions that it has now, with their state.
    Assigned(&'a [u32]),
    /// Where these inputs go on from: known at an assignment, moved by a commit.
    Positions(&'a BTreeMap<TopicPartition, u64>),
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
