//! A call becomes a request: its credentials are added here and nowhere else.

use super::client::{Credentials, Failure, Known};
use crate::upstream::{Auth, Call};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};

/// The request for `call`.
///
/// # Errors
/// An address or a header that cannot be sent; credentials that are missing.
pub(super) fn build(
    call: &Call,
    credentials: &Credentials,
    known: Known<'_>,
) -> Result<Request, Failure> {
    let refused = |what: &str| Failure::Refused(format!("cannot ask {}: {what}", call.url));
    let mut url = Url::parse(&call.url).map_err(|e| refused(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("its address must begin with http:// or https://"));
    }
    let wanted = authorize(call.auth, credentials, &mut url);
    let wanted = wanted.map_err(|what| refused(&what))?;
    let conditions = [("if-none-match", known.etag), ("if-modified-since", known.last_modified)];
    let own = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let plain = conditions.into_iter().chain(own).chain([("accept-encoding", "gzip")]);
    let mut headers = HeaderMap::new();
    for (name, value) in plain.filter(|(_, value)| !value.is_empty()) {
        let (name, value) =
            header(name, value).ok_or_else(|| refused("a header cannot be sent"))?;
        headers.insert(name, value);
    }
    if let Some((name, value)) = wanted {
        let fault = "its credentials have characters that no header can hold";
        let (name, mut value) = header(name, &value).ok_or_else(|| refused(fault))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let method = if call.form.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::new(method, url);
    if let Some(form) = &call.form {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(reqwest::header::CONTENT_TYPE, kind);
        *request.body_mut() = Some(encode(form).into());
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// Whether the credentials are there that such a call needs.
///
/// # Errors
/// Which are not.
pub(super) fn complete(auth: Auth, credentials: &Credentials) -> Result<(), String> {
    let Credentials { token, client_id, secret } = credentials;
    match auth {
        Auth::None => Ok(()),
        Auth::Basic if client_id.is_empty() || secret.is_empty() => {
            Err("it needs a `client_id` and a `secret` or a `secret_file`".to_owned())
        }
        Auth::Query(_) | Auth::Header(_) | Auth::Bearer if token.is_empty() => {
            Err("it needs a `token` or a `token_file`".to_owned())
        }
        _ => Ok(()),
    }
}

/// Puts a token into the query, or says which header shows who asks.
fn authorize(
    auth: Auth,
    credentials: &Credentials,
    url: &mut Url,
) -> Result<Option<(&'static str, String)>, String> {
    complete(auth, credentials)?;
    let Credentials { token, client_id, secret } = credentials;
    let token = token.expose();
    Ok(match auth {
        Auth::None => None,
        Auth::Query(name) => {
            url.query_pairs_mut().append_pair(name, token);
            None
        }
        Auth::Header(name) => Some((name, token.to_owned())),
        Auth::Bearer => Some(("authorization", format!("Bearer {token}"))),
        Auth::Basic => {
            let pair = STANDARD.encode(format!("{client_id}:{}", secret.expose()));
            Some(("authorization", format!("Basic {pair}")))
        }
    })
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(value).ok()?))
}

/// A form as it is posted.
fn encode(form: &[(&'static str, String)]) -> String {
    // The query of an address is written the same way.
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(auth: Auth) -> Result<Request, Failure> {
        let credentials = Credentials {
            token: "s3 cret".to_owned().into(),
            client_id: "me".into(),
            secret: "pass".to_owned().into(),
        };
        let call = Call { url: "http://u/a?b=1".into(), auth, ..Call::default() };
        build(&call, &credentials, Known { etag: "\"1\"", last_modified: "" })
    }

    #[test]
    fn credentials_go_where_the_upstream_wants_them() {
        for (auth, url, name, value) in [
            (Auth::None, "http://u/a?b=1", "if-none-match", "\"1\""),
            (Auth::Query("t"), "http://u/a?b=1&t=s3+cret", "accept-encoding", "gzip"),
            (Auth::Header("x-key"), "http://u/a?b=1", "x-key", "s3 cret"),
            (Auth::Bearer, "http://u/a?b=1", "authorization", "Bearer s3 cret"),
            (Auth::Basic, "http://u/a?b=1", "authorization", "Basic bWU6cGFzcw=="),
        ] {
            let request = built(auth).unwrap();
            assert_eq!(request.url().as_str(), url);
            assert_eq!(request.headers()[name], value, "{auth:?}");
            assert!(!format!("{:?}", request.headers()).contains("cret"), "{auth:?}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_the_secret() {
        for (url, auth, wanted) in [
            ("ftp://u/", Auth::None, "must begin with http"),
            ("u", Auth::None, "cannot ask u: "),
            ("http://u/", Auth::Bearer, "it needs a `token`"),
            ("http://u/", Auth::Basic, "it needs a `client_id`"),
        ] {
            let call = Call { url: url.into(), auth, ..Call::default() };
            let failure = build(&call, &Credentials::default(), Known::default()).unwrap_err();
            let Failure::Refused(reason) = failure else { panic!("{failure:?}") };
            assert!(reason.contains(wanted), "{reason}");
        }
        assert_eq!(encode(&[("a b", "1&2".into()), ("c", "ü".into())]), "a+b=1%262&c=%C3%BC");
    }
}
