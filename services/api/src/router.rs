//! The routes, each with what answers it. Answers are made on threads that may block: store and
//! log are read with plain calls.

use crate::answer::{Fault, guard};
use crate::app::App;
use crate::ask::Ask;
use crate::{json, letters, pages};
use axum::Router;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Instant;

/// What answers a route.
type Handler = fn(&App, &Ask) -> Result<Response, Fault>;

const READS: [(&str, Handler); 28] = [
    ("/", pages::home),
    ("/style.css", pages::style),
    ("/inbox", pages::inbox),
    ("/mails/{message_id}", pages::mail),
    ("/mails/{message_id}/html", pages::mail_html),
    ("/why/{message_id}", pages::why),
    ("/alerts", pages::alerts),
    ("/alerts/{id}", pages::alert),
    ("/dead-letters", pages::dead_letters),
    ("/dead-letters/{group}", pages::dead_group),
    ("/subjects", pages::subjects),
    ("/subjects/{*subject}", pages::subject),
    ("/unsubscribe/{watch}", pages::unsubscribe),
    ("/healthz", json::healthz),
    ("/readyz", json::readyz),
    ("/metrics", json::metrics),
    ("/api/v1/readings/{subject}/{measure}", json::readings),
    ("/api/v1/subjects", json::subjects),
    ("/api/v1/listings/{id}", json::listing),
    ("/api/v1/sales", json::sales),
    ("/api/v1/alerts", json::alerts),
    ("/api/v1/alerts/{id}", json::alert),
    ("/api/v1/deliveries", json::deliveries),
    ("/api/v1/deliveries/{message_id}", json::delivery),
    ("/api/v1/dead-letters", json::dead_letters),
    ("/api/v1/dead-letters/groups", letters::groups),
    ("/api/v1/dead-letters/groups/{group}", letters::group),
    ("/api/v1/why/{message_id}", json::why),
];

/// Every route of the interface. Needs a tokio runtime.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    let mut router = Router::new();
    for (route, handler) in READS {
        let app = app.clone();
        router = router.route(route, get(move |ask: Ask| answer(app, route, handler, ask)));
    }
    let switch_off = "/unsubscribe/{watch}";
    let lost = app.clone();
    router
        .route(
            switch_off,
            post(move |ask: Ask| answer(app, switch_off, pages::unsubscribe_now, ask)),
        )
        .fallback(move |uri: Uri| nothing(lost, uri))
}

async fn answer(app: Arc<App>, route: &'static str, handler: Handler, ask: Ask) -> Response {
    let started = Instant::now();
    let metrics = app.metrics.clone();
    let work = tokio::task::spawn_blocking(move || handler(&app, &ask)).await;
    let done = work.unwrap_or_else(|error| Err(Fault::Internal(error.to_string())));
    let response = guard(done.unwrap_or_else(|fault| refuse(route, &fault)));
    metrics.http(route, response.status().as_u16(), started.elapsed());
    response
}

async fn nothing(app: Arc<App>, uri: Uri) -> Response {
    let fault = Fault::NotFound(format!("there is nothing at {}", uri.path()));
    app.metrics.http("none", 404, std::time::Duration::ZERO);
    guard(refuse(uri.path(), &fault))
}

fn refuse(route: &str, fault: &Fault) -> Response {
    if let Fault::Internal(reason) = fault {
        tracing::error!(route, reason, "a request could not be answered");
    }
    if route.starts_with("/api/") { fault.problem() } else { fault.page() }
}
