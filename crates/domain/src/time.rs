//! Time as it stands in every fact: UTC microseconds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z (Avro `timestamp-micros`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// Before every event.
    pub const MIN: Micros = Micros(i64::MIN);
    /// After every event: the time at which an input that has ended stands.
    pub const MAX: Micros = Micros(i64::MAX);

    /// This time, `by` later; stops at [`Micros::MAX`].
    pub fn plus(self, by: Duration) -> Micros {
        Micros(self.0.saturating_add(by.as_micros().min(i64::MAX as u128) as i64))
    }

    /// This time, `by` earlier; stops at [`Micros::MIN`].
    pub fn minus(self, by: Duration) -> Micros {
        Micros(self.0.saturating_sub(by.as_micros().min(i64::MAX as u128) as i64))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Micros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Parses RFC 3339, for example `2023-06-07T12:00:00Z`.
    pub fn parse(text: &str) -> Option<Micros> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Micros(t.as_microsecond()))
    }

    /// The calendar date in UTC, `2023-06-07`.
    pub fn date(self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Micros::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_rfc_3339() {
        let time = Micros::parse("2023-06-07T12:00:00.25Z").unwrap();
        assert_eq!(time, Micros(1_686_139_200_250_000));
        assert_eq!(time.to_string(), "2023-06-07T12:00:00.25Z");
        assert_eq!(time.date(), "2023-06-07");
        assert_eq!(Micros::parse("yesterday"), None);
    }

    #[test]
    fn never_overflows() {
        assert_eq!(Micros::MAX.plus(Duration::MAX), Micros::MAX);
        assert_eq!(Micros::MIN.minus(Duration::MAX), Micros::MIN);
        assert_eq!(Micros(5).since(Micros(9)), Duration::ZERO);
    }
}
