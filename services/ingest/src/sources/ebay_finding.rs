//! Archived answers of eBay's Finding API, which is no more: every value is an array of one, and
//! the whole may stand in a script's call. Nobody can be asked.

use super::{Kind, json_lines};

pub(super) const KIND: Kind = Kind {
    name: "ebay-finding",
    keys: &["items", "rows", "lines"],
    preset: PRESET,
    open: json_lines::open,
    upstream: None,
};

/// The answer is called after the question: `findItemsByKeywordsResponse`.
const PRESET: &str = r#"
name = "preset"
kind = "json-lines"
event = "listing"
rows = '''
.[] | .[0]
| if .ack[0] == "Failure"
  then error("the answer is an error: \(.errorMessage[0].error[0].message[0])") else . end
| .timestamp[0] as $time
| .searchResult[0].item // [] | .[] | . + {time: $time}
'''
listing = "{itemId.0}"
title = "{title.0}"
price = "{sellingStatus.0.currentPrice.0.__value__}"
currency = "{sellingStatus.0.currentPrice.0.@currencyId}"
url = "{viewItemURL.0}"
seller = "{sellerInfo.0.sellerUserName.0}"
time = "{time}"

[[only]]
field = "{sellingStatus.0.currentPrice.0.__value__}"
given = true
"#;

#[cfg(test)]
mod tests {
    use crate::sources::testing::collect;

    const SOURCE: &str = "name = \"a\"\nkind = \"ebay-finding\"\n";

    const ANSWER: &str = r#"{"findItemsByKeywordsResponse":[{"ack":["Success"],
        "timestamp":["2018-04-04T12:53:07.433Z"],"searchResult":[{"@count":"100","item":[
        {"itemId":["33"],"title":["T"],"sellingStatus":[{"currentPrice":
        [{"@currencyId":"USD","__value__":"24.99"}]}]}]}]}]}"#;

    #[test]
    fn answers_come_bare_or_in_a_call() {
        let wanted = "listing default/33 24.99 USD None  2018-04-04T12:53:07.433Z a#1";
        for text in
            [ANSWER.to_owned(), format!(" _cb_find_(\n{ANSWER} )"), format!("a.b({ANSWER});\n")]
        {
            assert_eq!(collect(SOURCE, "a", text.as_bytes()).unwrap(), [wanted]);
        }
    }

    #[test]
    fn failures_and_stray_commas_are_faults_of_their_own() {
        let none = r#"{"r":[{"ack":["Success"],"searchResult":[{"@count":"0"}]}]}"#;
        assert!(collect(SOURCE, "a", none.as_bytes()).unwrap().is_empty());
        let failure =
            r#"{"r":[{"ack":["Failure"],"errorMessage":[{"error":[{"message":["no key"]}]}]}]}"#;
        let comma = ANSWER.replace("]}]}]}]}", "]},]}]}]}");
        for (text, wanted) in
            [(failure, "the answer is an error: no key"), (&comma, "trailing comma at line 4")]
        {
            let error = collect(SOURCE, "a", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
