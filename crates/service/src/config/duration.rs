//! How long something takes, as people write it: `90s`, `6h`, `1h 30m`, `2d`, `PT6H`. For fields,
//! `#[serde(with = "tocsin_service::config::duration")]`. No months or years: they have no length.

use serde::{Deserialize, Deserializer, Serializer};
use std::borrow::Cow;
use std::time::Duration;

/// Reads a duration; `None` if it is none, or longer than a hundred years.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let mut rest = text.strip_prefix('p').map_or(text.clone(), |iso| iso.replacen('t', "", 1));
    rest.retain(|c| c != ' ');
    let mut rest = rest.as_str();
    let mut micros: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, tail) = tail.split_at(letters);
        let part = number.parse::<u64>().ok()?.checked_mul(unit_micros(unit)?)?;
        micros = micros.checked_add(part)?;
        rest = tail;
    }
    let limit = 100 * 365 * unit_micros("d")?;
    (!text.is_empty() && text != "p" && text != "pt" && micros <= limit)
        .then(|| Duration::from_micros(micros))
}

fn unit_micros(unit: &str) -> Option<u64> {
    Some(match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        "w" => 7 * 86_400_000_000,
        _ => return None,
    })
}

/// Reads a duration from configuration.
///
/// # Errors
/// If the text is no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = Cow::<str>::deserialize(from)?;
    parse(&text).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is not a duration; allowed: a number and us, ms, s, m, h, d or w, \
            such as \"90s\", \"1h 30m\", or ISO 8601 such as \"PT6H\""
        ))
    })
}

/// Writes a duration as ISO 8601 seconds or microseconds, in the form that [`parse`] reads.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    match duration.subsec_micros() {
        0 => to.collect_str(&format_args!("{}s", duration.as_secs())),
        _ => to.collect_str(&format_args!("{}us", duration.as_micros())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_refuses_the_rest() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("6h", Some(21_600)),
            ("2d", Some(172_800)),
            ("PT6H", Some(21_600)),
            ("P1DT1M", Some(86_460)),
            ("1h 30m", Some(5_400)),
            ("0s", Some(0)),
            ("", None),
            ("PT", None),
            ("6", None),
            ("h", None),
            ("6 years", None),
            ("-5s", None),
            ("99999999999999999999s", None),
            ("9999999w", None),
        ] {
            assert_eq!(parse(text).map(|d| d.as_secs()), seconds, "{text:?}");
        }
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
    }
}
