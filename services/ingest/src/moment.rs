//! When something was, from what an upstream printed: ISO 8601 or given formats, in a time zone.
//! Local times that a clock change skips or repeats are read as RFC 5545 does.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use tocsin_domain::Micros;

/// Reads times.
#[derive(Clone, Debug)]
pub struct Moments {
    formats: Vec<String>,
    zone: TimeZone,
    // Rows of one file often share their time; reading it again would cost more than all the rest.
    last: (String, Micros),
}

impl Moments {
    /// A reader of `formats` (RFC 3339 and ISO dates if there are none) in the IANA zone `zone`.
    ///
    /// # Errors
    /// If there is no such zone or a format is not one.
    pub fn new(formats: &[String], zone: &str) -> Result<Moments, String> {
        let found = TimeZone::get(zone).map_err(|_| {
            format!(
                "time_zone {zone:?} is not known; it must be an IANA name such as Europe/Berlin"
            )
        })?;
        let last = (String::new(), Micros::default());
        let moments = Moments { formats: formats.to_vec(), zone: found, last };
        for format in formats {
            let probe = strtime::format(format, &jiff::Zoned::default());
            let probe =
                probe.map_err(|e| format!("time_format {format:?} is no strptime format: {e}"))?;
            if moments.parse_as(format, &probe).is_none() {
                return Err(format!(
                    "time_format {format:?} says no moment: it must have a year, a month and a day, as in \
                     %Y-%m-%d %H:%M, or be %s"
                ));
            }
        }
        Ok(moments)
    }

    /// The time that `text` says.
    ///
    /// # Errors
    /// If it says none.
    pub fn read(&mut self, text: &str) -> Result<Micros, String> {
        if text.is_empty() {
            return Err("the time is empty".into());
        }
        if self.last.0 != text {
            let time = self.parse(text)?;
            self.last.0.clear();
            self.last.0.push_str(text);
            self.last.1 = time;
        }
        Ok(self.last.1)
    }

    fn parse(&self, text: &str) -> Result<Micros, String> {
        let found = if self.formats.is_empty() {
            self.parse_iso(text)
        } else {
            self.formats.iter().find_map(|format| self.parse_as(format, text))
        };
        found.ok_or_else(|| {
            let allowed = match self.formats.as_slice() {
                [] => "an ISO date or date-time; give time_format if it is another form".into(),
                formats => formats.join(" or "),
            };
            format!("{text:?} is not a time; allowed: {allowed}")
        })
    }

    fn parse_as(&self, format: &str, text: &str) -> Option<Micros> {
        let parts = strtime::parse(format, text).ok()?;
        if parts.offset().is_some() || parts.iana_time_zone().is_some() {
            return parts.to_timestamp().ok().map(|t| Micros(t.as_microsecond()));
        }
        match parts.to_datetime() {
            Ok(civil) => self.local(civil),
            // `%s` is a moment without a date.
            Err(_) => parts.to_timestamp().ok().map(|t| Micros(t.as_microsecond())),
        }
    }

    fn parse_iso(&self, text: &str) -> Option<Micros> {
        match iso(text) {
            Some(civil) => self.local(civil),
            None => Micros::parse(text),
        }
    }

    fn local(&self, civil: DateTime) -> Option<Micros> {
        self.zone.to_timestamp(civil).ok().map(|t| Micros(t.as_microsecond()))
    }
}

