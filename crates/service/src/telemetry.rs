//! What the process says about itself: to standard error, as text where somebody reads along and
//! as JSON lines where a collector does. Standard output belongs to the answers of commands.

use std::io::IsTerminal;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that says how much is logged: `info`, or `warn,tocsin_stream=debug`.
pub const LEVEL_VARIABLE: &str = "TOCSIN_LOG";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "cannot read the log level {0:?}: {1}; allowed: off, error, warn, info, debug, trace, \
        or targets such as \"warn,tocsin_stream=debug\""
    )]
    Level(String, String),
    /// It was set up before.
    #[error("cannot set up logging: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the process. `level` is the value of [`LEVEL_VARIABLE`] or of a parameter;
/// `info` if there is none, without what the database's driver says of each connection.
///
/// # Errors
/// If the level cannot be read or logging is set up already.
pub fn init(level: Option<&str>) -> Result<(), TelemetryError> {
    let targets = targets(level.unwrap_or("info,scylla=warn"))?;
    let base = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(targets);
    if std::io::stderr().is_terminal() {
        registry.with(base.with_target(false)).try_init()?;
    } else {
        registry.with(base.json().flatten_event(true)).try_init()?;
    }
    Ok(())
}

fn targets(level: &str) -> Result<Targets, TelemetryError> {
    let wrong = |why: String| TelemetryError::Level(level.to_owned(), why);
    let targets = level.parse::<Targets>().map_err(|e| wrong(e.to_string()))?;
    // A lone unknown word is taken for a target whose every event is wanted: surely a slip.
    let lone = !level.contains(['=', ',']) && targets.default_level().is_none() && level != "off";
    if lone { Err(wrong("it is no level".into())) } else { Ok(targets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_strictly() {
        for (level, good) in [
            ("info", true),
            ("off", true),
            ("warn,tocsin_stream=debug", true),
            ("loud", false),
            ("a=loud", false),
        ] {
            assert_eq!(targets(level).is_ok(), good, "{level}");
        }
    }
}
