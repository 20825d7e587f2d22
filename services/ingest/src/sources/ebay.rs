//! eBay's Browse API: searches for listings, by price. What has no price but a bid is an auction,
//! and left out: the highest bid is not what it costs.

use super::{Kind, json_lines};
use crate::calls::{Calls, json, number_of, text_of, wanted};
use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};
use crate::weight;
use serde_json::Value;
use std::time::Duration;

pub(super) const KIND: Kind = Kind {
    name: "ebay",
    keys: &["items", "rows", "lines", "address", "marketplace", "pages", "parameters"],
    preset: PRESET,
    open: json_lines::open,
    upstream: Some(upstream),
};

/// Where nothing is found, the answer has no list at all.
const PRESET: &str = r#"
name = "preset"
kind = "json-lines"
event = "listing"
marketplace = "EBAY_US"
pages = 1
rows = ".itemSummaries // [] | .[]"
listing = "{itemId}"
title = "{title}"
price = "{price.value}"
currency = "{price.currency}"
url = "{itemWebUrl}"
seller = "{seller.username}"

[[only]]
field = "{price.value}"
given = true
"#;

/// The most items of a page.
const LIMIT: u64 = 200;
/// Items from here on are not shown.
const OFFSET_END: u64 = 10_000;
/// The most warnings of an answer that are told.
const WARNINGS: usize = 5;

struct Ebay {
    calls: Calls,
    marketplace: String,
}

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    let marketplace = config.marketplace.clone().unwrap_or_default();
    let whole = !marketplace.is_empty()
        && marketplace.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if !whole {
        return Err(format!(
            "`marketplace` is {marketplace:?}; it must be like EBAY_US or EBAY_GB"
        ));
    }
    Ok(Box::new(Ebay { calls: Calls::new(config, "https://api.ebay.com")?, marketplace }))
}

impl Upstream for Ebay {
    fn first(&self, search: &str) -> Result<Call, String> {
        let search = wanted(search)?;
        let by = match search.split_once(':') {
            Some(("category", id)) => ("category_ids", id.trim()),
            Some(("gtin", id)) => ("gtin", id.trim()),
            Some(("epid", id)) => ("epid", id.trim()),
            _ => ("q", search),
        };
        let limit = LIMIT.to_string();
        let usual = [("sort", "price"), ("limit", limit.as_str())];
        let path = "/buy/browse/v1/item_summary/search";
        let mut call = self.calls.call(path, &usual, &[by, ("offset", "0")], Auth::Bearer);
        call.headers.push(("X-EBAY-C-MARKETPLACE-ID", self.marketplace.clone()));
        Ok(call)
    }

    fn judge(&self, call: &Call, answer: &Answer<'_>) -> Verdict {
        let found = json(answer);
        let first = found.as_ref().ok().and_then(|found| found["errors"].get(0));
        if let Some(error) = first {
            return judge_error(error, answer);
        }
        if let Some(verdict) = by_status(answer) {
            return verdict;
        }
        let found = match found {
            Ok(found) if found.is_object() => found,
            Ok(other) => {
                return Verdict::Broken(format!("the answer is no object: {}", text_of(&other)));
            }
            Err(broken) => return broken,
        };
        // Its address of the next page is not followed: only ours says whom we ask.
        let (offset, asked) = (number_of(call, "offset"), number_of(call, "limit").max(1));
        // It may give fewer than it was asked for.
        let limit = found["limit"].as_u64().unwrap_or(asked).clamp(1, asked);
        let following = offset.saturating_add(limit);
        let more = found["next"].is_string()
            && found["itemSummaries"].as_array().is_some_and(|items| !items.is_empty())
            && following < OFFSET_END;
        Verdict::Read { next: more.then(|| self.calls.next(call, "offset", following)) }
    }

    fn warning(&self, answer: &Answer<'_>) -> String {
        let found = json(answer).unwrap_or_default();
        let warnings = found["warnings"].as_array().into_iter().flatten().take(WARNINGS);
        warnings.map(said).collect::<Vec<_>>().join("; ")
    }

    fn login(&self) -> Option<Call> {
        let mut call = self.calls.call("/identity/v1/oauth2/token", &[], &[], Auth::Basic);
        call.url.truncate(call.url.find('?').unwrap_or(call.url.len()));
        call.form = Some(vec![
            ("grant_type", "client_credentials".to_owned()),
            ("scope", "https://api.ebay.com/oauth/api_scope".to_owned()),
        ]);
        Some(call)
    }

