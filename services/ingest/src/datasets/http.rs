//! `POST /v1/datasets/{name}`: an upload over HTTP, and what came of the last ones. What is answered
//! with 201 is durable in the log; what is refused has written nothing of the set, unless whoever
//! sends it is paused on the way. Who may is asked of whoever joins this router to others.

use super::account::Account;
use super::load::{Loaded, Loader};
use super::receipt::{self, Receipt};
use super::seats::{AT_ONCE, OF_ONE, Seats};
use super::settings::{DatasetConfig, FileConfig};
use super::spool::{self, Refusal};
use super::upload::Upload;
use super::{DatasetError, finding};
use crate::IngestError;
use crate::folders::News;
use crate::redrive::OF_SET;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tocsin_domain::{Id, Micros};
use tocsin_service::config::suggest;
use tocsin_stream::{Log, LogError};

/// How many uploads of a set are shown.
const SHOWN: usize = 20;

/// Says who sends these headers, if they may upload and see the set, or ask at all if there is no such
/// set; if not, the answer to give.
pub type Authorise = Arc<dyn Fn(&HeaderMap, Option<&DatasetConfig>) -> Authorised + Send + Sync>;
/// Whoever may, or that answer.
pub type Authorised = Result<Arc<dyn Account>, Box<Response>>;

/// Hears what was read and committed.
pub type Told = Arc<dyn Fn(News<'_>) + Send + Sync>;

/// Takes uploads.
pub struct Uploads {
    log: Arc<dyn Log>,
    sets: Vec<(DatasetConfig, Arc<Mutex<()>>)>,
    spool: PathBuf,
    now: Arc<dyn Fn() -> Micros + Send + Sync>,
    authorise: Authorise,
    tell: Told,
    seats: Arc<Seats>,
}

impl Uploads {
    /// Takes uploads of `sets` into `log`; `spool` is a directory for what is under way, and `tell`
    /// hears what came of rows.
    pub fn new(
        log: Arc<dyn Log>,
        sets: &[DatasetConfig],
        spool: PathBuf,
        (authorise, tell): (Authorise, Told),
        now: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Uploads {
        let sets = sets.iter().map(|set| (set.clone(), Arc::default())).collect();
        Uploads { log, sets, spool, now, authorise, tell, seats: Arc::default() }
    }
}

/// The routes. Needs a tokio runtime.
pub fn router(uploads: Uploads) -> Router {
    Router::new()
        .route("/v1/datasets/{name}", get(list).post(take))
        .route("/v1/datasets/{name}/uploads/{id}", get(one))
        .route("/v1/datasets/{name}/uploads/{id}/anomalies.csv", get(anomalies))
        // Each set has its own limit, which counts while it comes.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(uploads))
}

/// The answer to what is not taken.
struct Refused(Box<Response>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// A set, whom to wait for before it is written, and whoever asks.
type Found<'u> = (&'u DatasetConfig, &'u Arc<Mutex<()>>, Arc<dyn Account>);

impl Uploads {
    fn find(&self, name: &str, headers: &HeaderMap) -> Result<Found<'_>, Refused> {
        let found = self.sets.iter().find(|(set, _)| set.name == name);
        let account = (self.authorise)(headers, found.map(|(set, _)| set)).map_err(Refused)?;
        let Some((set, turn)) = found else {
            let names = || self.sets.iter().map(|(set, _)| set.name.as_str());
            let meant = suggest(name, names()).map(|name| format!("; did you mean `{name}`?"));
            let text = format!("there is no such data set{}", meant.unwrap_or_default());
            return Err(problem((StatusCode::NOT_FOUND, "dataset", text)));
        };
        Ok((set, turn, account))
    }
}

async fn take(
    State(uploads): State<Arc<Uploads>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let (set, turn, account) = uploads.find(&name, request.headers())?;
    account.may().map_err(Refused)?;
    let Some(_seat) = uploads.seats.take(&account.guard().whom().name) else {
        let text = format!(
            "{AT_ONCE} uploads are under way, or {OF_ONE} of the same producer; send it again"
        );
        return Err(problem((StatusCode::SERVICE_UNAVAILABLE, "busy", text)));
    };
    let given = spool::receive(request, set, &uploads.spool).await.map_err(problem)?;
    let (turn, set, log, now) =
        (turn.clone(), set.clone(), uploads.log.clone(), uploads.now.clone());
    let of = account.clone();
    let tell = uploads.tell.clone();
    // It is written to its end even if whoever sent it goes away.
    let work = tokio::task::spawn_blocking(move || {
        let _seat = _seat;
        let upload = Upload::of(&set, given)?;
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let source = format!("{OF_SET}{}", set.name);
        let mut count = |tally| tell(News::Rows(&source, tally));
        Loader::new(log, &set, now).of(of).load_and_count(&upload, &mut || true, &mut count)
    });
    match work.await {
        Ok(Ok(loaded)) => Ok(taken(&name, loaded)),
        Ok(Err(DatasetError::Paused { reason, .. })) => {
            Err(Refused(Box::new(account.paused(&reason))))
        }
        Ok(Err(error)) => Err(problem(refusal(&error))),
        Err(error) => {
            tracing::error!(%error, dataset = name, "an upload has failed");
            let text = "the upload has failed; send it again".to_owned();
            Err(problem((StatusCode::INTERNAL_SERVER_ERROR, "internal", text)))
        }
    }
}

fn taken(name: &str, loaded: Loaded) -> Response {
    let place = format!("/v1/datasets/{name}/uploads/{}", loaded.upload);
    let status = if loaded.known { StatusCode::OK } else { StatusCode::CREATED };
    let body = json!({
        "dataset": name, "upload": loaded.upload, "known": loaded.known,
        "resumed_after_rows": loaded.resumed, "report": loaded.report,
    });
    (status, [(LOCATION, place), (CACHE_CONTROL, "no-store".to_owned())], Json(body))
        .into_response()
}

async fn list(
    State(uploads): State<Arc<Uploads>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (set, ..) = uploads.find(&name, &headers)?;
    let (log, tenant, of) = (uploads.log.clone(), set.tenant().to_owned(), name.clone());
    let found = ask(move || receipt::of_set(&*log, &tenant, &of)).await?;
    let file = |file: &FileConfig| {
        json!({
            "name": file.name, "pattern": file.pattern, "optional": file.optional,
            "key": file.key, "required": file.required, "references": file.references,
        })
    };
    let files: Vec<_> = set.files.iter().map(file).collect();
    let shown: Vec<_> = found.iter().rev().take(SHOWN).map(shown).collect();
    let (all, limits) = (found.len(), (set.max_rows(), set.max_bytes()));
    Ok(Json(json!({
        "dataset": name, "files": files, "max_rows": limits.0, "max_bytes": limits.1,
        "uploads_in_all": all, "uploads": shown,
    }))
    .into_response())
}

async fn one(
    State(uploads): State<Arc<Uploads>>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let receipt = uploads.receipt(&name, &id, &headers).await?;
    Ok(Json(shown(&receipt)).into_response())
}

async fn anomalies(
    State(uploads): State<Arc<Uploads>>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let receipt = uploads.receipt(&name, &id, &headers).await?;
    let report = receipt.report.unwrap_or_default();
    let table = finding::csv(&report.findings).map_err(|error| {
        problem((StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))
    })?;
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, "attachment; filename=\"anomalies_report.csv\"".to_owned()),
        (HeaderName::from_static("x-content-type-options"), "nosniff".to_owned()),
        (HeaderName::from_static("x-anomalies-in-all"), report.found_in_all().to_string()),
    ];
    Ok((headers, table).into_response())
}

