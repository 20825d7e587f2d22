//! Who needs no token is whoever is on this machine, and not a web page that happens to be open there.
//! A browser says of what a page sends where the page comes from; and a page that has had its own name
//! resolve to this machine is known by that name. A program says none of that, or the truth.

use super::problem::Refusal;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use std::net::IpAddr;

/// Refuses what a page of another site has sent.
pub(super) fn from_here(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = only(headers, &HOST)?;
    if let Some(host) = host.filter(|host| !is_local(host)) {
        let host = super::json::start(host);
        return refuse(format!("it was sent to {host:?}"));
    }
    if let Some(site) = only(headers, &HeaderName::from_static("sec-fetch-site"))?
        && !matches!(site, "same-origin" | "none")
    {
        let site = super::json::start(site);
        return refuse(format!(
            "a page of another site has sent it (`Sec-Fetch-Site` is {site:?})"
        ));
    }
    let Some(origin) = only(headers, &ORIGIN)? else { return Ok(()) };
    let of = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    match (of, host) {
        (Some(of), Some(host)) if of.eq_ignore_ascii_case(host) => Ok(()),
        _ => {
            let origin = super::json::start(origin);
            refuse(format!("a page of another site has sent it (`Origin` is {origin:?})"))
        }
    }
}

fn refuse<T>(what: String) -> Result<T, Refusal> {
    let detail = format!(
        "{what}, and without a token only programs on this machine may push: send it to \
         localhost or 127.0.0.1, from no page of another site, or show a token of [[producers]]"
    );
    Err(Refusal::new(StatusCode::FORBIDDEN, "site", detail))
}

/// The value of a header that stands once; what is no text is nobody's.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refusal> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or("?").trim())),
        (Some(_), Some(_)) => refuse(format!("the header `{name}` stands twice")),
    }
}

/// Whether that is a name or an address of this machine for itself, which nobody else can be given.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_on_this_machine_are_let_in_and_pages_of_others_are_not() {
        let here = ("host", "127.0.0.1:8080");
        for (headers, fine) in [
            (&[][..], true),
            (&[here], true),
            (&[("host", "localhost")], true),
            (&[("host", "LOCALHOST.:80")], true),
            (&[("host", "tocsin.localhost:8080")], true),
            (&[("host", "[::1]:8080")], true),
            (&[("host", "[::ffff:127.0.0.1]")], true),
            (&[("host", "evil.example:8080")], false),
            (&[("host", "127.0.0.1.evil.example")], false),
            (&[("host", "localhost.evil.example")], false),
            (&[("host", "notlocalhost")], false),
            (&[("host", "192.168.0.7:8080")], false),
            (&[("host", "")], false),
            (&[here, here], false),
            (&[here, ("origin", "http://127.0.0.1:8080")], true),
            (&[here, ("origin", "http://127.0.0.1:8081")], false),
            (&[here, ("origin", "http://evil.example")], false),
            (&[here, ("origin", "null")], false),
            (&[("origin", "http://127.0.0.1:8080")], false),
            (&[here, ("sec-fetch-site", "same-origin")], true),
            (&[here, ("sec-fetch-site", "none")], true),
            (&[here, ("sec-fetch-site", "same-site")], false),
            (&[here, ("sec-fetch-site", "cross-site")], false),
            (&[here, ("sec-fetch-site", "none"), ("sec-fetch-site", "none")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let found = from_here(&map).map_err(|refusal| (refusal.status.as_u16(), refusal.code));
            assert_eq!(found, fine.then_some(()).ok_or((403, "site")), "{headers:?}");
        }
    }
}
