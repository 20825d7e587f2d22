//! A mailbox: one `.eml` file for each message in a directory. A further attempt replaces its own
//! file, so a retry is never a second mail. It sends nothing anywhere.

use super::EmailSection;
use crate::channel::{Channel, Message, Outcome, Sending};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens the mailbox in `directory`, which is created. Errors name the directory.
pub(super) fn open(_: &EmailSection, directory: &Path) -> Result<Arc<dyn Channel>, String> {
    fs::create_dir_all(directory).map_err(|error| {
        format!("cannot create the mailbox {}: {error}; choose another", directory.display())
    })?;
    Ok(Arc::new(Mailbox { directory: directory.to_owned() }))
}

struct Mailbox {
    directory: PathBuf,
}

impl Channel for Mailbox {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        let (directory, message) = (self.directory.clone(), message.clone());
        // Waiting for the disk must not hold the other attempts.
        let put = tokio::task::spawn_blocking(move || put(&directory, &message));
        Box::pin(async move {
            match put.await {
                Ok(Ok(path)) => Outcome::Sent(format!("put into {}", path.display())),
                Ok(Err(error)) => Outcome::Deferred(format!("cannot write the mail: {error}")),
                Err(error) => Outcome::Unknown(format!("writing the mail did not end: {error}")),
            }
        })
    }
}

/// Writes the file so that it is there whole, or not at all.
fn put(directory: &Path, message: &Message) -> io::Result<PathBuf> {
    let path = directory.join(file_name(&message.id));
    let unfinished = path.with_extension("part");
    let mut file = File::create(&unfinished)?;
    file.write_all(&message.bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(path)
}

/// The Message-ID without what could lead out of the directory.
fn file_name(id: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "@.-_".contains(c);
    format!("{}.eml", id.replace(|c| !safe(c), "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_retry_is_no_second_file() {
        let directory = tempfile::tempdir().unwrap();
        let inbox = directory.path().join("inbox");
        let mailbox = open(&EmailSection::default(), &inbox).unwrap();
        let message = Message {
            id: "../1@x".into(),
            from: "a@x".into(),
            to: "b@x".into(),
            bytes: b"Subject: x\r\n\r\ny\r\n".to_vec(),
        };
        for _ in 0..2 {
            assert!(matches!(mailbox.send(&message).await, Outcome::Sent(_)));
        }
        let files: Vec<_> = fs::read_dir(&inbox).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files, [inbox.join(".._1@x.eml")]);
        assert_eq!(fs::read(&files[0]).unwrap(), message.bytes);
        fs::remove_dir_all(&inbox).unwrap();
        assert!(matches!(mailbox.send(&message).await, Outcome::Deferred(_)));
    }
}
