//! OpenAQ, version 3: measurements of a sensor, and the latest values of a place or a parameter.
//! Units stay what they are; values that are flagged come like others and can be left out.

use super::{Kind, json_lines};
use crate::calls::{Calls, json, number_of, text_of};
use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};

pub(super) const KIND: Kind = Kind {
    name: "openaq",
    keys: &["items", "rows", "lines", "address", "pages", "parameters"],
    preset: PRESET,
    open: json_lines::open,
    upstream: Some(upstream),
};

/// Measurements do not say of which sensor they are: that stands in the address, which is the name
/// of the answer. The latest values say neither what they are nor their unit.
const PRESET: &str = r#"
name = "preset"
kind = "json-lines"
event = "reading"
rows = '''
($file | split("?")[0] | split("/")) as $path
| (($path | index("sensors")) as $at | if $at == null then null else $path[$at + 1] end) as $sensor
| .results[]
| {
    sensor: (.sensorsId // $sensor), location: .locationsId,
    measure: .parameter.name, unit: .parameter.units, value,
    flagged: .flagInfo.hasFlags, averaging: .period.interval,
    time: (.datetime.utc // .period.datetimeTo.utc)
  }
'''
subject = "{sensor}"
measure = "{measure}"
value = "{value}"
unit = "{unit}"
averaging = "{averaging}"
time = "{time}"
missing = ["", "-999", "-9999"]

[names.unit]
"µg/m³" = "ug/m3"
"μg/m³" = "ug/m3"
"mg/m³" = "mg/m3"

[names.averaging]
"01:00:00" = "PT1H"
"08:00:00" = "PT8H"
"24:00:00" = "PT24H"
"1 day, 0:00:00" = "PT24H"
"*" = ""
"#;

/// The most results of a page.
const LIMIT: u64 = 1000;

struct Openaq {
    calls: Calls,
}

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    Ok(Box::new(Openaq { calls: Calls::new(config, "https://api.openaq.org/v3")? }))
}

impl Upstream for Openaq {
    fn first(&self, search: &str) -> Result<Call, String> {
        let search = search.trim().trim_matches('/');
        let parts: Vec<&str> = search.split('/').collect();
        let known = |what: &str, of: &str| match what {
            "sensors" => matches!(of, "measurements" | "hours" | "days"),
            "locations" | "parameters" => of == "latest",
            _ => false,
        };
        match parts[..] {
            [what, id, of] if known(what, of) && id.parse::<u64>().is_ok() => {
                let (limit, header) = (LIMIT.to_string(), Auth::Header("X-API-Key"));
                let usual = [("limit", limit.as_str())];
                Ok(self.calls.call(&format!("/{search}"), &usual, &[("page", "1")], header))
            }
            _ => Err(format!(
                "{search:?} must be like sensors/23534/measurements (or hours, days), \
                locations/2178/latest or parameters/2/latest"
            )),
        }
    }

    fn judge(&self, call: &Call, answer: &Answer<'_>) -> Verdict {
        match by_status(answer) {
            // Its keys do not run out.
            Some(Verdict::Login(reason)) => return Verdict::Refused(reason),
            Some(other) => return other,
            None => {}
        }
        let found = match json(answer) {
            Ok(found) => found,
            Err(broken) => return broken,
        };
        let Some(results) = found["results"].as_array() else {
            return Verdict::Broken(format!("the answer has no results: {}", text_of(&found)));
        };
        // How many there are may be a text, ">1000": a full page is asked on.
        let (page, limit) = (number_of(call, "page"), number_of(call, "limit").max(1));
        let known = found["meta"]["found"].as_u64();
        let more = results.len() as u64 >= limit
            && known.is_none_or(|known| page.saturating_mul(limit) < known);
        let following = page.saturating_add(1);
        Verdict::Read { next: more.then(|| self.calls.next(call, "page", following)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"openaq\"\n";

    #[test]
    fn measurements_know_their_sensor_from_the_address() {
        let text = r#"{"results":[
            {"value":null,"flagInfo":{"hasFlags":true},"parameter":{"name":"pm25","units":"µg/m³"},
             "period":{"interval":"01:00:00","datetimeTo":{"utc":"2016-03-06T20:00:00Z"}}},
            {"value":-999,"parameter":{"name":"pm25","units":"µg/m³"},
             "period":{"interval":"01:00:00","datetimeTo":{"utc":"2016-03-06T21:00:00Z"}}},
            {"value":1.5,"parameter":{"name":"pm25","units":"µg/m³"},
             "period":{"interval":"01:00:00","datetimeTo":{"utc":"2016-03-06T22:00:00Z"}}}]}"#;
        let name = "v3/sensors/23534/measurements?page=1";
        let found = collect(SOURCE, name, text.as_bytes()).unwrap();
        let reading = format!("pm25 default/23534/pm25 1.5 ug/m3 2016-03-06T22:00:00Z {name}#3");
        assert_eq!(found, ["NoValue".to_owned(), "NoValue".to_owned(), reading]);
    }

    #[test]
    fn the_latest_values_are_what_the_configuration_says() {
        let text =
            r#"{"results":[{"sensorsId":7,"value":3,"datetime":{"utc":"2024-07-21T20:00:00Z"}}]}"#;
        let more = format!("{SOURCE}measure = \"pm25\"\nunit = \"ug/m3\"\n");
        let found = collect(&more, "a", text.as_bytes()).unwrap();
        assert_eq!(found, ["pm25 default/7/pm25 3 ug/m3 2024-07-21T20:00:00Z a#1"]);
        let found = collect(SOURCE, "a", text.as_bytes()).unwrap();
        assert_eq!(found, ["dead value a#1 the measure is empty"]);
    }

    #[test]
    fn full_pages_are_followed_as_far_as_they_go() {
        let more = format!("{SOURCE}parameters = {{ limit = \"2\" }}\n");
        let upstream = KIND.upstream.unwrap()(&config(&more)).unwrap();
        let first = asked(&*upstream, "sensors/7/measurements");
        let base = "https://api.openaq.org/v3/sensors/7/measurements?limit=2&page=";
        assert_eq!(first.url, format!("{base}1"));
        for (page, found, results, wanted) in [
            (1, "\">1000\"", "1,2", Some(2)),
            (1, "3", "1,2", Some(2)),
            (2, "4", "1,2", None),
            (1, "\">1000\"", "1", None),
            (3, "\">1000\"", "1,2", Some(4)),
        ] {
            let call = Call { url: format!("{base}{page}"), ..first.clone() };
            let body = format!("{{\"meta\":{{\"found\":{found}}},\"results\":[{results}]}}");
            let next = wanted.map(|page| format!("{base}{page}"));
            assert_eq!(judged(&*upstream, &call, 200, &body), ("Read", next), "{page} {found}");
        }
        for (status, body, wanted) in [
            (401, "{}", "Refused"),
            (422, "{\"detail\":\"no\"}", "Refused"),
            (429, "", "Exhausted"),
            (200, "{\"detail\":\"no\"}", "Broken"),
        ] {
            assert_eq!(judged(&*upstream, &first, status, body).0, wanted, "{status}");
        }
        for search in ["", "sensors/x/measurements", "sensors/1/../2", "owners/1/latest"] {
            assert!(upstream.first(search).is_err(), "{search}");
        }
    }
}
