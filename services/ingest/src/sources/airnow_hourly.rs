//! AirNow's own hourly files (`HourlyData_2023010914.dat`): bars and no header, a row for each site
//! and parameter. The time is in UTC, whatever the offset beside it says.

use super::airnow::Files;
use super::airnow_daily::{ADDRESS, KEYS, has_bars};
use super::{Kind, csv};
use crate::settings::SourceConfig;
use crate::upstream::Upstream;

pub(super) const KIND: Kind = Kind {
    name: "airnow-hourly",
    keys: KEYS,
    preset: PRESET,
    open: csv::open,
    upstream: Some(upstream),
};

/// What is neither a pollutant nor weather keeps AirNow's name.
const PRESET: &str = r#"
name = "preset"
kind = "csv"
event = "reading"
delimiter = "|"
header = false
columns = ["date", "time", "site", "name", "offset", "parameter", "unit", "value", "agency"]
encoding = "latin-1"
missing = ["", "-999"]
subject = "{site}"
place = "{name}"
measure = "{parameter}"
value = "{value}"
unit = "{unit}"
averaging = "PT1H"
time = "{date} {time}"
time_format = "%m/%d/%y %H:%M"

[names.measure]
"PM2.5" = "pm25"
"PM10" = "pm10"
"OZONE" = "o3"
"CO" = "co"
"NO2" = "no2"
"SO2" = "so2"
"NO" = "no"
"NOX" = "nox"
"TEMP" = "temperature"
"RHUM" = "humidity"
"BARPR" = "pressure"
"WS" = "wind"
"WD" = "wind-direction"
"PRECIP" = "rain"

[names.unit]
"UG/M3" = "ug/m3"
"PPB" = "ppb"
"PPM" = "ppm"
"PERCENT" = "%"
"MILLIBAR" = "hPa"
"M/S" = "m/s"
"DEGREES" = "deg"
"WATTS/M2" = "W/m2"
"MM" = "mm"
"#;

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    Files::below(config, ADDRESS, has_bars, "no row of nine fields at its start")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"airnow-hourly\"\n";

    const ROWS: &str = "07/27/26|19:00|000010601|Goose Bay|-4|OZONE|PPB|38|Canadian Air\n\
        07/27/26|19:00|000010601|Goose Bay|-4|PM2.5|UG/M3|-3.2|Canadian Air\n\
        07/27/26|19:45|KTM010001|Kathmandu|5.75|PM2.5|UG/M3|41|State\n\
        07/27/26|19:00|410170601|Prineville|-8|RHUM|PERCENT|51|USDA\n\
        07/27/26|19:00|410170601|Prineville|-8|UV-AETH|UG/M3|-999|USDA\n\
        07/27/26|24:61|410170601|Prineville|-8|TEMP|C|21|USDA\n\
        07/27/26|19:00|410170601|Prineville\n";

    #[test]
    fn hours_are_in_utc_and_words_are_ours() {
        let found = collect(SOURCE, "h.dat", ROWS.as_bytes()).unwrap();
        let wanted = [
            "o3 default/000010601/o3 38 ppb 2026-07-27T19:00:00Z h.dat:1",
            "pm25 default/000010601/pm25 -3.2 ug/m3 2026-07-27T19:00:00Z h.dat:2",
            "pm25 default/KTM010001/pm25 41 ug/m3 2026-07-27T19:45:00Z h.dat:3",
            "humidity default/410170601/humidity 51 % 2026-07-27T19:00:00Z h.dat:4",
            "NoValue",
        ];
        assert_eq!(found[..5], wanted);
        assert!(found[5].starts_with("dead time h.dat:6 "), "{}", found[5]);
        assert!(found[6].starts_with("dead csv h.dat:7 the row has 4 fields"), "{}", found[6]);
    }

    #[test]
    fn the_file_of_an_hour_can_be_asked_for() {
        let upstream = upstream(&config(SOURCE)).unwrap();
        let call = asked(&*upstream, "2026/20260727/HourlyData_2026072719.dat");
        assert_eq!(call.url, format!("{ADDRESS}/2026/20260727/HourlyData_2026072719.dat"));
        assert_eq!(judged(&*upstream, &call, 200, ROWS).0, "Read");
        assert_eq!(judged(&*upstream, &call, 200, "<html>").0, "Broken");
    }
}
