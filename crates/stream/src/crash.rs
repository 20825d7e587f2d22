//! Named steps at which a test can end the process as `kill -9` would. Without the feature
//! `crash-points`, which only tests turn on, a step is nothing.

/// Ends the process here if `TOCSIN_CRASH_AT` is `name:n` and this is the n-th time, from 1.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static TIMES: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("TOCSIN_CRASH_AT").ok()?;
        let (name, times) = text.split_once(':')?;
        Some((name.to_owned(), times.parse().ok()?))
    });
    if let Some((step, times)) = wanted
        && step == name
        && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == *times
    {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
pub fn point(_name: &str) {}
