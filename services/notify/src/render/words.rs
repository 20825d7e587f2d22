//! An alert in words: the headline, one sentence on what is, one on why it is told. Whatever comes
//! from outside becomes one line without control characters.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tocsin_domain::Micros;
use tocsin_domain::alert::{Alert, AlertState};
use tocsin_domain::event::{AIR, shown_measure};

/// What the alert is about, in the fewest words; the subject of a mail.
pub(super) fn headline(alert: &Alert) -> String {
    let place = one_line(alert.shown_subject());
    let (measure, value) = (measure(&alert.measure), value(alert));
    let over = alert.state == AlertState::Cleared;
    let headline = match alert.detector.as_str() {
        "anomaly" if over => format!("{measure} in {place} is back to usual: {value}"),
        "anomaly" => format!("Unusual {measure} in {place}: {value}{}", expected(alert)),
        "high-volume-sales" => {
            let verb = if alert.measure == "units" { "sold" } else { "earned" };
            let windowed = alert.evidence.figures.contains_key("window-end");
            match (over, windowed) {
                (false, _) => format!("High-volume sale: {place} {verb} {value}"),
                (true, true) => format!("High-volume sale is over: {place} {verb} {value} in all"),
                (true, false) => format!("Sales of {place} are back to {value}"),
            }
        }
        _ => {
            let back = if over { "back to " } else { "" };
            let band = one_line(&alert.band);
            let what = if is_air(&alert.measure) { "Air quality" } else { "News" };
            if band.is_empty() {
                format!("{what} in {place}: {back}{value} ({measure})")
            } else {
                format!("{what} in {place}: {back}{band} ({value}, {measure})")
            }
        }
    };
    one_line(&headline)
}

/// Place, value, band and since when, in the reader's time zone; UTC if there is no such zone.
pub(super) fn summary(alert: &Alert, time_zone: &str) -> String {
    let (place, band) = (one_line(alert.shown_subject()), one_line(&alert.band));
    let band = if band.is_empty() { String::new() } else { format!(", {band}") };
    let (measure, value) = (measure(&alert.measure), value(alert));
    let since = local(alert.event_time, time_zone);
    one_line(&format!("{place}: {measure} at {value}{band}, since {since}."))
}

/// Which wish led to the mail, and what it compares with.
pub(super) fn because(alert: &Alert) -> String {
    let name = one_line(&alert.condition_name);
    let limit = match alert.limit.as_str() {
        "" => String::new(),
        limit => format!(", whose limit is {}", quantity(limit, &alert.unit)),
    };
    one_line(&format!("You get this mail because you watch \u{201c}{name}\u{201d}{limit}."))
}

fn value(alert: &Alert) -> String {
    quantity(&alert.value, &alert.unit)
}

/// `AQI 162`, `182.3 ug/m3`, `7,431,200 ARS`.
fn quantity(value: &str, unit: &str) -> String {
    let (value, unit) = (one_line(value), one_line(unit));
    if is_index(&unit) {
        format!("AQI {value}")
    } else if unit.is_empty() {
        grouped(&value)
    } else {
        format!("{} {unit}", grouped(&value))
    }
}

fn is_index(unit: &str) -> bool {
    unit.starts_with("AQI")
}

