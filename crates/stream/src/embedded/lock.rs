//! One service at a time works on a data directory. The lock goes with the process that holds it,
//! however that process ends; nothing has to be removed after a crash.

use crate::log::LogError;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held as long as it lives.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks `dir`, which is created if need be. [`LogError::Refused`] if another process holds it.
    pub fn take(dir: &Path) -> Result<DirectoryLock, LogError> {
        let path = dir.join("lock");
        let failed = |error: std::io::Error| {
            let path = path.display();
            LogError::Refused(format!(
                "cannot lock the data directory: {path}: {error}; check that this user may write there"
            ))
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut options = File::options();
        let opened = options.create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(dir, &mut file)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Only for the message that the next one gets.
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        write!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(DirectoryLock { _file: file })
    }
}

fn in_use(dir: &Path, file: &mut File) -> LogError {
    let mut holder = String::new();
    let _ = file.take(20).read_to_string(&mut holder);
    let dir = dir.display();
    LogError::Refused(format!(
        "the data directory {dir} is in use by another tocsin (process {holder}): stop that one first, or give this one a directory of its own"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(dir.path()).unwrap();
        let refused = DirectoryLock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        DirectoryLock::take(dir.path()).unwrap();
    }
}
