//! Whose an upload over HTTP is: its rows count as what they push, and its dead letters as theirs.

use crate::pause::Guard;
use axum::response::Response;

/// Whoever uploads.
pub trait Account: Send + Sync {
    /// Whether an upload may begin now; if not, the answer to give.
    ///
    /// # Errors
    /// That answer.
    fn may(&self) -> Result<(), Box<Response>>;

    /// The answer to an upload that is cut off because whoever sends it is paused, and why.
    fn paused(&self, reason: &str) -> Response;

    /// Who stands before what they send.
    fn guard(&self) -> &Guard;

    /// So many rows of an upload are written.
    fn wrote(&self, rows: u64);
}
