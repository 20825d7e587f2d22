//! Distinct exit codes: what a script needs to know without reading the text.

use std::fmt;
use std::process::ExitCode;

/// Why a command ends badly; clap itself ends with 2 for wrong usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 3: the configuration is wrong.
    Configuration,
    /// 4: something that is needed cannot be reached or opened.
    Unreachable,
    /// 5: it was done, and problems were found.
    Problems,
}

/// An error with its exit code.
#[derive(Debug)]
pub struct Exit {
    kind: Kind,
    text: String,
}

impl Exit {
    /// An error of a kind, to be returned as [`anyhow::Error`].
    pub fn error(kind: Kind, text: impl fmt::Display) -> anyhow::Error {
        anyhow::Error::new(Exit { kind, text: text.to_string() })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Exit {}

/// Prints the error, if there is one, and gives the exit code.
pub fn report(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("tocsin: {error:#}");
    match error.chain().find_map(|cause| cause.downcast_ref::<Exit>()).map(|exit| exit.kind) {
        Some(Kind::Configuration) => ExitCode::from(3),
        Some(Kind::Unreachable) => ExitCode::from(4),
        Some(Kind::Problems) => ExitCode::from(5),
        None => ExitCode::FAILURE,
    }
}
