//! Answers of upstreams, and files: any bytes as what a source of each kind reads and its upstream judges.

#[path = "../../../services/ingest/tests/support/hostile.rs"]
#[allow(clippy::unwrap_used, reason = "its configurations are texts of its own")]
mod hostile;

use crate::target::Target;
use hostile::{KINDS, Victim};

pub(super) fn targets() -> Vec<Target> {
    KINDS.iter().map(|(name, _)| Target { name, open }).collect()
}

fn open(name: &str) -> crate::Suffer {
    let mut victim = Victim::of(name);
    Box::new(move |bytes| victim.suffer(bytes))
}
