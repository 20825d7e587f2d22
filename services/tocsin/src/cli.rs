//! The command line: names are a contract.

mod dlq;
mod moving;
mod watch;

pub use dlq::{DlqCommand, DlqDropArgs, DlqListArgs, DlqRedriveArgs, DlqShowArgs};
pub use moving::{ExportArgs, HashArgs, ImportLogArgs};
pub use watch::{WatchArgs, WatchCommand};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Turns raw events into the one email that somebody asked for: never lost, never twice, and able
/// to say why.
#[derive(Debug, Parser)]
#[command(
    name = "tocsin",
    version,
    before_help = "Examples:\n  tocsin demo                                      recorded real data in, mails on a page\n  tocsin backtest --config tocsin.toml june.csv    which mails would have been sent\n  tocsin up --config tocsin.toml                   everything, in one process",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 wrong configuration, 4 not reachable, 5 a check found problems,\n130 or 143 ended by a second SIGINT or SIGTERM."
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
    /// Run the service that reads the sources' folders into the log
    #[command(before_help = "Example:\n  tocsin ingest --config tocsin.toml")]
    Ingest(ServiceArgs),
    /// Run the service that turns events into alerts
    #[command(
        before_help = "Example:\n  tocsin detect --config tocsin.toml --data /var/lib/tocsin --slot 1"
    )]
    Detect(ServiceArgs),
    /// Run the service that turns alerts into mail
    #[command(before_help = "Example:\n  tocsin notify --config tocsin.toml --admin 0.0.0.0:9464")]
    Notify(ServiceArgs),
    /// Run the service that turns facts into tables
    #[command(
        before_help = "Example:\n  tocsin project --config tocsin.toml --data /var/lib/tocsin"
    )]
    Project(ServiceArgs),
    /// Run the service that serves the API and the pages
    #[command(before_help = "Example:\n  tocsin api --config tocsin.toml --listen 0.0.0.0:8080")]
    Api(ApiArgs),
    /// Read files through a configured source into the log, once
    Import(ImportArgs),
    /// Write the embedded log into one file, to be carried to a cluster; the services may run
    Export(ExportArgs),
    /// Read an exported log into a Kafka cluster: every record keeps its offset, so that it is the same log
    ImportLog(ImportLogArgs),
    /// Print a hash of what each partition holds, to compare one log with another
    Hash(HashArgs),
    /// Run recorded files through the same topology in memory: which alerts, which mails to whom
    Backtest(BacktestArgs),
    /// Add, list or remove watches
    #[command(subcommand)]
    Watch(WatchCommand),
    /// Explain a mail, from its Message-ID down to the bytes of the events behind it
    Why(WhyArgs),
    /// Look at what could not be processed, and decide what becomes of it
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Draw what each service reads, keeps and writes
    Topology(TopologyArgs),
    /// Make, rebuild or verify the tables
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// Compare the topics of a Kafka cluster with those that Tocsin needs, and make them so
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Compare the schemas with a schema registry, and register them
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Make what a configuration needs
    #[command(subcommand)]
    Config(ConfigCommand),
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
    /// Answer probes and scrapes here as well: /livez, /readyz, /metrics
    #[arg(long, value_name = "ADDR", env = "TOCSIN_ADMIN")]
    pub admin: Option<SocketAddr>,
    /// Which process this is.
    #[command(flatten)]
    pub slot: Slot,
}

/// Which process this is among those of its service.
#[derive(Clone, Copy, Debug, Args)]
pub struct Slot {
    /// Its number among the processes of the same service: each needs its own, from 0, and keeps it
    #[arg(long, value_name = "N", env = "TOCSIN_SLOT", default_value_t = 0)]
    pub slot: u32,
}

/// One service in a process of its own.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// The configuration; it must name a log that processes share
    #[arg(long, value_name = "FILE", default_value = "tocsin.toml")]
    pub config: PathBuf,
    /// Where snapshots are kept, for a quick restart; without it, none are. It may be lost
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to answer probes and scrapes: /livez, /readyz, /metrics; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "TOCSIN_ADMIN", default_value = "127.0.0.1:9464")]
    pub admin: SocketAddr,
    /// Which process this is.
    #[command(flatten)]
    pub slot: Slot,
}

