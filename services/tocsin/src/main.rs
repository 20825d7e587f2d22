//! The `tocsin` command: a thin main; each subcommand is a file in `command/`.

use clap::Parser;
use tocsin::{cli::Cli, command, exit};

fn main() -> std::process::ExitCode {
    exit::report(command::run(&Cli::parse().command))
}
