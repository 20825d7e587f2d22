//! How a process ends: one token that everybody watches. The first SIGINT or SIGTERM asks for a
//! soft stop, the second ends the process at once. A thread that fails stops all the others: half
//! a service would look like a whole one.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Says whether to go on. Clones are the same token.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    failure: Mutex<Option<String>>,
    threads: Condvar,
    tasks: tokio::sync::Notify,
}

impl Stop {
    /// A token that says go on.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks everybody to stop. May be called often, from anywhere.
    pub fn stop(&self) {
        // Under the lock, so that a sleeper cannot miss it between its check and its wait.
        let guard = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.stopped.store(true, Ordering::SeqCst);
        drop(guard);
        self.0.threads.notify_all();
        self.0.tasks.notify_waiters();
    }

    /// Stops because something failed; the first reason is kept.
    pub fn fail(&self, reason: impl Display) {
        let mut failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| reason.to_string());
        drop(failure);
        self.stop();
    }

    /// Why it stopped, if something failed.
    pub fn failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether to stop.
    pub fn stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Returns when it is time to stop; for tasks.
    pub async fn wait(&self) {
        let mut notified = std::pin::pin!(self.0.tasks.notified());
        // Registered before the check, so that a stop in between is not missed.
        notified.as_mut().enable();
        if !self.stopped() {
            notified.await;
        }
    }

    /// Sleeps for `duration`, or until it is time to stop; says whether it is. For threads.
    pub fn sleep(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut guard = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.stopped() || left.is_zero() {
                return self.stopped();
            }
            let woken = self.0.threads.wait_timeout(guard, left);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sleeps until it is time to stop; for threads.
    pub fn join(&self) {
        while !self.sleep(Duration::from_secs(3600)) {}
    }
}

/// Runs `work` on a thread called `name`. If it returns an error or panics, `stop` fails with it.
///
/// # Errors
/// If the system gives no thread.
pub fn spawn<E: Display>(
    name: &str,
    stop: &Stop,
    work: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let (stop, label) = (stop.clone(), name.to_owned());
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let reason = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panicked: {}", panic_text(&*panic)),
        };
        tracing::error!(thread = label, "{reason}");
        stop.fail(format_args!("{label}: {reason}"));
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Watches for SIGINT and SIGTERM on a thread of its own.
///
/// # Errors
/// If the system gives no thread or takes no handler.
pub fn on_signals(stop: &Stop) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(context);
    let token = stop.clone();
    let watch = move || {
        runtime.block_on(async {
            let mut signal = async || {
                tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = terminate.recv() => SignalKind::terminate(),
                }
            };
            signal().await;
            tracing::info!("stopping; a second signal ends the process at once");
            token.stop();
            // As a shell says that a signal ended a process: 130 or 143.
            std::process::exit(128 + signal().await.as_raw_value())
        })
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_wakes_sleepers_and_tasks() {
        let stop = Stop::new();
        assert!(!stop.sleep(Duration::from_millis(1)));
        let (other, runtime) = (stop.clone(), tokio::runtime::Builder::new_current_thread());
        let thread = std::thread::spawn(move || other.sleep(Duration::from_secs(600)));
        let other = stop.clone();
        let task = std::thread::spawn(move || {
            let mut runtime = runtime;
            runtime.build().unwrap().block_on(other.wait());
        });
        stop.stop();
        assert!(thread.join().unwrap());
        task.join().unwrap();
        assert!(stop.stopped() && stop.failure().is_none());
    }

    #[test]
    fn a_failing_thread_stops_everybody_with_the_first_reason() {
        let stop = Stop::new();
        spawn("quiet", &stop, || Ok::<(), String>(())).unwrap().join().unwrap();
        assert!(!stop.stopped());
        spawn("bad", &stop, || Err::<(), _>("no disk")).unwrap().join().unwrap();
        spawn("worse", &stop, || -> Result<(), String> { panic!("boom") }).unwrap().join().unwrap();
        assert_eq!(stop.failure().as_deref(), Some("bad: no disk"));
        stop.join();
    }
}