/// Commas between thousands, if it is a decimal.
fn grouped(value: &str) -> String {
    let (sign, digits) = value.strip_prefix('-').map_or(("", value), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return value.to_owned();
    }
    let mut out = sign.to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if digits.contains('.') {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn expected(alert: &Alert) -> String {
    let figure = |name| alert.evidence.figures.get(name).map(|figure| one_line(figure));
    match (figure("expected-low"), figure("expected-high")) {
        (Some(low), Some(high)) => format!(" (expected {} to {})", grouped(&low), grouped(&high)),
        _ => String::new(),
    }
}

fn is_air(measure: &str) -> bool {
    AIR.iter().any(|(known, _)| *known == measure)
}

fn measure(measure: &str) -> String {
    one_line(shown_measure(measure))
}

fn local(time: Micros, time_zone: &str) -> String {
    let zone = TimeZone::get(time_zone).unwrap_or(TimeZone::UTC);
    match Timestamp::from_microsecond(time.0) {
        Ok(at) => at.to_zoned(zone).strftime("%-d %B %Y, %H:%M %Z").to_string(),
        Err(_) => time.to_string(),
    }
}

/// The text with every run of blanks and control characters as one blank.
pub(super) fn one_line(text: &str) -> String {
    let separates = |c: char| c.is_whitespace() || c.is_control();
    text.split(separates).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::alert;
    use AlertState::{Cleared, Raised};

    fn anomaly(state: AlertState) -> Alert {
        let mut anomaly = Alert {
            detector: "anomaly".into(),
            value: "182.3".into(),
            unit: "ug/m3".into(),
            band: String::new(),
            ..alert(state)
        };
        let figures = [("expected-low", "10.1"), ("expected-high", "55.2")];
        anomaly.evidence.figures = figures.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        anomaly
    }

    fn sale(state: AlertState) -> Alert {
        Alert {
            detector: "high-volume-sales".into(),
            measure: "revenue".into(),
            place: "Lego 75192".into(),
            value: "7431200".into(),
            unit: "ARS".into(),
            band: String::new(),
            ..alert(state)
        }
    }

    #[test]
    fn headlines() {
        let moderate = Alert { band: "Moderate".into(), value: "61".into(), ..alert(Cleared) };
        let units = Alert { measure: "units".into(), unit: "units".into(), ..sale(Raised) };
        let mut closed = sale(Cleared);
        closed.evidence.figures.insert("window-end".into(), "2024-03-01T00:00:00Z".into());
        let plain = |state| Alert {
            band: String::new(),
            value: "182.3".into(),
            unit: "ug/m3".into(),
            ..alert(state)
        };
        for (alert, wanted) in [
            (alert(Raised), "Air quality in Fairhope: Unhealthy (AQI 162, PM2.5)"),
            (moderate, "Air quality in Fairhope: back to Moderate (AQI 61, PM2.5)"),
            (plain(Raised), "Air quality in Fairhope: 182.3 ug/m3 (PM2.5)"),
            (plain(Cleared), "Air quality in Fairhope: back to 182.3 ug/m3 (PM2.5)"),
            (
                Alert { place: String::new(), ..plain(Raised) },
                "Air quality in fairhope: 182.3 ug/m3 (PM2.5)",
            ),
            (anomaly(Raised), "Unusual PM2.5 in Fairhope: 182.3 ug/m3 (expected 10.1 to 55.2)"),
            (anomaly(Cleared), "PM2.5 in Fairhope is back to usual: 182.3 ug/m3"),
            (sale(Raised), "High-volume sale: Lego 75192 earned 7,431,200 ARS"),
            (units, "High-volume sale: Lego 75192 sold 7,431,200 units"),
            (sale(Cleared), "Sales of Lego 75192 are back to 7,431,200 ARS"),
            (closed, "High-volume sale is over: Lego 75192 earned 7,431,200 ARS in all"),
        ] {
            assert_eq!(headline(&alert), wanted);
        }
    }

    #[test]
    fn sentences() {
        let zones =
            [("Europe/Berlin", "14:00 CEST"), ("nowhere", "12:00 UTC"), ("UTC", "12:00 UTC")];
        for (zone, time) in zones {
            assert_eq!(
                summary(&alert(Raised), zone),
                format!("Fairhope: PM2.5 at AQI 162, Unhealthy, since 7 June 2023, {time}.")
            );
        }
        assert_eq!(
            because(&alert(Raised)),
            "You get this mail because you watch \u{201c}pm25-unhealthy\u{201d}, whose limit is AQI 100."
        );
        let unlimited = Alert { limit: String::new(), ..alert(Raised) };
        assert!(because(&unlimited).ends_with("\u{201d}."));
    }

    #[test]
    fn numbers_are_grouped_and_lines_are_one() {
        for (value, wanted) in [
            ("1", "1"),
            ("1234.5678", "1,234.5678"),
            ("-123456", "-123,456"),
            ("n/a", "n/a"),
            ("", ""),
        ] {
            assert_eq!(grouped(value), wanted);
        }
        assert_eq!(one_line(" a\r\nBcc: b\u{0}\u{85}c\u{2028}d "), "a Bcc: b c d");
    }
}
