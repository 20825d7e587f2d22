//! The World Air Quality Index: feeds of stations, searches, and the stations within bounds. What
//! it calls values are US index values, not concentrations; what it sends with them is weather.

use super::{Kind, json_lines};
use crate::calls::{Calls, json, segment, text_of};
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};
use serde_json::Value;

pub(super) const KIND: Kind = Kind {
    name: "waqi",
    keys: &["items", "rows", "lines", "address", "parameters"],
    preset: PRESET,
    open: json_lines::open,
    upstream: Some(|config| Ok(Box::new(Waqi { calls: Calls::new(config, ADDRESS)? }))),
};

const ADDRESS: &str = "https://api.waqi.info";

/// `time.v` is the local clock read as UTC, so it is never used.
const PRESET: &str = r#"
name = "preset"
kind = "json-lines"
event = "reading"
rows = '''
if .status != "ok" then error("the answer is an error: \(.data)")
elif (.data | type) == "object" and .data.status == "error"
then error("the answer is an error: \(.data.msg)")
else .data | if type == "array" then .[] else . end end
| . as $of
| (if (.time | type) == "object" then .time else {} end) as $time
| ($time.iso // .station.time
    // (if $time.s // $time.stime then "\($time.s // $time.stime) \($time.tz // "")" else null end)
  ) as $at
| {aqi: .aqi} + ((.iaqi // {}) | map_values(.v)) | to_entries[]
| {
    station: ($of.idx // $of.uid), name: ($of.city.name // $of.station.name),
    lat: ($of.lat // $of.city.geo[0] // $of.station.geo[0]),
    lng: ($of.lon // $of.city.geo[1] // $of.station.geo[1]),
    dominant: $of.dominentpol, measure: .key, value: .value, time: $at
  }
'''
subject = "{station}"
place = "{name}"
measure = "{measure}"
value = "{value}"
unit = "{measure}"
time = "{time}"
time_format = ["%Y-%m-%dT%H:%M:%S%:z", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S %:z", "%Y-%m-%d %H:%M:%S %z"]

[names.measure]
h = "humidity"
t = "temperature"
p = "pressure"
w = "wind"
wg = "wind-gust"
wd = "wind-direction"
d = "dew"
r = "rain"

[names.unit]
aqi = "AQI-US"
pm25 = "AQI-US"
pm10 = "AQI-US"
o3 = "AQI-US"
no2 = "AQI-US"
so2 = "AQI-US"
co = "AQI-US"
h = "%"
t = "C"
dew = "C"
d = "C"
p = "hPa"
w = "m/s"
wg = "m/s"
"*" = ""
"#;

struct Waqi {
    calls: Calls,
}

impl Upstream for Waqi {
    fn first(&self, search: &str) -> Result<Call, String> {
        let search = search.trim();
        let (path, query) = match search.split_once(':') {
            Some(("search", keyword)) => ("/search/".to_owned(), Some(("keyword", keyword.trim()))),
            Some(("bounds", bounds)) => {
                let numbers = bounds.split(',').filter(|n| n.trim().parse::<f64>().is_ok());
                if numbers.count() != 4 {
                    return Err(format!("{search:?} must be like bounds:39.3,116.0,40.2,116.7"));
                }
                ("/map/bounds/".to_owned(), Some(("latlng", bounds)))
            }
            Some(("geo", place)) => {
                let numbers = place.split(';').filter(|n| n.trim().parse::<f64>().is_ok());
                if numbers.count() != 2 {
                    return Err(format!("{search:?} must be like geo:31.55;74.34"));
                }
                (format!("/feed/geo:{place}/"), None)
            }
            _ if search.is_empty() => ("/feed/here/".to_owned(), None),
            _ => (format!("/feed/{}/", segment(search)?.replace("%40", "@")), None),
        };
        let fixed: Vec<_> = query.into_iter().collect();
        Ok(self.calls.call(&path, &[], &fixed, Auth::Query("token")))
    }

    fn judge(&self, _: &Call, answer: &Answer<'_>) -> Verdict {
        match by_status(answer) {
            Some(Verdict::Login(reason)) => return Verdict::Refused(reason),
            Some(other) => return other,
            None => {}
        }
        let found = match json(answer) {
            Ok(found) => found,
            Err(broken) => return broken,
        };
        let (status, data) = (&found["status"], &found["data"]);
        match (status.as_str(), data["status"].as_str()) {
            (Some("ok"), Some("error")) => error(&data["msg"]),
            (Some("ok"), _) if data.is_object() || data.is_array() => Verdict::Read { next: None },
            (Some("ok"), _) => Verdict::Broken("the answer is ok and has no data".to_owned()),
            (Some(_), _) => error(data),
            (None, _) => Verdict::Broken("the answer has no status".to_owned()),
        }
    }
}

/// Errors come with status 200, as a text.
fn error(text: &Value) -> Verdict {
    let text = text_of(text);
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["invalid key", "invalid token"]) {
        Verdict::Refused(text)
    } else if says(&["quota"]) {
        Verdict::Exhausted { after: None, reason: text }
    } else if says(&["unknown", "no such"]) {
        Verdict::Nothing(text)
    } else {
        Verdict::Later { after: None, reason: text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, config, judged};

    fn waqi() -> Box<dyn Upstream> {
        let config = config("name = \"a\"\nkind = \"waqi\"\n");
        KIND.upstream.unwrap()(&config).unwrap()
    }

    #[test]
    fn a_search_is_a_city_a_station_a_place_a_word_or_bounds() {
        for (search, wanted) in [
            ("", "/feed/here/"),
            ("lahore", "/feed/lahore/"),
            ("@1437", "/feed/@1437/"),
            ("são paulo", "/feed/s%C3%A3o%20paulo/"),
            ("../admin", "/feed/..%2Fadmin/"),
            ("geo:31.55;74.34", "/feed/geo:31.55;74.34/"),
            ("search:bangalore", "/search/?keyword=bangalore"),
            ("bounds:39.3,116.0,40.2,116.7", "/map/bounds/?latlng=39.3,116.0,40.2,116.7"),
        ] {
            let call = waqi().first(search).unwrap();
            assert_eq!(call.url, format!("{ADDRESS}{wanted}"));
            assert_eq!(call.auth, Auth::Query("token"));
        }
        for search in ["bounds:1,2,3", "geo:31.55,74.34", "geo:../x;1", "..", "."] {
            assert!(waqi().first(search).is_err(), "{search}");
        }
    }

    #[test]
    fn errors_within_good_answers_are_errors() {
        for (body, wanted) in [
            (r#"{"status":"ok","data":[]}"#, "Read"),
            (r#"{"status":"ok","data":{"aqi":"-"}}"#, "Read"),
            (r#"{"status":"ok","data":{"status":"error","msg":"Unknown ID"}}"#, "Nothing"),
            (r#"{"status":"error","data":"Unknown station"}"#, "Nothing"),
            (r#"{"status":"error","data":"no such station"}"#, "Nothing"),
            (r#"{"status":"error","data":"Invalid key"}"#, "Refused"),
            (r#"{"status":"error","data":"Over quota"}"#, "Exhausted"),
            (r#"{"status":"error","data":"can not connect"}"#, "Later"),
            (r#"{"status":"ok"}"#, "Broken"),
            ("[]", "Broken"),
            ("<html>", "Broken"),
        ] {
            assert_eq!(judged(&*waqi(), &asked(&*waqi(), ""), 200, body).0, wanted, "{body}");
        }
        assert_eq!(judged(&*waqi(), &asked(&*waqi(), ""), 401, "").0, "Refused");
    }
}
