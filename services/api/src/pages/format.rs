//! How things are written on pages: times, links, values in their band.

use jiff::Timestamp;
use std::fmt::Write as _;
use tocsin_domain::Micros;
use tocsin_domain::alert::Alert;
use tocsin_domain::aqi::bands;

/// A time, for people and for machines.
pub(crate) struct When {
    /// `7 Jun 2023, 12:00:05 UTC`.
    pub text: String,
    /// RFC 3339.
    pub iso: String,
}

/// A time as it stands on a page.
pub(crate) fn when(time: Micros) -> When {
    When { text: format(time, "%-d %b %Y, %H:%M:%S UTC"), iso: time.to_string() }
}

/// A time in a form of `strftime`; out of the calendar it is shown as a number.
pub(crate) fn format(time: Micros, form: &str) -> String {
    match Timestamp::from_microsecond(time.0) {
        Ok(time) => time.strftime(form).to_string(),
        Err(_) => time.to_string(),
    }
}

/// A link: each part is one step of the path, whatever characters it has.
pub(crate) fn link(steps: &[&str]) -> String {
    steps.iter().fold(String::new(), |path, step| path + "/" + &encoded(step))
}

/// The text with everything escaped that could mean something in an address.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A value and the word for it. Colour only underlines what the words say.
pub(crate) struct Chip {
    /// `band-3`, or `plain` for a value without a band.
    pub class: String,
    /// `180 AQI-US · Unhealthy`.
    pub text: String,
}

/// A value in its band; an unknown band has no colour.
pub(crate) fn chip(value: &str, unit: &str, band: &str) -> Chip {
    let known = bands().iter().position(|known| known.name == band);
    let class = known.map_or("plain".to_owned(), |number| format!("band-{number}"));
    let mut text = format!("{value} {unit}").trim().to_owned();
    if !band.is_empty() {
        let _ = write!(text, " · {band}");
    }
    Chip { class, text }
}

/// What an alert says, in its band.
pub(crate) fn chip_of(alert: &Alert) -> Chip {
    chip(&alert.value, &alert.unit, &alert.band)
}

/// How a delivery's state is painted.
pub(crate) fn mood(state: &str) -> &'static str {
    match state {
        "sent" => "good",
        "refused" | "expired" | "suppressed" => "bad",
        _ => "waiting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hold_whatever_a_name_holds() {
        assert_eq!(link(&["subjects", "PK/La hore?"]), "/subjects/PK%2FLa%20hore%3F");
        assert_eq!(link(&["mails", "a-1@localhost"]), "/mails/a-1@localhost");
        assert_eq!(link(&["x", "<é\""]), "/x/%3C%C3%A9%22");
    }

    #[test]
    fn a_chip_says_in_words_what_its_colour_says() {
        let unhealthy = chip("180", "AQI-US", "Unhealthy");
        assert_eq!((&*unhealthy.class, &*unhealthy.text), ("band-3", "180 AQI-US · Unhealthy"));
        assert_eq!(chip("7", "GBP", "").class, "plain");
    }

    #[test]
    fn every_time_can_be_shown() {
        assert_eq!(when(Micros(0)).text, "1 Jan 1970, 00:00:00 UTC");
        assert!(when(Micros::MAX).text.contains("µs"));
    }
}