    fn token(&self, answer: &Answer<'_>) -> Result<(String, Duration), String> {
        let found = weight::parse(answer.body)
            .map_err(|e| format!("the answer to the login ({}): {e}", answer.status))?;
        let token = found["access_token"].as_str().filter(|token| !token.is_empty());
        // A token of which no end is told, or one that is no time, is good for what is asked now.
        let good_for = Duration::from_secs(found["expires_in"].as_u64().unwrap_or(0));
        match (answer.status, token) {
            (200..300, Some(token)) => Ok((token.to_owned(), good_for)),
            (200..300, None) => Err("the answer to the login has no access_token".to_owned()),
            (status, _) => {
                let (error, more) =
                    (text_of(&found["error"]), text_of(&found["error_description"]));
                Err(format!("the login was answered with {status}: {error}: {more}"))
            }
        }
    }
}

/// What the first error says is more than the status does.
fn judge_error(error: &Value, answer: &Answer<'_>) -> Verdict {
    let id = error["errorId"].as_u64().unwrap_or(0);
    let reason = format!("error {}", said(error));
    let after = answer.retry_after;
    match (id, answer.status, error["category"].as_str()) {
        (1001 | 1002, ..) | (_, 401, _) => Verdict::Login(reason),
        (2001, ..) | (_, 429, _) => Verdict::Exhausted { after, reason },
        (_, 500.., _) | (_, _, Some("APPLICATION")) => Verdict::Later { after, reason },
        (_, 404, _) => Verdict::Nothing(reason),
        _ => Verdict::Refused(reason),
    }
}