impl Uploads {
    async fn receipt(&self, name: &str, id: &str, headers: &HeaderMap) -> Result<Receipt, Refused> {
        let (set, ..) = self.find(name, headers)?;
        let none = || {
            let text = "there is no such upload".to_owned();
            problem((StatusCode::NOT_FOUND, "upload", text))
        };
        let id = Id::parse(id).ok_or_else(none)?;
        let (log, whose) = (self.log.clone(), (set.tenant().to_owned(), name.to_owned()));
        let found = ask(move || receipt::find(&*log, (&whose.0, &whose.1), id)).await?;
        found.ok_or_else(none)
    }
}

/// Reads in the log on a thread that may wait.
async fn ask<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    match done {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(problem(away(&error.to_string()))),
        Err(error) => Err(problem(away(&error.to_string()))),
    }
}

fn away(error: &str) -> Refusal {
    tracing::error!(error, "the log does not answer");
    (StatusCode::SERVICE_UNAVAILABLE, "log", "the log does not answer; ask again".to_owned())
}

fn shown(receipt: &Receipt) -> serde_json::Value {
    json!({
        "upload": receipt.upload, "begun": receipt.begun.to_string(), "rows": receipt.rows,
        "done": receipt.done, "report": receipt.report,
    })
}

fn refusal(error: &DatasetError) -> Refusal {
    let (status, code) = match error {
        DatasetError::Refused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
        DatasetError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
        DatasetError::Paused { .. } => (StatusCode::SERVICE_UNAVAILABLE, "paused"),
        DatasetError::Ingest(IngestError::Fenced { .. }) => (StatusCode::CONFLICT, "other-upload"),
        DatasetError::Ingest(error) => return away(&error.to_string()),
    };
    (status, code, error.to_string())
}

/// An answer as RFC 9457 has it.
fn problem((status, code, detail): Refusal) -> Refused {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "code": code,
        "detail": detail,
    });
    let kind = [(CONTENT_TYPE, "application/problem+json"), (CACHE_CONTROL, "no-store")];
    let mut response = (status, kind, body.to_string()).into_response();
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT) {
        response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("5"));
    }
    Refused(Box::new(response))
}

#[cfg(test)]
mod tests;
