//! AQICN's historical files: a line for each day, city and measure, in no order and with repeats.
//! Pollutants are US index values, not concentrations. Of a repeated line the first counts.

use super::{Kind, csv};
use crate::calls::Calls;
use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};

pub(super) const KIND: Kind = Kind {
    name: "aqicn",
    keys: &[
        "delimiter",
        "encoding",
        "skip_lines",
        "comment",
        "header_begins",
        "address",
        "parameters",
    ],
    preset: PRESET,
    open: csv::open,
    upstream: Some(upstream),
};

/// The id of a reading is made of its subject, measure and time, so that a repeated line, even one
/// with another value, has the id of the first.
const PRESET: &str = r##"
name = "preset"
kind = "csv"
event = "reading"
delimiter = ","
comment = "#"
header_begins = "Date"
subject = "{Country}/{City}"
place = "{City}"
time = "{Date}"
unit = "{Specie}"
averaging = "PT24H"

[[values]]
measure = "{Specie}"
value = "{median}"

[[values]]
measure = "{Specie}-min"
value = "{min}"

[[values]]
measure = "{Specie}-max"
value = "{max}"

[names.measure]
"wind gust" = "wind-gust"
"wind gust-min" = "wind-gust-min"
"wind gust-max" = "wind-gust-max"
"wind speed" = "wind-speed"
"wind speed-min" = "wind-speed-min"
"wind speed-max" = "wind-speed-max"

[names.unit]
aqi = "AQI-US"
pm1 = "AQI-US"
pm25 = "AQI-US"
pm10 = "AQI-US"
o3 = "AQI-US"
no2 = "AQI-US"
so2 = "AQI-US"
co = "AQI-US"
"*" = ""
"##;

const HEADER: &[u8] = b"Date,Country,City,Specie";

struct Aqicn {
    calls: Calls,
}

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    let usual = "https://aqicn.org/data-platform/covid19/report";
    Ok(Box::new(Aqicn { calls: Calls::new(config, usual)? }))
}

impl Upstream for Aqicn {
    fn first(&self, search: &str) -> Result<Call, String> {
        let search = search.trim();
        let (year, part) = search.split_at_checked(4).unwrap_or((search, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let half = ["", "H1", "H2", "Q1", "Q2", "Q3", "Q4"].contains(&part);
        let period = year.len() == 4 && digits(year) && half;
        if !period && !search.is_empty() {
            return Err(format!(
                "{search:?} must be a period like 2018H1, 2020Q3 or 2024, or empty"
            ));
        }
        Ok(self.calls.call(&format!("/{search}"), &[], &[], Auth::None))
    }

    fn judge(&self, _: &Call, answer: &Answer<'_>) -> Verdict {
        if let Some(verdict) = by_status(answer) {
            return verdict;
        }
        let start = &answer.body[..answer.body.len().min(8 << 10)];
        match start.windows(HEADER.len()).any(|window| window == HEADER) {
            true => Verdict::Read { next: None },
            false => Verdict::Broken("the answer has no line Date,Country,City,Specie,…".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"aqicn\"\n";

    #[test]
    fn whatever_stands_before_the_header_is_passed_over() {
        let text = "# made by the World Air Quality Index project\r\nsee https://aqicn.org, please\r\n\r\n\
            Date,Country,City,Specie,count,min,max,median,variance\r\n\
            2020-01-13,CO,Bogotá,pm25,316,2,80,50,1.47\r\n\
            2020-01-12,CO,Bogotá,wind gust,3,0.5,,-,1\r\n";
        let found = collect(SOURCE, "2020Q1", text.as_bytes()).unwrap();
        let wanted = [
            "pm25 default/CO/Bogotá/pm25 50 AQI-US 2020-01-13T00:00:00Z 2020Q1:5",
            "pm25-min default/CO/Bogotá/pm25-min 2 AQI-US 2020-01-13T00:00:00Z 2020Q1:5",
            "pm25-max default/CO/Bogotá/pm25-max 80 AQI-US 2020-01-13T00:00:00Z 2020Q1:5",
            "NoValue",
            "wind-gust-min default/CO/Bogotá/wind-gust-min 0.5  2020-01-12T00:00:00Z 2020Q1:6",
            "NoValue",
        ];
        assert_eq!(found, wanted);
        assert!(collect(SOURCE, "x", b"<html>\n").unwrap_err().to_string().contains("no column"));
    }

    #[test]
    fn a_search_is_a_period() {
        let upstream = KIND.upstream.unwrap()(&config(SOURCE)).unwrap();
        for (search, wanted) in [("", "/"), ("2019Q1", "/2019Q1"), ("2026", "/2026")] {
            let url = asked(&*upstream, search).url;
            assert_eq!(url, format!("https://aqicn.org/data-platform/covid19/report{wanted}"));
        }
        for search in ["2019Q5", "../..", "20é9"] {
            assert!(upstream.first(search).is_err(), "{search}");
        }
        let call = asked(&*upstream, "");
        assert_eq!(
            judged(&*upstream, &call, 200, "# a\nDate,Country,City,Specie,count\n").0,
            "Read"
        );
        assert_eq!(judged(&*upstream, &call, 200, "<html>").0, "Broken");
    }
}
