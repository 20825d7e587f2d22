//! The contract of a target.

use tempfile::TempDir;

/// Takes any bytes, and panics if something comes of them that must not. What it keeps from one call to
/// the next may only be what the real thing keeps as well, and must not grow for ever.
pub type Suffer = Box<dyn FnMut(&[u8])>;

/// A place where bytes of others come in.
pub struct Target {
    /// Its name, which is also that of its corpus: `fuzz/corpus/<name>`.
    pub name: &'static str,
    /// Makes one that is ready for bytes; it is told its name.
    pub(crate) open: fn(&str) -> Suffer,
}

impl Target {
    /// One that is ready for bytes.
    pub fn open(&self) -> Suffer {
        (self.open)(self.name)
    }
}

/// A directory for what a target must see in files: in memory where there is one, as disks are slow.
#[allow(clippy::expect_used, reason = "without a directory there is nothing to try")]
pub(crate) fn scratch() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("a directory")
}
