//! MercadoLibre: searches by phrase, category or seller, single items and many at once. How many
//! were sold is missing where the upstream does not say it: that is unknown, and never none.

use super::{Kind, json_lines};
use crate::calls::{Calls, json, number_of, segment, text_of, wanted};
use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};

pub(super) const KIND: Kind = Kind {
    name: "mercadolibre",
    keys: &["items", "rows", "lines", "address", "marketplace", "pages", "parameters"],
    preset: PRESET,
    open: json_lines::open,
    upstream: Some(upstream),
};

/// A search has `results`; many items at once are an array of a status and a body each, and one of
/// another status than 200 has no price.
const PRESET: &str = r#"
name = "preset"
kind = "json-lines"
event = "listing"
marketplace = "MLA"
pages = 1
rows = '''
if type == "array" then .[] | if has("code") then (if .code == 200 then .body else {} end) else . end
elif has("results") then .results[]
elif has("error") then error("the answer is an error: \(.message // .error)")
else . end
'''
listing = "{id}"
title = "{title}"
price = "{price}"
currency = "{currency_id}"
units_sold = "{sold_quantity}"
units_available = "{available_quantity}"
url = "{permalink}"
seller = "{seller.id|seller_id}"

[[only]]
field = "{price}"
given = true
"#;

/// The most results of a page.
const LIMIT: u64 = 50;
/// Results from here on are not shown.
const OFFSET_END: u64 = 1000;
/// The most items that are asked for at once.
const ITEMS: usize = 20;

struct Mercadolibre {
    calls: Calls,
    site: String,
}

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    let site = config.marketplace.clone().unwrap_or_default();
    if site.len() != 3 || !site.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("`marketplace` is {site:?}; it must be a site like MLA, MLB or MLM"));
    }
    let calls = Calls::new(config, "https://api.mercadolibre.com")?;
    Ok(Box::new(Mercadolibre { calls, site }))
}

impl Mercadolibre {
    fn search(&self, by: (&str, &str)) -> Call {
        let limit = LIMIT.to_string();
        let usual = [("limit", limit.as_str())];
        let path = format!("/sites/{}/search", self.site);
        self.calls.call(&path, &usual, &[by, ("offset", "0")], Auth::Bearer)
    }
}

impl Upstream for Mercadolibre {
    fn first(&self, search: &str) -> Result<Call, String> {
        let search = wanted(search)?;
        let plain =
            |path: &str, fixed: &[(&str, &str)]| self.calls.call(path, &[], fixed, Auth::Bearer);
        Ok(match search.split_once(':').map(|(what, of)| (what, of.trim())) {
            Some(("category", id)) => self.search(("category", id)),
            Some(("seller", id)) => self.search(("seller_id", id)),
            Some(("item", id)) => plain(&format!("/items/{}", segment(id)?), &[]),
            Some(("items", ids)) if ids.split(',').count() <= ITEMS => {
                plain("/items", &[("ids", ids)])
            }
            Some(("items", ids)) => {
                let count = ids.split(',').count();
                return Err(format!("{count} items are too many at once; allowed: {ITEMS}"));
            }
            _ if search == "categories" => plain(&format!("/sites/{}/categories", self.site), &[]),
            _ => self.search(("q", search)),
        })
    }

