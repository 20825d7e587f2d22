//! The command line of what carries a log from one machine to a cluster, and compares the two.

use super::Whereabouts;
use clap::Args;
use std::path::PathBuf;

/// `tocsin export`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tocsin export --data data moved.tocsin > laptop.hashes")]
pub struct ExportArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Whereabouts,
    /// Print the hashes as one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `tocsin import-log`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tocsin topics apply --config cluster.toml\n  tocsin import-log --config cluster.toml moved.tocsin\n  tocsin projections rebuild --config cluster.toml"
)]
pub struct ImportLogArgs {
    /// The configuration; its [log] names the cluster, on which nothing may run
    #[arg(long, value_name = "FILE", default_value = "tocsin.toml")]
    pub config: PathBuf,
    /// Print the hashes as one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// A file that `tocsin export` made
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `tocsin hash`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tocsin hash --config cluster.toml | diff laptop.hashes -")]
pub struct HashArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Whereabouts,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// A file that `tocsin export` made, instead of the log
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}
