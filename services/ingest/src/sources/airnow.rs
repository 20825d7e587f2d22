//! EPA's daily monitor files ("Outdoor Air Quality Data"), in both spellings of their headers and
//! both forms of their dates. A site may have several monitors, so the subject has the monitor too.

use super::{Kind, csv};
use crate::calls::{Calls, escaped, wanted};
use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};

pub(super) const KIND: Kind = Kind {
    name: "airnow",
    keys: &[
        "delimiter",
        "header",
        "columns",
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

/// `AQS_PARAMETER_CODE` says what was measured, whatever the column of the value is called.
const PRESET: &str = r#"
name = "preset"
kind = "csv"
event = "reading"
subject = "{Site ID}/{POC}"
place = "{Local Site Name|Site Name}"
measure = "{AQS Parameter Code|AQS_PARAMETER_CODE}"
value = """{Daily Mean PM2.5 Concentration|Coconcentration|Daily Max 8-hour CO Concentration|\
Daily Max 8-hour Ozone Concentration|Daily Mean PM10 Concentration|\
Daily Max 1-hour NO2 Concentration|Daily Max 1-hour SO2 Concentration}"""
unit = "{Units|UNITS}"
averaging = "{AQS Parameter Code|AQS_PARAMETER_CODE}"
time = "{Date}"
time_format = ["%m/%d/%Y", "%m-%d-%Y"]

[names.measure]
88101 = "pm25"
88502 = "pm25"
81102 = "pm10"
44201 = "o3"
42101 = "co"
42602 = "no2"
42401 = "so2"

[names.unit]
"ug/m3 LC" = "ug/m3"
"ug/m3 SC" = "ug/m3"

[names.averaging]
88101 = "PT24H"
88502 = "PT24H"
81102 = "PT24H"
44201 = "PT8H"
42101 = "PT8H"
42602 = "PT1H"
42401 = "PT1H"
"*" = ""
"#;

/// EPA makes these files on request, so where they are is for the configuration to say.
fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    let begins = |head: &str| head.contains("Site ID");
    Files::below(config, "https://www.epa.gov", begins, "no Site ID at its start")
}

/// Files below an address, asked for by their names; a page that says sorry is none of them.
pub(super) struct Files {
    calls: Calls,
    begins: fn(&str) -> bool,
    otherwise: &'static str,
}

impl Files {
    /// Files below `config.address`, or below `usual`, that begin so; `otherwise` says what is amiss.
    pub(super) fn below(
        config: &SourceConfig,
        usual: &str,
        begins: fn(&str) -> bool,
        otherwise: &'static str,
    ) -> Result<Box<dyn Upstream>, String> {
        Ok(Box::new(Files { calls: Calls::new(config, usual)?, begins, otherwise }))
    }
}

impl Upstream for Files {
    fn first(&self, search: &str) -> Result<Call, String> {
        let parts: Vec<String> = wanted(search)?.split('/').map(escaped).collect();
        if parts.iter().any(|part| matches!(part.as_str(), "" | "." | "..")) {
            return Err(format!("{search:?} must be a file below `address`, like 2023/pm25.csv"));
        }
        Ok(self.calls.call(&format!("/{}", parts.join("/")), &[], &[], Auth::None))
    }

    fn judge(&self, _: &Call, answer: &Answer<'_>) -> Verdict {
        if let Some(verdict) = by_status(answer) {
            return verdict;
        }
        let start = &answer.body[..answer.body.len().min(400)];
        match (self.begins)(&String::from_utf8_lossy(start)) {
            true => Verdict::Read { next: None },
            false => Verdict::Broken(format!("the answer is not such a file: {}", self.otherwise)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"epa\"\nkind = \"airnow\"\n";

    #[test]
    fn both_spellings_and_both_dates_are_read() {
        let pm = "\"Date\",\"Source\",\"Site ID\",\"POC\",\"Daily Mean PM2.5 Concentration\",\"Units\",\
            \"Local Site Name\",\"AQS Parameter Code\"\n\
            \"01/02/2022\",\"AQS\",\"010030010\",\"1\",\"-5.3\",\"ug/m3 LC\",\"FAIRHOPE\",\"88101\"\n";
        let co = "Date,Site ID,POC,Coconcentration,UNITS,Site Name,AQS_PARAMETER_CODE\n\
            01-02-2023,360610135,1,0.3,ppm,CCNY,42101\n";
        for (text, wanted) in [
            (pm, "pm25 default/010030010/1/pm25 -5.3 ug/m3 2022-01-02T00:00:00Z d.csv:2"),
            (co, "co default/360610135/1/co 0.3 ppm 2023-01-02T00:00:00Z d.csv:2"),
        ] {
            assert_eq!(collect(SOURCE, "d.csv", text.as_bytes()).unwrap(), [wanted]);
        }
    }

    #[test]
    fn only_files_below_the_address_are_asked_for() {
        let upstream = KIND.upstream.unwrap()(&config(SOURCE)).unwrap();
        let call = asked(&*upstream, "2023/al pm25.csv");
        assert_eq!(call.url, "https://www.epa.gov/2023/al%20pm25.csv");
        for search in ["", "../x", "a//b"] {
            assert!(upstream.first(search).is_err(), "{search}");
        }
        assert_eq!(judged(&*upstream, &call, 200, "Date,Source,Site ID\n").0, "Read");
        assert_eq!(judged(&*upstream, &call, 200, "<html>").0, "Broken");
    }
}
