//! A body, as it comes over the wire: at most so many bytes, packed or not, within so much time. It
//! stops at the limit; nothing is unpacked beyond it. Room is taken for what has come, not for what is
//! announced: who is slow holds no more than they have sent.

use super::problem::Refusal;
use super::room::Share;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use flate2::read::MultiGzDecoder;
use futures::TryStreamExt;
use std::io::Read;
use std::time::Duration;

/// How long a body may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How many bytes are unpacked at a time.
const PIECE: usize = 32 << 10;

fn too_large(most: usize) -> Refusal {
    let detail =
        format!("the body has more than {most} bytes; send the events in several requests");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}

/// How many bytes will come, if somebody says so.
pub(super) fn announced(headers: &HeaderMap, most: usize) -> Result<Option<usize>, Refusal> {
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match said {
        Some(length) if length > most => Err(too_large(most)),
        said => Ok(said),
    }
}

/// All of it, within so much time; the share grows with it.
pub(super) async fn collect(
    body: Body,
    share: &mut Share,
    (most, patience): (usize, Duration),
) -> Result<Vec<u8>, Refusal> {
    let gathered = gather(body.into_data_stream(), share, most);
    let read = tokio::time::timeout(patience, gathered).await;
    read.unwrap_or_else(|_| {
        let detail = format!("the body was not there after {} s", patience.as_secs_f32());
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow", detail))
    })
}

async fn gather(
    mut stream: BodyDataStream,
    share: &mut Share,
    most: usize,
) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(None) => return Ok(bytes),
            Ok(Some(piece)) if bytes.len() + piece.len() > most => return Err(too_large(most)),
            Ok(Some(piece)) => {
                share.more(piece.len())?;
                bytes.extend_from_slice(&piece);
            }
            Err(error) => {
                let detail = format!("the body ended early: {error}");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "cut", detail));
            }
        }
    }
}

/// Unpacked; the share has both then.
pub(super) fn unpack(packed: &[u8], share: &mut Share, most: usize) -> Result<Vec<u8>, Refusal> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; PIECE]);
    let mut unpacked = MultiGzDecoder::new(packed);
    loop {
        match unpacked.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(read) if bytes.len() + read > most => return Err(too_large(most)),
            Ok(read) => {
                share.more(read)?;
                bytes.extend_from_slice(&piece[..read]);
            }
            Err(error) => {
                let detail = format!("the body cannot be unpacked: {error}");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "gzip", detail));
            }
        }
    }
}
