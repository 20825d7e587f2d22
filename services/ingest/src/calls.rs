//! What upstreams of all kinds share: how the address of a call is put together, on which page it
//! is, and reading an answer that must be JSON. Pure, as [`upstream`](crate::upstream) wants it.

use crate::settings::SourceConfig;
use crate::upstream::{Answer, Auth, Call, Verdict};
use crate::weight;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeMap;

/// What needs no escape anywhere in an address.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b',').remove(b':');

/// The longest search, in bytes.
const SEARCH_CAP: usize = 400;

/// Whether an address shows nobody's login. It comes before all else that may be wrong with it, as that is
/// told with the address.
///
/// # Errors
/// Where the login belongs.
pub(crate) fn no_credentials(address: &str) -> Result<(), String> {
    let rest = address.split_once("//").map_or(address, |(_, rest)| rest);
    match rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@')) {
        false => Ok(()),
        true => {
            Err("`address` has credentials in it, and it is shown; give them as `token`, or as \
                     `client_id` and `secret` (of kind `http` with `auth = \"basic\"`)"
                .to_owned())
        }
    }
}

/// Makes the calls to one upstream.
pub(crate) struct Calls {
    address: String,
    parameters: BTreeMap<String, String>,
}

impl Calls {
    /// Calls to `config.address`, or to `usual` if nothing is said.
    pub(crate) fn new(config: &SourceConfig, usual: &str) -> Result<Calls, String> {
        let address = config.address.as_deref().unwrap_or(usual).trim_end_matches('/');
        no_credentials(address)?;
        let host = ["https://", "http://"].iter().find_map(|start| address.strip_prefix(start));
        let hidden = |host: &str| host.is_empty() || host.contains(['?', '#', '@', ' ']);
        if host.is_none_or(hidden) {
            return Err(format!(
                "`address` is {address:?}; it must be like https://api.example.org/path, \
                without a query and without credentials"
            ));
        }
        Ok(Calls { address: address.to_owned(), parameters: config.parameters.clone() })
    }

    /// A call of `path` (which is escaped already). Of its query, `usual` is what the configuration
    /// may say otherwise, and `fixed` what it may not.
    pub(crate) fn call(
        &self,
        path: &str,
        usual: &[(&str, &str)],
        fixed: &[(&str, &str)],
        auth: Auth,
    ) -> Call {
        let own = self.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let all = usual.iter().copied().chain(own).chain(fixed.iter().copied());
        let query: BTreeMap<&str, &str> = all.collect();
        let query: Vec<_> =
            query.into_iter().map(|(k, v)| format!("{}={}", escaped(k), escaped(v))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{}", self.address, query.join("&"));
        Call { url, auth, ..Call::default() }
    }

    /// The same call with another value of `key`.
    pub(crate) fn next(&self, call: &Call, key: &str, value: u64) -> Box<Call> {
        let (start, query) = call.url.split_once('?').unwrap_or((&call.url, ""));
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((found, _)) if found == key => format!("{key}={value}"),
            _ => part.to_owned(),
        });
        let url = format!("{start}?{}", parts.collect::<Vec<_>>().join("&"));
        Box::new(Call { url, ..call.clone() })
    }
}

/// The number that a call says for `key`; 0 if it says none.
pub(crate) fn number_of(call: &Call, key: &str) -> u64 {
    let query = call.url.split_once('?').map_or("", |(_, query)| query);
    let found = query.split('&').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    let found = found.map(|text| percent_decode_str(text).decode_utf8_lossy().parse());
    found.and_then(Result::ok).unwrap_or(0)
}

/// `text` as a part of an address.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// `text` as one part of a path. Whoever reads an address takes dots alone for the way up, escaped or not.
pub(crate) fn segment(text: &str) -> Result<String, String> {
    match text {
        "." | ".." => Err(format!("the search is {text:?}, which no address can name")),
        _ => Ok(escaped(text)),
    }
}

/// A search that can be asked.
pub(crate) fn wanted(search: &str) -> Result<&str, String> {
    let search = search.trim();
    if search.is_empty() {
        return Err("the search is empty, and this upstream must be asked for something".into());
    }
    if search.len() > SEARCH_CAP || search.chars().any(char::is_control) {
        let length = search.len();
        return Err(format!(
            "the search has {length} bytes or control characters; allowed: {SEARCH_CAP} bytes of text"
        ));
    }
    Ok(search)
}

/// The JSON of an answer.
pub(crate) fn json(answer: &Answer<'_>) -> Result<Value, Verdict> {
    weight::parse(answer.body).map_err(|e| {
        let kind = if answer.content_type.is_empty() { "nothing" } else { answer.content_type };
        Verdict::Broken(format!("the answer cannot be read: {e}; it says that it is {kind}"))
    })
}

/// At most 200 characters of a text that an upstream wrote.
pub(crate) fn text_of(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(address: Option<&str>) -> Result<Calls, String> {
        let config = SourceConfig {
            address: address.map(str::to_owned),
            parameters: BTreeMap::from([("sort".to_owned(), "newly listed".to_owned())]),
            ..SourceConfig::default()
        };
        Calls::new(&config, "https://api.example.org")
    }

    #[test]
    fn the_configuration_goes_over_what_is_usual_and_not_over_what_is_fixed() {
        let calls = calls(Some("http://127.0.0.1:9/v1/")).unwrap();
        let usual = [("sort", "price"), ("limit", "50")];
        let call =
            calls.call("/search", &usual, &[("q", "lego & więcej"), ("offset", "0")], Auth::None);
        assert_eq!(
            call.url,
            "http://127.0.0.1:9/v1/search?limit=50&offset=0&q=lego%20%26%20wi%C4%99cej&sort=newly%20listed"
        );
        let next = calls.next(&call, "offset", 50);
        assert_eq!((number_of(&call, "offset"), number_of(&next, "offset")), (0, 50));
        assert_eq!(number_of(&next, "limit"), 50);
    }

    #[test]
    fn an_address_has_no_query_and_no_credentials() {
        for address in ["api.example.org", "ftp://x", "https://", "https://a?b=c", "https://u:p@h"]
        {
            assert!(calls(Some(address)).is_err(), "{address}");
        }
        let shown = calls(Some("ftp://me:secret@a/b?c")).err().unwrap_or_default();
        assert!(shown.contains("has credentials") && !shown.contains("secret@"), "{shown}");
        assert!(calls(None).is_ok());
    }
}
