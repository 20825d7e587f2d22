//! The command line of who is told what.

use super::Place;
use clap::{Args, Subcommand};

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
    /// The name of a [[sources]] entry that is asked as long as the watch stands
    #[arg(long)]
    pub source: Option<String>,
    /// What it is asked for
    #[arg(long, requires = "source")]
    pub search: Option<String>,
    /// How often, for example 10m; default: as often as the source says
    #[arg(long, requires = "source")]
    pub every: Option<String>,
}