/// An error or a warning in words: its number, its text, and what it is about.
fn said(error: &Value) -> String {
    let text = match &error["longMessage"] {
        Value::Null => text_of(&error["message"]),
        long => text_of(long),
    };
    let about = error["parameters"].as_array().into_iter().flatten().take(WARNINGS);
    let about = about.map(|one| format!("{} = {}", text_of(&one["name"]), text_of(&one["value"])));
    let about = about.collect::<Vec<_>>().join(", ");
    let about = if about.is_empty() { about } else { format!(" ({about})") };
    format!("{}: {text}{about}", error["errorId"].as_u64().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"ebay\"\nmarketplace = \"EBAY_GB\"\n";

    fn ebay() -> Box<dyn Upstream> {
        upstream(&config(SOURCE)).unwrap()
    }

    #[test]
    fn auctions_are_left_out_and_nothing_found_is_nothing() {
        let text = r#"{"itemSummaries":[
            {"itemId":"v1|1|0","title":"T","price":{"value":"1.50","currency":"GBP"},"seller":{"username":"s"}},
            {"itemId":"v1|2|0","title":"A","currentBidPrice":{"value":"0.99","currency":"GBP"}}],
            "warnings":[{"errorId":12515}]}"#;
        let found = collect(SOURCE, "a", text.as_bytes()).unwrap();
        let first = "listing default/v1|1|0 1.5 GBP None s 1970-01-01T00:00:01Z a#1";
        assert_eq!(found, [first, "NoValue"]);
        assert!(collect(SOURCE, "a", b"{\"total\":0}").unwrap().is_empty());
    }

    #[test]
    fn prices_may_be_read_as_readings() {
        let text =
            r#"{"itemSummaries":[{"itemId":"v1|1|0","price":{"value":"1.50","currency":"GBP"}}]}"#;
        let more = "event = \"reading\"\nsubject = \"{itemId}\"\nmeasure = \"price\"\n\
            value = \"{price.value}\"\nunit = \"{price.currency}\"\n";
        for (key, wanted) in [
            ("time = \"2024-01-01\"", "2024-01-01T00:00:00Z"),
            ("every = \"1h\"", "1970-01-01T00:00:01Z"),
        ] {
            let found = collect(&format!("{SOURCE}{more}{key}\n"), "a", text.as_bytes()).unwrap();
            assert_eq!(found, [format!("price default/v1|1|0/price 1.5 GBP {wanted} a#1")]);
        }
        let nowhen = crate::sources::open(&config(&format!("{SOURCE}{more}"))).err().unwrap();
        assert!(nowhen.contains("`time` is missing"), "{nowhen}");
    }

    #[test]
    fn a_search_is_a_phrase_or_a_category_and_its_pages_are_asked_for_in_order() {
        let first = asked(&*ebay(), "lego 75192");
        let base = "https://api.ebay.com/buy/browse/v1/item_summary/search?limit=200&offset=";
        assert_eq!(first.url, format!("{base}0&q=lego%2075192&sort=price"));
        assert_eq!(first.headers, [("X-EBAY-C-MARKETPLACE-ID", "EBAY_GB".to_owned())]);
        assert!(asked(&*ebay(), "category:9355").url.contains("category_ids=9355"));
        assert!(ebay().first(" ").is_err());

        let body = r#"{"next":"https://evil.example/","itemSummaries":[{}]}"#;
        let (_, next) = judged(&*ebay(), &first, 200, body);
        assert_eq!(next, Some(format!("{base}200&q=lego%2075192&sort=price")));
        let second = Call { url: next.unwrap(), ..first.clone() };
        let (_, third) = judged(&*ebay(), &second, 200, body);
        assert_eq!(third, Some(format!("{base}400&q=lego%2075192&sort=price")));
        let last = Call { url: format!("{base}9800&q=x"), ..first.clone() };
        assert_eq!(judged(&*ebay(), &last, 200, body), ("Read", None), "there are no more to see");
        assert_eq!(judged(&*ebay(), &first, 200, "{\"total\":0}"), ("Read", None));
    }

    #[test]
    fn errors_say_what_is_to_be_done() {
        let error = |id: u32, category: &str| {
            format!(r#"{{"errors":[{{"errorId":{id},"category":"{category}","message":"m"}}]}}"#)
        };
        let call = asked(&*ebay(), "x");
        for (status, body, wanted) in [
            (401, error(1001, "REQUEST"), "Login"),
            (429, error(2001, "REQUEST"), "Exhausted"),
            (400, error(12001, "REQUEST"), "Refused"),
            (409, error(12019, "BUSINESS"), "Refused"),
            (500, error(12000, "APPLICATION"), "Later"),
            (503, "<html>".to_owned(), "Later"),
            (200, "[]".to_owned(), "Broken"),
            (200, "{\"itemSum".to_owned(), "Broken"),
        ] {
            assert_eq!(judged(&*ebay(), &call, status, &body).0, wanted, "{status} {body}");
        }
    }

    #[test]
    fn warnings_of_a_good_answer_are_told() {
        let warning = |body: &str| {
            let body = body.as_bytes();
            ebay().warning(&Answer { status: 200, content_type: "", retry_after: None, body })
        };
        let ignored = r#"{"itemSummaries":[],"warnings":[
            {"errorId":12002,"category":"REQUEST","message":"short","longMessage":"a filter was ignored",
             "parameters":[{"name":"filter","value":"price:[x"}]},
            {"errorId":12507,"message":"another"}]}"#;
        for (body, wanted) in [
            (ignored, "12002: a filter was ignored (filter = price:[x); 12507: another"),
            (r#"{"itemSummaries":[]}"#, ""),
            (r#"{"warnings":"odd"}"#, ""),
            ("<html>", ""),
        ] {
            assert_eq!(warning(body), wanted, "{body}");
        }
        let many = format!("{{\"warnings\":[{}{{}}]}}", "{},".repeat(900));
        assert_eq!(warning(&many), ["0: null"; WARNINGS].join("; "));
        assert_eq!(judged(&*ebay(), &asked(&*ebay(), "x"), 200, ignored).0, "Read");
    }

    #[test]
    fn a_login_gives_a_token_or_says_why_not() {
        let call = ebay().login().unwrap();
        assert_eq!(call.url, "https://api.ebay.com/identity/v1/oauth2/token");
        assert_eq!((call.auth, call.form.unwrap().len()), (Auth::Basic, 2));
        let answer = |status, body: &'static str| {
            let body = body.as_bytes();
            ebay().token(&Answer { status, content_type: "", retry_after: None, body })
        };
        let good = answer(200, r#"{"access_token":"t","expires_in":7200,"token_type":"x"}"#);
        assert_eq!(good, Ok(("t".to_owned(), Duration::from_secs(7200))));
        let bad = answer(401, r#"{"error":"invalid_client","error_description":"no"}"#);
        assert!(bad.unwrap_err().contains("401: invalid_client: no"));
        assert!(answer(200, "{}").is_err() && answer(200, "x").is_err());
        for odd in [r#"{"access_token":"t"}"#, r#"{"access_token":"t","expires_in":-1}"#] {
            assert_eq!(answer(200, odd), Ok(("t".to_owned(), Duration::ZERO)), "{odd}");
        }
    }
}