/// `2013-3-1`, `2013-03-01 0:00`, `2013-03-01T00:00:00.25`: ISO but for zeros in front, because a
/// time that is put together from columns has none. Without an offset.
fn iso(text: &str) -> Option<DateTime> {
    let (date, time) = match text.find([' ', 'T']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let year = parts.next().filter(|year| year.len() == 4)?;
    let year: i16 = number(year, 4)?.try_into().ok()?;
    let month = number(parts.next()?, 2)? as i8;
    let day = number(parts.next()?, 2)? as i8;
    let Some(time) = time else { return DateTime::new(year, month, day, 0, 0, 0, 0).ok() };
    let mut parts = time.splitn(3, ':');
    let hour = number(parts.next()?, 2)? as i8;
    let minute = number(parts.next()?, 2)? as i8;
    let (second, nanos) = match parts.next() {
        None => (0, 0),
        Some(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let digits = number(fraction, 9)? as i32;
            let power = 9_u32.checked_sub(fraction.len() as u32)?;
            (number(whole, 2)? as i8, digits * 10_i32.pow(power))
        }
    };
    DateTime::new(year, month, day, hour, minute, second, nanos).ok()
}

/// One to `most` digits and nothing else.
fn number(text: &str, most: usize) -> Option<u32> {
    let digits = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(formats: &[&str], zone: &str, text: &str) -> Option<String> {
        let formats: Vec<String> = formats.iter().map(|f| (*f).to_owned()).collect();
        Moments::new(&formats, zone).unwrap().read(text).ok().map(|time| time.to_string())
    }

    #[test]
    fn reads_what_upstreams_print() {
        let us = ["%m/%d/%Y", "%m-%d-%Y"];
        for (formats, zone, text, wanted) in [
            (&[][..], "UTC", "2020-01-04", "2020-01-04T00:00:00Z"),
            (&[], "Asia/Shanghai", "2013-3-1 0:00", "2013-02-28T16:00:00Z"),
            (&[], "UTC", "2010-12-01 08:26:00", "2010-12-01T08:26:00Z"),
            (&[], "UTC", "2010-12-01T08:26:00.25", "2010-12-01T08:26:00.25Z"),
            (&[], "Europe/Rome", "2021-10-19T17:56:28Z", "2021-10-19T17:56:28Z"),
            (&[], "UTC", "2021-10-19T17:56:28.000+02:00", "2021-10-19T15:56:28Z"),
            (&us, "UTC", "01/31/2022", "2022-01-31T00:00:00Z"),
            (&us, "UTC", "01-31-2022", "2022-01-31T00:00:00Z"),
            (&["%d/%m/%Y %H.%M.%S"], "UTC", "10/03/2004 18.00.00", "2004-03-10T18:00:00Z"),
            (&["%d/%m/%y"], "UTC", "3/1/19", "2019-01-03T00:00:00Z"),
            (&["%s"], "Europe/Rome", "1500000000", "2017-07-14T02:40:00Z"),
            (&["%Y-%m-%d %H:%M %z"], "UTC", "2020-01-01 00:00 +0100", "2019-12-31T23:00:00Z"),
            // A time that the clocks skip, and one that they show twice: the first.
            (&[], "Europe/Berlin", "2021-03-28 02:30", "2021-03-28T01:30:00Z"),
            (&[], "Europe/Berlin", "2021-10-31 02:30", "2021-10-31T00:30:00Z"),
        ] {
            assert_eq!(read(formats, zone, text).as_deref(), Some(wanted), "{text} {formats:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for (formats, text) in [
            (&[][..], "2021-02-29"),
            (&[], "2021-02-28 24:00"),
            (&[], "21-02-28"),
            (&[], "2021-02"),
            (&[], "2021-02-28 7"),
            (&[], "NA"),
            (&[], ""),
            (&[], "2021-02-28 07:00x"),
            (&["%d/%m/%Y"], "2021-02-28"),
            (&["%d/%m/%Y"], "31/04/2021"),
            (&["%d/%m/%Y"], "01/04/2021 12:00"),
        ] {
            assert_eq!(read(formats, "UTC", text), None, "{text}");
        }
    }

    #[test]
    fn zones_and_formats_are_checked_when_they_are_given() {
        assert!(Moments::new(&[], "Mars/Olympus").is_err());
        for format in ["%Y-%Q!%", "%Q", "%Y-%m", "%H:%M"] {
            assert!(Moments::new(&[format.into()], "UTC").is_err(), "{format}");
        }
    }
}
