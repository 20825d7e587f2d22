//! The answers of Mercadona's shop: a category with its parts and their products, at the prices of
//! one warehouse.

use super::{Kind, json_lines};
use crate::calls::{Calls, json, text_of};
use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Upstream, Verdict, by_status};

pub(super) const KIND: Kind = Kind {
    name: "mercadona",
    keys: &["items", "rows", "lines", "address", "marketplace", "parameters"],
    preset: PRESET,
    open: json_lines::open,
    upstream: Some(upstream),
};

/// An archive has each answer in a `body`. The list of all categories has no products.
const PRESET: &str = r#"
name = "preset"
kind = "json-lines"
event = "listing"
marketplace = "vlc1"
rows = "(.body // .).categories // [] | .[].products // [] | .[]"
listing = "{id}"
title = "{display_name}"
price = "{price_instructions.unit_price}"
currency = "EUR"
url = "{share_url}"

[[only]]
field = "{price_instructions.unit_price}"
given = true
"#;

struct Mercadona {
    calls: Calls,
    warehouse: String,
}

fn upstream(config: &SourceConfig) -> Result<Box<dyn Upstream>, String> {
    let warehouse = config.marketplace.clone().unwrap_or_default();
    Ok(Box::new(Mercadona {
        calls: Calls::new(config, "https://tienda.mercadona.es/api")?,
        warehouse,
    }))
}

impl Upstream for Mercadona {
    fn first(&self, search: &str) -> Result<Call, String> {
        let search = search.trim();
        if !search.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!(
                "{search:?} must be the number of a category, such as 112, or empty for their list"
            ));
        }
        let part = if search.is_empty() { String::new() } else { format!("{search}/") };
        let fixed = [("wh", self.warehouse.as_str())];
        Ok(self.calls.call(&format!("/categories/{part}"), &[("lang", "es")], &fixed, Auth::None))
    }

    fn judge(&self, _: &Call, answer: &Answer<'_>) -> Verdict {
        if let Some(verdict) = by_status(answer) {
            return verdict;
        }
        match json(answer) {
            Ok(found) if found["categories"].is_array() || found["results"].is_array() => {
                Verdict::Read { next: None }
            }
            Ok(other) => {
                Verdict::Broken(format!("the answer has no categories: {}", text_of(&other)))
            }
            Err(broken) => broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::testing::{asked, collect, config, judged};

    const SOURCE: &str = "name = \"a\"\nkind = \"mercadona\"\ntime = \"2026-05-28\"\n";

    #[test]
    fn products_stand_in_the_parts_of_a_category() {
        let body = r#"{"id":100,"categories":[{"products":[{"id":"39216","display_name":"Zumo",
            "price_instructions":{"unit_price":"1.50"}}]},{"id":5}]}"#
            .replace('\n', "");
        let archive = format!(
            "{{\"file\":\"category_100\",\"body\":{body}}}\n\
            {{\"file\":\"categories\",\"body\":{{\"results\":[{{\"id\":12,\"categories\":[{{\"id\":1}}]}}]}}}}\n"
        );
        let wanted = "listing default/39216 1.5 EUR None  2026-05-28T00:00:00Z";
        for (more, text, origin) in [("", body, "a#1"), ("lines = true\n", archive, "a:1#1")] {
            let found = collect(&format!("{SOURCE}{more}"), "a", text.as_bytes()).unwrap();
            assert_eq!(found, [format!("{wanted} {origin}")]);
        }
    }

    #[test]
    fn a_search_is_a_category() {
        let upstream =
            upstream(&config("name = \"a\"\nkind = \"mercadona\"\nmarketplace = \"mad1\"\n"));
        let upstream = upstream.unwrap();
        let call = asked(&*upstream, "112");
        assert_eq!(call.url, "https://tienda.mercadona.es/api/categories/112/?lang=es&wh=mad1");
        assert!(upstream.first("112/../1").is_err());
        for (status, body, wanted) in [
            (200, "{\"categories\":[]}", "Read"),
            (200, "{\"results\":[]}", "Read"),
            (200, "{}", "Broken"),
            (404, "", "Nothing"),
        ] {
            assert_eq!(judged(&*upstream, &call, status, body).0, wanted);
        }
    }
}
