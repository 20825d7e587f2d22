//! What SQLite's errors mean for a transaction and for a read, and what to do about them.

use crate::log::{CommitError, LogError};
use rusqlite::{Error, ErrorCode};
use std::path::Path;
use tocsin_domain::TopicPartition;

/// Why work on the file stopped: because of SQLite, or for a reason of ours.
pub(crate) enum Stop<E> {
    Sql(Error),
    Because(E),
}

impl<E> From<Error> for Stop<E> {
    fn from(error: Error) -> Self {
        Stop::Sql(error)
    }
}

/// A statement before COMMIT failed, and the transaction is rolled back: nothing of it is visible.
pub(crate) fn before_commit(file: &Path, error: &Error) -> CommitError {
    let text = explain(file, error);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CommitError::Retriable(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => CommitError::Fatal(text),
        _ => CommitError::Abort(text),
    }
}

/// COMMIT failed and SQLite has closed the transaction by itself: what has reached the disk may
/// still turn up when the file is opened again.
pub(crate) fn in_commit(file: &Path, error: &Error) -> CommitError {
    CommitError::Unknown(explain(file, error))
}

/// A read failed.
pub(crate) fn reading(file: &Path, error: &Error) -> LogError {
    LogError::Unavailable(explain(file, error))
}

/// A read of a partition failed; where SQLite itself sees damage, it says where that is.
pub(crate) fn reading_at(file: &Path, error: &Error, at: &TopicPartition, from: u64) -> LogError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            LogError::Damaged { at: at.clone(), offset: from, reason: explain(file, error) }
        }
        _ => reading(file, error),
    }
}

/// Why something else than a worker's commit could not be written.
pub(crate) fn writing(error: CommitError) -> LogError {
    match error {
        CommitError::Fatal(text) => LogError::Refused(text),
        CommitError::Retriable(text) | CommitError::Abort(text) | CommitError::Unknown(text) => {
            LogError::Unavailable(text)
        }
    }
}

fn explain(file: &Path, error: &Error) -> String {
    let dir = file.parent().unwrap_or(file).display();
    let file = file.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            format!(
                "{file}: the disk is full: free space in {dir}; nothing is lost and work goes on by itself"
            )
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!(
                "{file}: the disk does not read or write ({error}): check the disk that holds {dir}"
            )
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("{file}: another process has been writing for 5 s ({error}); it is tried again")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            format!("{file}: the file is damaged ({error}): stop, and restore {dir} from a backup")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            format!("{file}: {error}: check that this user may read and write {dir}")
        }
        _ => format!("{file}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn every_class_of_error_leads_to_the_right_next_step() {
        for (code, class, says) in [
            (ffi::SQLITE_BUSY, "busy", "tried again"),
            (ffi::SQLITE_FULL, "aborted", "free space in /data"),
            (ffi::SQLITE_IOERR_WRITE, "aborted", "check the disk"),
            (ffi::SQLITE_CORRUPT, "cannot go on", "from a backup"),
            (ffi::SQLITE_READONLY, "aborted", "may read and write /data"),
        ] {
            let error = Error::SqliteFailure(ffi::Error::new(code), None);
            let text = before_commit(Path::new("/data/log.db"), &error).to_string();
            assert!(text.contains(class) && text.contains(says), "{code}: {text}");
        }
    }
}
