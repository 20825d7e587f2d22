//! The files of a multipart request, streamed to files without a name, which go with this process:
//! never whole in memory, never more than the set may have, and not for ever.

use super::paced::{Held, Paced};
use super::settings::DatasetConfig;
use super::upload::Given;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How many bytes of one request are in memory at most, besides those that the network has.
const BUFFER: usize = 1 << 20;
/// How long the next bytes may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long all of them may take.
const WHOLE: Duration = Duration::from_secs(15 * 60);
/// The longest name of a field.
const FIELD_CAP: usize = 200;

/// Why a request is not taken: status, word, text.
pub(super) type Refusal = (StatusCode, &'static str, String);

/// The files that a request brings, as it brings them, into `directory`.
pub(super) async fn receive(
    request: Request,
    set: &DatasetConfig,
    directory: &Path,
) -> Result<Vec<Given>, Refusal> {
    let (head, body) = request.into_parts();
    let paced = Paced::new(body.into_data_stream());
    let held = paced.held();
    let request = Request::from_parts(head, Body::from_stream(paced));
    let request = Multipart::from_request(request, &()).await.map_err(|error| {
        let text = format!("{}; send multipart/form-data, a field a file", error.body_text());
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", text)
    })?;
    patient(WHOLE, files(request, &held, set, directory)).await?
}

async fn files(
    mut request: Multipart,
    held: &Held,
    set: &DatasetConfig,
    directory: &Path,
) -> Result<Vec<Given>, Refusal> {
    let (mut given, mut left) = (Vec::new(), set.max_bytes());
    loop {
        let field = patient(PATIENCE, request.next_field()).await?.map_err(|e| broken(&e))?;
        let Some(mut field) = field else { return Ok(given) };
        held.forget();
        if given.len() == set.files.len() {
            let text = format!("there are more files than the {} of the set", set.files.len());
            return Err((StatusCode::UNPROCESSABLE_ENTITY, "files", text));
        }
        let name = |name: Option<&str>| name.map(|name| name.chars().take(FIELD_CAP).collect());
        let (what, file) = (name(field.name()), name(field.file_name()).unwrap_or_default());
        let content = write(&mut field, held, &mut left, (set, directory)).await?;
        given.push(Given { field: what, name: file, content });
    }
}

/// One of them.
async fn write(
    field: &mut Field<'_>,
    held: &Held,
    left: &mut u64,
    (set, directory): (&DatasetConfig, &Path),
) -> Result<File, Refusal> {
    let mut file = tempfile::tempfile_in(directory).map_err(|error| full(directory, &error))?;
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        let chunk = patient(PATIENCE, field.chunk()).await?.map_err(|e| broken(&e))?;
        held.forget();
        if let Some(chunk) = &chunk {
            *left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                let most = set.max_bytes();
                let text = format!("the files have more than {most} bytes, which is `max_bytes`");
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large", text)
            })?;
            buffer.extend_from_slice(chunk);
        }
        if buffer.len() >= BUFFER || chunk.is_none() {
            // A disk may be slow: not on a thread that serves others.
            let written = tokio::task::spawn_blocking(move || {
                file.write_all(&buffer)?;
                buffer.clear();
                Ok::<_, std::io::Error>((file, buffer))
            });
            let written = written.await.map_err(std::io::Error::other).flatten();
            (file, buffer) = written.map_err(|error| full(directory, &error))?;
        }
        if chunk.is_none() {
            return Ok(file);
        }
    }
}

async fn patient<T>(most: Duration, what: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout(most, what).await.map_err(|_| {
        let text = format!("it took longer than {} s; send it again", most.as_secs());
        (StatusCode::REQUEST_TIMEOUT, "slow", text)
    })
}

fn broken(error: &MultipartError) -> Refusal {
    let text = format!("the multipart body cannot be read: {}", error.body_text());
    (error.status(), "multipart", text)
}

fn full(directory: &Path, error: &std::io::Error) -> Refusal {
    tracing::error!(directory = %directory.display(), %error, "an upload cannot be kept");
    let text = "the server cannot keep the upload; send it again later";
    (StatusCode::SERVICE_UNAVAILABLE, "disk", text.to_owned())
}
