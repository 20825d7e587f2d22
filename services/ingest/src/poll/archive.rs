//! The archive of raw answers: each body once, packed, by its hash; and a line of JSON for each
//! answer, which says where it came from. Written before what was read of it is committed.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tocsin_domain::Micros;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lineage<'a> {
    /// When it was there.
    pub at: Micros,
    /// The namespace.
    pub tenant: &'a str,
    /// The source.
    pub source: &'a str,
    /// What was asked for.
    pub search: &'a str,
    /// The address, without credentials.
    pub url: &'a str,
    /// The status of HTTP.
    pub status: u16,
    /// The hash of the body, unpacked.
    pub sha256: &'a str,
    /// Its length, unpacked.
    pub bytes: usize,
}

/// The hash of an answer, in hex.
pub fn sha256(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps `body` in `directory`, and notes where it came from: bodies in `ab/ab….gz`, lines in
/// `2023-06-07.jsonl`.
///
/// # Errors
/// Those of the file system.
pub fn keep(directory: &Path, lineage: &Lineage<'_>, body: &[u8]) -> io::Result<()> {
    let path = path_of(directory, lineage.sha256);
    if !path.exists() {
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        // Under another name first, so that no half a body is ever taken for one.
        let unfinished = path.with_extension("part");
        let mut packed = GzEncoder::new(fs::File::create(&unfinished)?, Compression::default());
        packed.write_all(body)?;
        packed.finish()?.sync_all()?;
        fs::rename(&unfinished, &path)?;
    }
    let lines = directory.join(format!("{}.jsonl", lineage.at.date()));
    let mut line = serde_json::to_vec(lineage)?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).open(lines)?.write_all(&line)
}

/// Where the body of that hash is.
fn path_of(directory: &Path, sha256: &str) -> PathBuf {
    directory.join(sha256.get(..2).unwrap_or_default()).join(format!("{sha256}.gz"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_body_is_kept_once_and_each_answer_has_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let hash = sha256(b"abc");
        assert!(hash.starts_with("ba7816bf"), "{hash}");
        for at in [1, 2] {
            let lineage = Lineage {
                at: Micros(at),
                tenant: "t",
                source: "s",
                search: "q",
                url: "http://u",
                status: 200,
                sha256: &hash,
                bytes: 3,
            };
            keep(directory.path(), &lineage, b"abc").unwrap();
        }
        let packed = fs::File::open(path_of(directory.path(), &hash)).unwrap();
        let mut body = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut body).unwrap();
        assert_eq!(body, "abc");
        let lines = fs::read_to_string(directory.path().join("1970-01-01.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.contains("\"url\":\"http://u\",\"status\":200"), "{lines}");
    }
}
