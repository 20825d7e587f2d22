//! The services that there are, in the order of the way of one event. To add one: a new file, its
//! `mod`, its line in [`SERVICES`], and its subcommand.

mod api;
mod detect;
mod ingest;
mod notify;
mod project;

use crate::service::Service;

/// All of them.
pub static SERVICES: [&Service; 5] =
    [&ingest::SERVICE, &detect::SERVICE, &notify::SERVICE, &project::SERVICE, &api::SERVICE];
