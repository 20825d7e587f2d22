//! Tumbling windows of event time: the hours and days of a calendar. It reads no clock.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::Deserialize;
use tocsin_domain::Micros;

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Length {
    /// An hour of the clock.
    #[serde(rename = "1h")]
    Hour,
    /// A day of the calendar; 23 or 25 hours when the clocks change.
    #[serde(rename = "1d")]
    Day,
}

/// A zone by its IANA name.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Zone(TimeZone::UTC)
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Zone, String> {
        TimeZone::get(&name)
            .map(Zone)
            .map_err(|_| format!("{name:?} is not an IANA time zone such as \"Europe/Berlin\""))
    }
}

/// A window: from `start` on, before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: Micros,
    pub end: Micros,
}

impl Window {
    pub fn holds(&self, time: Micros) -> bool {
        (self.start..self.end).contains(&time)
    }

    /// The window of `length` that holds `time`. An error outside of the years 1 to 9999.
    pub fn around(time: Micros, length: Length, zone: &Zone) -> Result<Window, String> {
        let out_of_range = |_| format!("the event time {time} has no calendar day");
        let found = || {
            let at = Timestamp::from_microsecond(time.0)?.to_zoned(zone.0.clone());
            match length {
                Length::Hour => hour(&at),
                Length::Day => Ok((at.start_of_day()?, at.tomorrow()?.start_of_day()?)),
            }
        };
        let (start, end) = found().map_err(|e: jiff::Error| out_of_range(e))?;
        let micros = |at: Zoned| Micros(at.timestamp().as_microsecond());
        Ok(Window { start: micros(start), end: micros(end) })
    }
}

/// Subtracted from the instant, so that the two hours of an autumn night stay two.
fn hour(at: &Zoned) -> Result<(Zoned, Zoned), jiff::Error> {
    let into = 0
        .minutes()
        .minutes(i64::from(at.minute()))
        .seconds(i64::from(at.second()))
        .nanoseconds(i64::from(at.subsec_nanosecond()));
    let start = at.checked_sub(into)?;
    let end = start.checked_add(1.hour())?;
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_calendar_of_their_zone() {
        use Length::{Day, Hour};
        for (length, zone, time, start, end) in [
            (
                Hour,
                "UTC",
                "2024-05-01T10:59:59.999999Z",
                "2024-05-01T10:00:00Z",
                "2024-05-01T11:00:00Z",
            ),
            (Hour, "UTC", "2024-05-01T11:00:00Z", "2024-05-01T11:00:00Z", "2024-05-01T12:00:00Z"),
            (Day, "UTC", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z"),
            (
                Day,
                "Asia/Shanghai",
                "2024-05-01T20:00:00Z",
                "2024-05-01T16:00:00Z",
                "2024-05-02T16:00:00Z",
            ),
            (
                Hour,
                "Asia/Kolkata",
                "2024-05-01T10:29:00Z",
                "2024-05-01T09:30:00Z",
                "2024-05-01T10:30:00Z",
            ),
            (
                Day,
                "Europe/Berlin",
                "2024-10-27T12:00:00Z",
                "2024-10-26T22:00:00Z",
                "2024-10-27T23:00:00Z",
            ),
            (
                Hour,
                "Europe/Berlin",
                "2024-10-27T00:30:00Z",
                "2024-10-27T00:00:00Z",
                "2024-10-27T01:00:00Z",
            ),
            (
                Hour,
                "Europe/Berlin",
                "2024-10-27T01:30:00Z",
                "2024-10-27T01:00:00Z",
                "2024-10-27T02:00:00Z",
            ),
            (Hour, "UTC", "1960-05-01T10:20:00.5Z", "1960-05-01T10:00:00Z", "1960-05-01T11:00:00Z"),
        ] {
            let at = |text| Micros::parse(text).unwrap();
            let zone = Zone::try_from(zone.to_owned()).unwrap();
            let window = Window::around(at(time), length, &zone).unwrap();
            assert_eq!(window, Window { start: at(start), end: at(end) }, "{time} {zone:?}");
            assert!(window.holds(at(time)) && !window.holds(window.end));
        }
        assert!(Window::around(Micros::MAX, Hour, &Zone::default()).is_err());
        assert!(Zone::try_from("Mars/Olympus".to_owned()).is_err());
    }
}
