//! Named steps at which a test can end the process as `kill -9` would, or make it stand still. Without
//! the feature `crash-points`, which only tests turn on, a step is nothing.

#[cfg(feature = "crash-points")]
use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// Ends the process here if `TOCSIN_CRASH_AT` is `name:n` and this is the n-th time, from 1; stops it,
/// until it gets SIGCONT, if `TOCSIN_STOP_AT` is.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    static CRASH: Wish = Wish::new("TOCSIN_CRASH_AT");
    static STOP: Wish = Wish::new("TOCSIN_STOP_AT");
    if CRASH.is_for(name) {
        std::process::abort();
    }
    if STOP.is_for(name) {
        let own = std::process::id().to_string();
        // Who cannot be stopped is not, and the test will say so.
        let _ = std::process::Command::new("kill").args(["-STOP", &own]).status();
    }
}

/// What a variable asks for, and how often its step was come to.
#[cfg(feature = "crash-points")]
struct Wish {
    variable: &'static str,
    wanted: OnceLock<Option<(String, u64)>>,
    times: AtomicU64,
}

#[cfg(feature = "crash-points")]
impl Wish {
    const fn new(variable: &'static str) -> Wish {
        Wish { variable, wanted: OnceLock::new(), times: AtomicU64::new(0) }
    }

    fn is_for(&self, name: &str) -> bool {
        let wanted = self.wanted.get_or_init(|| {
            let text = std::env::var(self.variable).ok()?;
            let (name, times) = text.split_once(':')?;
            Some((name.to_owned(), times.parse().ok()?))
        });
        wanted.as_ref().is_some_and(|(step, times)| {
            step == name && self.times.fetch_add(1, Ordering::Relaxed) + 1 == *times
        })
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
pub fn point(_name: &str) {}
