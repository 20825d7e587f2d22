//! AirNow's own daily files (`daily_data.dat`, `daily_data_v2.dat`): bars and no header, a row for
//! each site, parameter and day. The day is that of the site, and stands as a midnight in UTC.

use super::airnow::Files;
use super::{Kind, csv};
use crate::settings::SourceConfig;
use crate::upstream::Upstream;

pub(super) const KIND: Kind = Kind {
    name: "airnow-daily",
    keys: KEYS,
    preset: PRESET,
    open: csv::open,
    upstream: Some(upstream),
};

/// What the configuration of both kinds of `.dat` files may say.
pub(super) const KEYS: &[&str] = &[
    "delimiter",
    "header",
    "columns",
    "encoding",
    "skip_lines",
    "comment",
    "address",
    "parameters",
];

/// Version 2 only adds columns. Names of sites are in several encodings, and Latin-1 refuses none.
/// Of one day there may be two values for ozone, so that each needs a name of its own.
const PRESET: &str = r#"
name = "preset"
kind = "csv"
event = "reading"
delimiter = "|"
header = false
columns = ["date", "site", "name", "parameter", "unit", "value", "hours", "agency",
    "index", "category", "latitude", "longitude", "full site"]
encoding = "latin-1"
missing = ["", "-999"]
subject = "{site}"
place = "{name}"
measure = "{parameter}"
value = "{value}"
unit = "{unit}"
averaging = "PT{hours}H"
time = "{date}"
time_format = "%m/%d/%y"

[names.measure]
"PM2.5-24hr" = "pm25"
"PM2.5-24HR" = "pm25"
"PM10-24hr" = "pm10"
"PM10-24HR" = "pm10"
"OZONE-8HR" = "o3"
"OZONE-1HR" = "o3-1h"
"CO-8HR" = "co"
"SO2-24HR" = "so2"

[names.unit]
"UG/M3" = "ug/m3"
"PPB" = "ppb"
"PPM" = "ppm"
"#;

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    Files::below(config, ADDRESS, has_bars, "no row of eight fields at its start")
}

/// Where AirNow's files are for everybody: those of yesterday, of today, and of each day.
pub(super) const ADDRESS: &str = "https://files.airnowtech.org/airnow";

/// Whether a file begins with a row as both kinds have them.
pub(super) fn has_bars(head: &str) -> bool {
    head.lines().next().is_some_and(|line| line.matches('|').count() >= 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"airnow-daily\"\n";

    const ROWS: &str = "01/09/23|060290014|Bakersfield - California Ave|PM2.5-24hr|UG/M3|4.5|24|California \
        Air Resources Board|19|0|35.356615|-119.062613|840060290014|\r\n\
        01/09/23|060290014|Bakersfield|OZONE-8HR|PPB|31|8|CARB\n\
        01/09/23|060290014|Bakersfield|OZONE-1HR|PPB|38|1|CARB\n\
        01/09/23|000051501|Z\u{82}phirin|CO-8HR|PPM|-999.0|8|Canada\n\
        01/32/23|000051501|X|SO2-24HR|PPB|2|24|Canada\n";

    #[test]
    fn both_versions_are_read_with_their_measures_units_and_averages() {
        // A byte that is no UTF-8, as sites in Quebec have them.
        let bytes: Vec<u8> = ROWS.chars().map(|c| c as u8).collect();
        let found = collect(SOURCE, "d.dat", &bytes).unwrap();
        let at = |line: u32| format!("2023-01-09T00:00:00Z d.dat:{line}");
        let wanted = [
            format!("pm25 default/060290014/pm25 4.5 ug/m3 {}", at(1)),
            format!("o3 default/060290014/o3 31 ppb {}", at(2)),
            format!("o3-1h default/060290014/o3-1h 38 ppb {}", at(3)),
            "NoValue".to_owned(),
        ];
        assert_eq!(found[..4], wanted);
        assert!(found[4].starts_with("dead time d.dat:5 "), "{}", found[4]);
    }

    #[test]
    fn yesterdays_file_can_be_asked_for() {
        let upstream = upstream(&config(SOURCE)).unwrap();
        let call = asked(&*upstream, "yesterday/daily_data_v2.dat");
        assert_eq!(call.url, format!("{ADDRESS}/yesterday/daily_data_v2.dat"));
        assert_eq!(judged(&*upstream, &call, 200, ROWS).0, "Read");
        for body in ["<html>", "", "a|b\n1|2|3|4|5|6|7|8\n"] {
            assert_eq!(judged(&*upstream, &call, 200, body).0, "Broken", "{body}");
        }
    }
}
