//! The command line: names are a contract.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Turns raw events into the one email that somebody asked for: never lost, never twice, and able
/// to say why.
#[derive(Debug, Parser)]
#[command(
    name = "tocsin",
    version,
    before_help = "Examples:\n  tocsin demo                                      recorded real data in, mails on a page\n  tocsin backtest --config tocsin.toml june.csv    which mails would have been sent\n  tocsin up --config tocsin.toml                   everything, in one process",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 wrong configuration, 4 not reachable, 5 a check found problems."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replay recorded real data at a visible pace; needs no configuration and no network
    Demo(DemoArgs),
    /// Run every service in one process on the embedded log
    Up(UpArgs),
    /// Read files through a configured source into the log, once
    Import(ImportArgs),
    /// Run recorded files through the same topology in memory: which alerts, which mails to whom
    Backtest(BacktestArgs),
    /// Add, list or remove watches
    #[command(subcommand)]
    Watch(WatchCommand),
    /// Explain a mail, from its Message-ID down to the bytes of the events behind it
    Why(WhyArgs),
    /// Draw what each service reads, keeps and writes
    Topology(TopologyArgs),
    /// Rebuild the tables from the log
    #[command(subcommand)]
    Projections(ProjectionsCommand),
}

/// Where things are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "tocsin.toml")]
    pub config: PathBuf,
    /// The directory of the log, the tables and the mailbox
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// `tocsin demo`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tocsin demo --listen 127.0.0.1:8080")]
pub struct DemoArgs {
    /// Keep the log, the tables and the mailbox here instead of in a temporary directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to serve the pages; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

/// `tocsin up`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tocsin up --config tocsin.toml --data /var/lib/tocsin --listen 0.0.0.0:8080"
)]
pub struct UpArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Place,
    /// Where to serve the API and the pages; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

/// `tocsin import`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tocsin import --source epa june.csv july.csv.gz")]
pub struct ImportArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Place,
    /// The name of a [[sources]] entry
    #[arg(long, value_name = "NAME")]
    pub source: String,
    /// Read files that were imported before once more; their events keep their ids
    #[arg(long)]
    pub again: bool,
    /// CSV or JSON files, gzipped or not
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `tocsin backtest`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tocsin backtest --config tocsin.toml recorded/*.csv.gz --json | jq '.alerts | length'"
)]
pub struct BacktestArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "tocsin.toml")]
    pub config: PathBuf,
    /// The source that reads all the files; default: the one whose `files` patterns match
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// CSV or JSON files, gzipped or not, read in this order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `tocsin watch`.
#[derive(Debug, Subcommand)]
pub enum WatchCommand {
    /// Ask for mail
    #[command(
        before_help = "Example:\n  tocsin watch add --email ada@example.org --detector pm25-unhealthy --subject Lahore"
    )]
    Add(WatchArgs),
    /// Show who watches what
    #[command(before_help = "Example:\n  tocsin watch list --json")]
    List {
        /// Where things are.
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a watch
    #[command(before_help = "Example:\n  tocsin watch remove 6fa459ea-ee8a-5ca4-894e-db77e160355e")]
    Remove {
        /// Where things are.
        #[command(flatten)]
        place: Place,
        /// The watch's id, as `tocsin watch list` shows it
        id: String,
    },
}

/// `tocsin watch add`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Place,
    /// Who is told
    #[arg(long)]
    pub email: String,
    /// How to greet them
    #[arg(long, default_value = "")]
    pub name: String,
    /// The time zone of the times in their mails, for example Europe/Berlin
    #[arg(long, default_value = "UTC")]
    pub time_zone: String,
    /// The name of a [[detectors]] entry
    #[arg(long)]
    pub detector: String,
    /// One station, listing or product; default: all that the detector covers
    #[arg(long, default_value = "*")]
    pub subject: String,
    /// Which facts are worth a mail: raised, updated, cleared
    #[arg(long, value_delimiter = ',', default_value = "raised,cleared")]
    pub on: Vec<String>,
}

/// `tocsin why`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tocsin why 6fa459ea-ee8a-5ca4-894e-db77e160355e@localhost")]
pub struct WhyArgs {
    /// The directory of the log and the tables
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// The mail's Message-ID, with or without angle brackets
    pub message_id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `tocsin topology`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tocsin topology --mermaid > topology.mmd")]
pub struct TopologyArgs {
    /// Print a Mermaid flow chart
    #[arg(long)]
    pub mermaid: bool,
}

/// `tocsin projections`.
#[derive(Debug, Subcommand)]
pub enum ProjectionsCommand {
    /// Drop every table and fill it again from the log; sends nothing
    #[command(before_help = "Example:\n  tocsin projections rebuild --data data")]
    Rebuild {
        /// The directory of the log and the tables
        #[arg(long, value_name = "DIR", default_value = "data")]
        data: PathBuf,
    },
}
