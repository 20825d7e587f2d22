//! Opens a file for import: unpacks gzip, counts what was read for progress, and takes a
//! fingerprint of all its bytes, so that the same file is known again and a changed one is not
//! taken for it.

use flate2::bufread::MultiGzDecoder;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tocsin_domain::Id;

const BUFFER: usize = 128 << 10;

/// An open file.
pub struct Input {
    /// Its content, unpacked.
    pub content: Box<dyn BufRead + Send>,
    /// Its name without directories.
    pub name: String,
    /// Its whole path, which is the same whichever way it was named.
    pub path: PathBuf,
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
        // What cannot be resolved, such as a pipe, goes by the name that it was given.
        let whole = fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
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
        Ok(Input { content, name: name.to_string_lossy().into_owned(), path: whole, size, read })
    }
}

/// The id of the first `size` bytes on disk, from their checksum and their number. Reads all of
/// them, in constant memory.
///
/// # Errors
/// Those of the file system.
pub fn fingerprint(path: &Path, size: u64) -> io::Result<Id> {
    let start = fs::File::open(path)?.take(size);
    let mut input = BufReader::with_capacity(BUFFER, start);
    let mut checksum = crc32fast::Hasher::new();
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        checksum.update(bytes);
        let length = bytes.len();
        input.consume(length);
    }
    Ok(Id::of("file", &[&checksum.finalize().to_be_bytes(), &size.to_be_bytes()]))
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