    fn judge(&self, call: &Call, answer: &Answer<'_>) -> Verdict {
        if let Some(verdict) = by_status(answer) {
            return verdict;
        }
        let found = match json(answer) {
            Ok(found) if found.is_object() || found.is_array() => found,
            Ok(other) => {
                return Verdict::Broken(format!("the answer is no object: {}", text_of(&other)));
            }
            Err(broken) => return broken,
        };
        if let (Some(status), false) = (found["status"].as_u64(), found["error"].is_null()) {
            // The status of an error that came with another one.
            let status = u16::try_from(status).unwrap_or(500);
            let inner = Answer { status, ..*answer };
            let broken =
                || Verdict::Broken(format!("an error in a good answer: {}", text_of(&found)));
            return by_status(&inner).unwrap_or_else(broken);
        }
        let Some(results) = found["results"].as_array() else {
            return Verdict::Read { next: None };
        };
        let (offset, limit) = (number_of(call, "offset"), number_of(call, "limit").max(1));
        let following = offset.saturating_add(limit);
        let total = found["paging"]["total"].as_u64().unwrap_or(0);
        let more = !results.is_empty() && following < total.min(OFFSET_END);
        Verdict::Read { next: more.then(|| self.calls.next(call, "offset", following)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"mercadolibre\"\ntime = \"2021-10-19\"\n";
    const ITEM: &str =
        r#"{"id":"MLA1","title":"T","price":41359,"currency_id":"ARS","seller":{"id":5}}"#;

    fn site() -> Box<dyn Upstream> {
        upstream(&config(&format!("{SOURCE}marketplace = \"MLB\"\n"))).unwrap()
    }

    #[test]
    fn searches_items_and_many_items_are_listings_and_units_sold_may_be_unknown() {
        let sold = ITEM.replace("\"seller\"", "\"sold_quantity\":250,\"seller\"");
        let line =
            |sold: &str| format!("listing default/MLA1 41359 ARS {sold} 5 2021-10-19T00:00:00Z");
        let many = format!(
            "[{{\"code\":200,\"body\":{ITEM}}},{{\"code\":404,\"body\":{{\"error\":\"x\"}}}}]"
        );
        for (text, wanted) in [
            (format!("{{\"results\":[{ITEM}]}}"), vec![format!("{} a#1", line("None"))]),
            (sold, vec![format!("{} a#1", line("Some(250)"))]),
            (many, vec![format!("{} a#1", line("None")), "NoValue".to_owned()]),
            ("[{\"id\":\"MLA5725\",\"name\":\"Autos\"}]".to_owned(), vec!["NoValue".to_owned()]),
        ] {
            assert_eq!(collect(SOURCE, "a", text.as_bytes()).unwrap(), wanted, "{text}");
        }
        let error = collect(SOURCE, "a", br#"{"message":"forbidden","error":"e","status":403}"#);
        assert!(error.unwrap_err().to_string().contains("the answer is an error: forbidden"));
    }

    #[test]
    fn categories_are_rows_of_a_data_set() {
        let text = r#"[{"id":"MLA5725","name":"Autos"}]"#;
        let more = "name = \"a\"\nkind = \"mercadolibre\"\nevent = \"dataset-row\"\n";
        let found = collect(more, "a", text.as_bytes()).unwrap();
        assert_eq!(found[1], r#"dataset a Row 1 [("id", "MLA5725"), ("name", "Autos")]"#);
    }

    #[test]
    fn a_search_is_a_phrase_a_category_a_seller_or_items() {
        let base = "https://api.mercadolibre.com";
        for (search, wanted) in [
            ("tele 40", "/sites/MLB/search?limit=50&offset=0&q=tele%2040"),
            ("category:MLB1055", "/sites/MLB/search?category=MLB1055&limit=50&offset=0"),
            ("seller:7", "/sites/MLB/search?limit=50&offset=0&seller_id=7"),
            ("item:MLB1", "/items/MLB1"),
            ("item:../x", "/items/..%2Fx"),
            ("items:MLB1,MLB2", "/items?ids=MLB1,MLB2"),
            ("categories", "/sites/MLB/categories"),
        ] {
            assert_eq!(asked(&*site(), search).url, format!("{base}{wanted}"));
        }
        assert!(site().first("").is_err());
        assert!(site().first(&format!("items:{}", "A,".repeat(20))).is_err());
    }

    #[test]
    fn pages_are_followed_and_errors_told() {
        let call = asked(&*site(), "tele");
        let page =
            |total: u32| format!("{{\"paging\":{{\"total\":{total}}},\"results\":[{ITEM}]}}");
        let (_, next) = judged(&*site(), &call, 200, &page(199_180));
        assert!(next.as_ref().is_some_and(|url| url.contains("offset=50&")), "{next:?}");
        let last = Call { url: next.unwrap().replace("=50&q", "=950&q"), ..call.clone() };
        assert_eq!(judged(&*site(), &last, 200, &page(199_180)), ("Read", None));
        assert_eq!(judged(&*site(), &call, 200, &page(50)), ("Read", None));
        for (status, body, wanted) in [
            (401, "{}", "Login"),
            (403, r#"{"status":403,"error":"access_denied"}"#, "Refused"),
            (404, r#"{"message":"x","error":"not_found","status":404}"#, "Nothing"),
            (429, "", "Exhausted"),
            (200, r#"{"message":"x","error":"not_found","status":404}"#, "Nothing"),
            (200, "7", "Broken"),
        ] {
            assert_eq!(judged(&*site(), &call, status, body).0, wanted, "{status} {body}");
        }
    }
}
