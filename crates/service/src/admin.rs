//! The admin port: what probes and scrapes ask, apart from the pages, so that it need not be open
//! to anybody else.

use crate::health::Health;
use crate::metrics::{CONTENT_TYPE, Metrics};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE as HEADER;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use std::sync::Arc;

/// `/livez`, `/readyz` and `/metrics`. Needs a tokio runtime.
pub fn router(health: Health, metrics: Arc<Metrics>) -> Router {
    let alive = health.clone();
    Router::new()
        .route("/livez", get(move || async move { livez(&alive) }))
        .route("/readyz", get(move || async move { readyz(&health) }))
        .route("/metrics", get(move || async move { ([(HEADER, CONTENT_TYPE)], metrics.encode()) }))
}

/// 200, or 503 with the loops that do not turn any more.
fn livez(health: &Health) -> Response {
    let dead = health.dead();
    match dead.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, dead.join("\n") + "\n").into_response(),
    }
}

/// 200, or 503; in both cases how each part is.
fn readyz(health: &Health) -> Response {
    let report = health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}
