//! The targets there are. To add one: a file in `targets/`, two lines here, and its corpus.

mod answers;
mod chunks;
mod configuration;
mod facts;
mod filters;
mod foreign;
mod pushes;
mod snapshots;
mod uploads;

use crate::target::Target;

/// What each file gives.
const FILES: &[fn() -> Vec<Target>] = &[
    answers::targets,
    chunks::targets,
    configuration::targets,
    facts::targets,
    filters::targets,
    foreign::targets,
    pushes::targets,
    snapshots::targets,
    uploads::targets,
];

/// Every target.
pub fn all() -> Vec<Target> {
    FILES.iter().flat_map(|targets| targets()).collect()
}

/// The target of that name.
pub fn named(name: &str) -> Option<Target> {
    all().into_iter().find(|target| target.name == name)
}
