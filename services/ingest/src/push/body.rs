//! A body, as it comes over the wire: at most so many bytes, packed or not, within so much time. It
//! stops at the limit; nothing is unpacked beyond it.

use super::problem::Refusal;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use flate2::read::MultiGzDecoder;
use futures::TryStreamExt;
use std::io::Read;
use std::time::Duration;

/// How long a body may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

fn too_large(most: usize) -> Refusal {
    let detail =
        format!("the body has more than {most} bytes; send the events in several requests");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}

/// How many bytes a body will have in memory; as many as are allowed if nobody knows.
pub(super) fn expected(headers: &HeaderMap, gzip: bool, most: usize) -> Result<usize, Refusal> {
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match said {
        Some(length) if length > most => Err(too_large(most)),
        Some(length) if gzip => Ok(length + most),
        Some(length) => Ok(length),
        None => Ok(most),
    }
}

/// All of it, within so much time.
pub(super) async fn collect(
    body: Body,
    most: usize,
    patience: Duration,
) -> Result<Vec<u8>, Refusal> {
    let read = tokio::time::timeout(patience, gather(body.into_data_stream(), most)).await;
    read.unwrap_or_else(|_| {
        let detail = format!("the body was not there after {} s", patience.as_secs_f32());
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow", detail))
    })
}

async fn gather(mut stream: BodyDataStream, most: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(None) => return Ok(bytes),
            Ok(Some(piece)) if bytes.len() + piece.len() > most => return Err(too_large(most)),
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Err(error) => {
                let detail = format!("the body ended early: {error}");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "cut", detail));
            }
        }
    }
}

/// Unpacked.
pub(super) fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(packed).take(most as u64 + 1).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() > most => Err(too_large(most)),
        Ok(_) => Ok(bytes),
        Err(error) => {
            let detail = format!("the body cannot be unpacked: {error}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "gzip", detail))
        }
    }
}
