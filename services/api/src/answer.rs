//! What goes back: JSON, pages, and faults in the form that fits. Every answer says what a browser
//! may do with it, and none may be stored: they hold personal data.

use askama::Template;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tocsin_store::StoreError;
use tocsin_stream::LogError;

/// Nothing from elsewhere, no script, and no page of somebody else around it.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// There is no such thing.
    NotFound(String),
    /// The request is wrong, and what is allowed.
    Bad(String),
    /// We are wrong. Said in the log, not to the client.
    Internal(String),
}

impl Fault {
    fn parts(&self) -> (StatusCode, &'static str, &str) {
        let unsaid = "it could not be looked up; the server's log says why";
        match self {
            Fault::NotFound(detail) => (StatusCode::NOT_FOUND, "Not found", detail),
            Fault::Bad(detail) => (StatusCode::BAD_REQUEST, "Bad request", detail),
            Fault::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error", unsaid),
        }
    }

    /// RFC 9457.
    pub fn problem(&self) -> Response {
        let (status, title, detail) = self.parts();
        let body = json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
        });
        (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }

    /// For people.
    pub fn page(&self) -> Response {
        let (status, title, detail) = self.parts();
        let page = html(&FaultPage { title, detail, status: status.as_u16() });
        page.map_or_else(|fault| fault.problem(), |page| (status, page).into_response())
    }
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage<'a> {
    title: &'a str,
    detail: &'a str,
    status: u16,
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Internal(error.to_string())
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Fault {
        Fault::Internal(error.to_string())
    }
}

/// JSON with status 200.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Response, Fault> {
    let body = serde_json::to_string(value).map_err(|error| Fault::Internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// A page with status 200.
pub(crate) fn html(page: &impl Template) -> Result<Response, Fault> {
    let body = page.render().map_err(|error| Fault::Internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response())
}

/// Adds what every answer says, where it does not say it itself.
pub(crate) fn guard(mut response: Response) -> Response {
    let say: [(HeaderName, &'static str); 4] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in say {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
