//! The `tocsin` command as a library, so that tests and benchmarks run what users run.

pub mod backend;
pub mod cli;
pub mod command;
pub mod exit;
pub mod facts;
pub mod hashes;
pub mod meter;
pub mod pipeline;
pub mod redrive;
pub mod registry;
pub mod report;
pub mod restoring;
pub mod runtime;
pub mod schema_ids;
pub mod service;
pub mod services;
pub mod settings;
pub mod vitals;
