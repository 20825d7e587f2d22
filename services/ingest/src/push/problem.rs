//! Why a push is refused, as RFC 9457 has it: which event, which field, what is allowed, and when to
//! come again. It never says what a token should have been.

use axum::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// How many wrong events an answer names; the rest is counted.
pub(super) const NAMED: usize = 100;

/// When whoever is paused may come again: a person must have looked by then.
const WHILE_PAUSED: Duration = Duration::from_secs(30);

/// What is wrong with one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// Which event of the request, from 0.
    pub index: usize,
    /// Where in it, as a JSON pointer; empty for the event as a whole.
    pub pointer: String,
    /// What was found and what is allowed.
    pub detail: String,
}

/// A push that is not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The status of HTTP.
    pub status: StatusCode,
    /// A word for a program, out of a closed set: also how metrics count it.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub detail: String,
    /// The first events that are wrong.
    pub errors: Vec<Wrong>,
    /// How many there are in all.
    pub wrong: usize,
    /// When to come again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal of the whole request.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Refusal {
        let (detail, errors) = (detail.into(), Vec::new());
        Refusal { status, code, detail, errors, wrong: 0, retry_after: None }
    }

    /// Not now: the log is away or there is too much to do.
    pub fn later(code: &'static str, detail: impl Into<String>) -> Refusal {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        Refusal { retry_after: Some(Duration::from_secs(1)), ..refusal }
    }

    /// The producer is paused, and why; `name` is what `tocsin dlq` calls it.
    pub fn paused(name: &str, reason: &str) -> Refusal {
        let detail = format!(
            "the producer is paused, because {reason}; keep the events and send them again later. \
             `tocsin dlq list --source {name}` shows what was wrong, and `--source dataset:SET` what \
             was in a data set that it has uploaded; it goes on after `tocsin dlq resume {name}`, or \
             when its configuration changes"
        );
        let refusal = Refusal::later("paused", detail);
        Refusal { retry_after: Some(WHILE_PAUSED), ..refusal }
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        let mut headers = vec![(CONTENT_TYPE, "application/problem+json".to_owned())];
        let mut say = |name, value: &str| headers.push((name, value.to_owned()));
        match (self.status, self.code) {
            (StatusCode::UNAUTHORIZED, _) => say(WWW_AUTHENTICATE, "Bearer realm=\"tocsin\""),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding") => say(ACCEPT_ENCODING, "gzip"),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, _) => {
                say(HeaderName::from_static("accept-post"), super::form::TYPES);
            }
            (StatusCode::METHOD_NOT_ALLOWED, _) => say(ALLOW, "POST"),
            _ => {}
        }
        if let Some(after) = self.retry_after {
            // A second more than nothing: who comes at once is refused again.
            say(RETRY_AFTER, &after.as_secs_f64().ceil().max(1.0).to_string());
        }
        headers
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or_default();
        let mut body = json!({
            "type": "about:blank", "title": title, "status": self.status.as_u16(),
            "code": self.code, "detail": self.detail,
        });
        if self.wrong > 0 {
            body["errors"] = json!(self.errors);
            body["wrong"] = json!(self.wrong);
        }
        let mut response = (self.status, body.to_string()).into_response();
        for (name, value) in self.headers() {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
