//! What is wrong with a configuration, all of it at once, in the words of somebody who has to
//! mend it.

use std::fmt;

/// One or more faults, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    place: String,
    message: String,
}

impl ConfigError {
    /// A fault at `place` (a file with its line, or a variable).
    pub fn new(place: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { problems: vec![Problem { place: place.to_owned(), message: message.into() }] }
    }

    /// These faults and those of `other`.
    #[must_use]
    pub fn and(mut self, other: ConfigError) -> ConfigError {
        self.problems.extend(other.problems);
        self
    }

    /// `value`, if there is no fault.
    ///
    /// # Errors
    /// `self`, if there is one.
    pub fn or_ok<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let end = if i > 0 { "\n" } else { "" };
            write!(f, "{end}{}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The one of `known` that `found` was probably meant to be.
pub fn suggest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|word| (strsim::jaro_winkler(found, word), word));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

/// `; did you mean `x`? allowed: …`
pub(super) fn hint<'a>(found: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let meant = suggest(found, known.clone()).map(|word| format!(" did you mean `{word}`?"));
    let allowed = known.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    format!(";{} allowed: {allowed}", meant.unwrap_or_default())
}

/// The library's message in our words, with a suggestion where it names an unknown word.
pub fn with_hint(message: &str) -> String {
    let message = message.trim().replace('\n', ", ");
    for (theirs, ours) in [("unknown field", "unknown key"), ("unknown variant", "unknown value")] {
        if message.starts_with(theirs) {
            // `found`, expected one of `a`, `b`: every second piece stands in backticks.
            let mut words = message.split('`').skip(1).step_by(2);
            let found = words.next().unwrap_or_default();
            return format!("{ours} `{found}`{}", hint(found, words));
        }
    }
    message.replace("missing field", "missing key")
}