/// `tocsin api`.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// As every service.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Where to serve the API and the pages; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

/// Where things are, for commands that need no configuration on one machine.
#[derive(Clone, Debug, Args)]
pub struct Whereabouts {
    /// The configuration, if it names a log or tables that are not in the data directory
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory of the log and the tables
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

impl Whereabouts {
    /// The data directory if there is one; on a cluster there need not be.
    pub fn there(&self) -> Option<&Path> {
        self.data.is_dir().then_some(&*self.data)
    }
}

/// `tocsin import`.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  tocsin import --source epa june.csv july.csv.gz\n  tocsin import --dataset catalogue namespaces.csv columns.csv datapoints.csv"
)]
pub struct ImportArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Place,
    /// The name of a [[sources]] entry
    #[arg(long, value_name = "NAME", required_unless_present = "dataset")]
    pub source: Option<String>,
    /// The name of a [[datasets]] entry: all its files at once
    #[arg(long, value_name = "NAME", conflicts_with = "source")]
    pub dataset: Option<String>,
    /// With --dataset: write everything that is found wrong into this file, as CSV
    #[arg(long, value_name = "FILE", requires = "dataset")]
    pub anomalies: Option<PathBuf>,
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

/// `tocsin why`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tocsin why 6fa459ea-ee8a-5ca4-894e-db77e160355e@localhost")]
pub struct WhyArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Whereabouts,
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
    Rebuild(Whereabouts),
    /// Make the tables if they are not there, or not those of this version
    #[command(before_help = "Example:\n  tocsin projections migrate --config tocsin.toml")]
    Migrate(Whereabouts),
    /// Fold the log once more and compare with the tables: exit code 5 and the rows that differ
    #[command(before_help = "Example:\n  tocsin projections verify --config tocsin.toml")]
    Verify(Whereabouts),
}

/// `tocsin topics`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Show what would be created and set; changes nothing
    #[command(before_help = "Example:\n  tocsin topics plan --config tocsin.toml")]
    Plan(TopicsArgs),
    /// Show it, ask, and do it; deletes nothing and adds no partitions
    #[command(before_help = "Example:\n  tocsin topics apply --config tocsin.toml --yes")]
    Apply {
        /// Which topics of which cluster.
        #[command(flatten)]
        topics: TopicsArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Like plan, with exit code 5 if anything differs
    #[command(before_help = "Example:\n  tocsin topics check --config tocsin.toml --env prod")]
    Check(TopicsArgs),
}

/// Which topics of which cluster.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    /// The configuration; its [log] names the cluster
    #[arg(long, value_name = "FILE", default_value = "tocsin.toml")]
    pub config: PathBuf,
    /// How many copies there are; default: prod if `replication_factor` of [log] is above 1
    #[arg(long, value_name = "ENVIRONMENT")]
    pub env: Option<Environment>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// How much a cluster must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// One copy of each record
    Dev,
    /// Three copies, two of which must be written
    Prod,
}

impl Environment {
    /// As `--env` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Environment::Dev => "dev",
            Environment::Prod => "prod",
        }
    }
}

/// `tocsin config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Make a token for who pushes events, and the entry of [[producers]] with its hash
    #[command(before_help = "Example:\n  tocsin config token --producer shop")]
    Token {
        /// What the producer is called
        #[arg(long, value_name = "NAME", default_value = "shop")]
        producer: String,
    },
}

/// `tocsin schema`.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Say whether every version reads every other, and whether the registry has ours: exit code 5 if not
    #[command(before_help = "Example:\n  tocsin schema check --registry http://127.0.0.1:8081")]
    Check(SchemaArgs),
    /// Register every schema under its topics; to do it again changes nothing
    #[command(before_help = "Example:\n  tocsin schema register --config tocsin.toml")]
    Register(SchemaArgs),
}

/// Which registry.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The configuration; its [schema] may name the registry and a login
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The registry's address, instead of the one of [schema]
    #[arg(long, value_name = "URL")]
    pub registry: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}
