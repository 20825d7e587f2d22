//! GeoNames: places by name, with where they are and their time zone. A place is no event, so its
//! answers are rows of a data set, which other sources may be configured from.

use super::{Kind, json_lines};
use crate::calls::{Calls, json, text_of, wanted};
use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};
use std::time::Duration;

pub(super) const KIND: Kind = Kind {
    name: "geonames",
    keys: &["items", "rows", "lines", "address", "parameters"],
    preset: PRESET,
    open: json_lines::open,
    upstream: Some(upstream),
};

/// Latitude and longitude are texts there; they stay texts, digit for digit. A place is known by
/// its number, so that the same answer again adds nothing.
const PRESET: &str = r#"
name = "preset"
kind = "json-lines"
event = "dataset-row"
rows = '''
if .status then error("the answer is an error: \(.status.message)") else . end
| .geonames[]
| {
    id: .geonameId, name: (.name // .toponymName), country: .countryCode, region: .adminName1,
    lat, lng, population, time_zone: .timezone.timeZoneId
  }
'''
subject = "places"
id = "{id}"
"#;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Geonames {
    calls: Calls,
}

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    Ok(Box::new(Geonames { calls: Calls::new(config, "https://secure.geonames.org")? }))
}

impl Upstream for Geonames {
    fn first(&self, search: &str) -> Result<Call, String> {
        let usual = [("maxRows", "10"), ("style", "FULL")];
        let query = Auth::Query("username");
        Ok(self.calls.call("/searchJSON", &usual, &[("q", wanted(search)?)], query))
    }

    fn judge(&self, _: &Call, answer: &Answer<'_>) -> Verdict {
        let found = json(answer);
        // Its own number says more than the status, which is often 200.
        let status = found.as_ref().ok().map(|found| &found["status"]).filter(|s| s.is_object());
        if let Some(status) = status {
            let reason = format!("error {}: {}", status["value"], text_of(&status["message"]));
            let exhausted =
                |after| Verdict::Exhausted { after: Some(after), reason: reason.clone() };
            return match status["value"].as_u64() {
                Some(11 | 15) => Verdict::Nothing(reason),
                Some(19) => exhausted(HOUR),
                Some(18 | 20) => exhausted(DAY),
                Some(12 | 13 | 22) => Verdict::Later { after: answer.retry_after, reason },
                Some(_) => Verdict::Refused(reason),
                None => Verdict::Broken(reason),
            };
        }
        match (by_status(answer), found) {
            (Some(Verdict::Login(reason)), _) => Verdict::Refused(reason),
            (Some(verdict), _) => verdict,
            (None, Ok(found)) if found["geonames"].is_array() => Verdict::Read { next: None },
            (None, Ok(other)) => {
                Verdict::Broken(format!("the answer has no geonames: {}", text_of(&other)))
            }
            (None, Err(broken)) => broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"geonames\"\n";

    #[test]
    fn places_are_rows_with_their_time_zone() {
        let text = r#"{"totalResultsCount":1,"geonames":[{"geonameId":1172451,"name":"Lahore",
            "lat":"31.558","lng":"74.35071","countryCode":"PK","adminName1":"Punjab",
            "population":13004135,"timezone":{"timeZoneId":"Asia/Karachi","gmtOffset":5}}]}"#;
        let found = collect(SOURCE, "a", text.as_bytes()).unwrap();
        for field in [
            "dataset places Row",
            r#"("time_zone", "Asia/Karachi")"#,
            r#"("lat", "31.558")"#,
            r#"("lng", "74.35071")"#,
            r#"("id", "1172451")"#,
        ] {
            assert!(found[1].contains(field), "{field}: {found:?}");
        }
        let error = collect(SOURCE, "a", br#"{"status":{"message":"no user","value":10}}"#);
        assert!(error.unwrap_err().to_string().contains("the answer is an error: no user"));
    }

    #[test]
    fn its_numbers_say_what_is_to_be_done() {
        let upstream = KIND.upstream.unwrap()(&config(SOURCE)).unwrap();
        let call = asked(&*upstream, "Lahore");
        let url = "https://secure.geonames.org/searchJSON?maxRows=10&q=Lahore&style=FULL";
        assert_eq!((call.url.as_str(), call.auth), (url, Auth::Query("username")));
        for (value, wanted) in [
            (10, "Refused"),
            (11, "Nothing"),
            (12, "Later"),
            (13, "Later"),
            (14, "Refused"),
            (15, "Nothing"),
            (18, "Exhausted"),
            (19, "Exhausted"),
            (20, "Exhausted"),
            (21, "Refused"),
            (22, "Later"),
            (24, "Refused"),
            (27, "Refused"),
        ] {
            let body = format!("{{\"status\":{{\"message\":\"m\",\"value\":{value}}}}}");
            for status in [200, 401] {
                assert_eq!(judged(&*upstream, &call, status, &body).0, wanted, "{value}");
            }
        }
        for (status, body, wanted) in [
            (200, "{\"geonames\":[]}", "Read"),
            (200, "{}", "Broken"),
            (200, "{\"status\":{}}", "Broken"),
            (401, "", "Refused"),
            (503, "<html>", "Later"),
        ] {
            assert_eq!(judged(&*upstream, &call, status, body).0, wanted, "{status} {body}");
        }
    }
}
