//! What `tocsin dlq` takes.

use super::{Place, Whereabouts};
use clap::{Args, Subcommand};

/// `tocsin dlq`.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// Show what could not be processed, grouped by what is wrong with it
    #[command(before_help = "Example:\n  tocsin dlq list --since 2d --service ingest")]
    List(DlqListArgs),
    /// Show one letter: its bytes, where it stood, the reason, and what a redrive would do now
    #[command(
        before_help = "Example:\n  tocsin dlq show 6fa459ea-ee8a-5ca4-894e-db77e160355e --config tocsin.toml"
    )]
    Show(DlqShowArgs),
    /// Lead letters through today's configuration and code; only says what would come, without --yes
    #[command(
        before_help = "Example:\n  tocsin dlq redrive 3f2a91bc\n  tocsin dlq redrive 3f2a91bc --yes"
    )]
    Redrive(DlqRedriveArgs),
    /// Say that nothing shall come of letters, and why; their bytes stay as long as all others
    #[command(before_help = "Example:\n  tocsin dlq drop 3f2a91bc --reason 'test data of May'")]
    Drop(DlqDropArgs),
    /// Let a source go on that was paused because too many of its rows could not be read
    #[command(before_help = "Example:\n  tocsin dlq resume stations")]
    Resume {
        /// Where things are.
        #[command(flatten)]
        place: Place,
        /// The name of a [[sources]] entry
        source: String,
    },
}

/// `tocsin dlq list`.
#[derive(Debug, Args)]
pub struct DlqListArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Whereabouts,
    /// Only those that were in this topic, or meant for it
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only this kind of fault: csv, json, value, time, decode, …
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// Only those that this service could not process
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only this group, letter by letter
    #[arg(long, value_name = "HASH")]
    pub group: Option<String>,
    /// Only those since then: 2024-05-01, 2024-05-01T12:00:00Z, or 36h, 2d ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Those that were redriven or dropped, too
    #[arg(long)]
    pub all: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// `tocsin dlq show`.
#[derive(Debug, Args)]
pub struct DlqShowArgs {
    /// Where things are; without --config, it cannot say what a redrive would do.
    #[command(flatten)]
    pub place: Whereabouts,
    /// The letter's id
    pub id: String,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// `tocsin dlq redrive`.
#[derive(Debug, Args)]
pub struct DlqRedriveArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Place,
    /// Groups, as `tocsin dlq list` names them, and ids of letters
    #[arg(required = true, value_name = "GROUP|ID")]
    pub which: Vec<String>,
    /// Say what would come and write nothing; so it is if nothing is said
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do it
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// `tocsin dlq drop`.
#[derive(Debug, Args)]
pub struct DlqDropArgs {
    /// Where things are.
    #[command(flatten)]
    pub place: Whereabouts,
    /// Groups, as `tocsin dlq list` names them, and ids of letters
    #[arg(required = true, value_name = "GROUP|ID")]
    pub which: Vec<String>,
    /// Why; it is kept with the letter
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}
