//! A request as text, and an interface in this process that answers it: everything behind the parser of
//! HTTP, without a connection.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::runtime::Runtime;

/// No answer of ours has more bytes.
const ANSWER: usize = 16 << 20;

/// Reads a request: a line with the method and the target, a line a header, an empty line, and the body.
/// Nothing if HTTP would not let it through.
pub(crate) fn read(bytes: &[u8]) -> Option<Request<Body>> {
    let mut rest = bytes;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    };
    let first = std::str::from_utf8(line()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let uri: Uri = target.parse().ok()?;
    let mut request = Request::builder().method(method).uri(uri);
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request = request.header(name, value);
    }
    request.body(Body::from(rest.to_vec())).ok()
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Its body; null if it is no JSON.
    pub(crate) body: Value,
}

/// What answers.
pub(crate) struct Interface {
    runtime: Runtime,
    router: TowerToHyperService<Router>,
}

impl Interface {
    /// One whose router `make` makes; there is a runtime while it does.
    #[allow(clippy::expect_used, reason = "without a runtime there is nothing to try")]
    pub(crate) fn new(make: impl FnOnce() -> Router) -> Interface {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let router = {
            let _entered = runtime.enter();
            TowerToHyperService::new(make())
        };
        Interface { runtime, router }
    }

    /// What it answers. It must be an answer, of bounded size, that blames nobody of this process.
    pub(crate) fn ask(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(async {
            let answered = self.router.call(request).await;
            let Ok(response) = answered;
            let (head, body) = response.into_parts();
            let body = axum::body::to_bytes(body, ANSWER).await;
            assert!(body.is_ok(), "the answer does not end: {body:?}");
            let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
            let answer = Answer { status: head.status, body };
            assert!(!answer.status.is_server_error(), "{} {}", answer.status, answer.body);
            answer
        })
    }
}
