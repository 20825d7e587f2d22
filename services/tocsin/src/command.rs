//! One file a subcommand.

pub mod backtest;
pub mod demo;
pub mod dlq;
pub mod export;
pub mod hash;
pub mod import;
pub mod import_log;
pub mod projections;
pub mod schema;
pub mod serve;
pub mod topics;
pub mod topology;
pub mod up;
pub mod watch;
pub mod why;

use crate::cli::Command;

/// Runs a subcommand to its end.
///
/// # Errors
/// Whatever went wrong, with its exit code in the chain.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Up(args) => up::run(args),
        Command::Ingest(args) => serve::run("ingest", args, None),
        Command::Detect(args) => serve::run("detect", args, None),
        Command::Notify(args) => serve::run("notify", args, None),
        Command::Project(args) => serve::run("project", args, None),
        Command::Api(args) => serve::run("api", &args.service, Some(args.listen)),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::ImportLog(args) => import_log::run(args),
        Command::Hash(args) => hash::run(args),
        Command::Backtest(args) => backtest::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Why(args) => why::run(args),
        Command::Dlq(command) => dlq::run(command),
        Command::Topology(args) => topology::run(args),
        Command::Projections(args) => projections::run(args),
        Command::Topics(command) => topics::run(command),
        Command::Schema(command) => schema::run(command),
    }
}
