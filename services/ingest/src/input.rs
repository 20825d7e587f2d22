//! Opens a file for import: unpacks gzip, counts what was read for progress, and takes a
//! fingerprint, so that the same file is known again.

use flate2::bufread::MultiGzDecoder;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tocsin_domain::Id;

/// How much of a file's start its fingerprint covers.
const FINGERPRINT_BYTES: u64 = 64 << 10;
const BUFFER: usize = 128 << 10;

/// An open file.
pub struct Input {
    /// Its content, unpacked.
    pub content: Box<dyn BufRead + Send>,
    /// Its name without directories.
    pub name: String,
    /// Its size on disk, in bytes.
    pub size: u64,
    /// How many bytes on disk have been read.
    pub read: Arc<AtomicU64>,
}

impl Input {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> io::Result<Input> {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { file, read: Arc::clone(&read) };
        let mut raw = BufReader::with_capacity(BUFFER, counted);
        let packed = raw.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let content: Box<dyn BufRead + Send> = match packed {
            true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))),
            false => Box::new(raw),
        };
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Input { content, name: name.to_string_lossy().into_owned(), size, read })
    }
}

/// The id of the first bytes on disk: 64 KiB, or `size` if that is less.
///
/// # Errors
/// Those of the file system.
pub fn fingerprint(path: &Path, size: u64) -> io::Result<Id> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(FINGERPRINT_BYTES.min(size)).read_to_end(&mut start)?;
    Ok(Id::of("file", &[&start]))
}

struct Counted {
    file: fs::File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
