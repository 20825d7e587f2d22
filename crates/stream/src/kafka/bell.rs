//! What ends a wait: a byte in a stream. librdkafka writes one when a queue gets something, and
//! whoever wakes the worker writes one too; so one thread waits for many queues and sleeps meanwhile.

use crate::log::LogError;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Written by whoever wakes the worker; librdkafka writes a 1.
const WOKEN: u8 = 2;

/// A bell that one thread listens to.
pub(super) struct Bell {
    ear: UnixStream,
    rope: Arc<UnixStream>,
}

impl Bell {
    pub(super) fn new() -> Result<Bell, LogError> {
        let failed =
            |error| LogError::Unavailable(format!("cannot open a pair of sockets: {error}"));
        let (ear, rope) = UnixStream::pair().map_err(failed)?;
        // Nobody who rings may have to wait: a byte that does not fit rings no louder.
        rope.set_nonblocking(true).map_err(failed)?;
        Ok(Bell { ear, rope: Arc::new(rope) })
    }

    /// What rings it.
    pub(super) fn rope(&self) -> &Arc<UnixStream> {
        &self.rope
    }

    /// Sleeps until it rings, or for so long; whether somebody wanted the sleeper awake.
    pub(super) fn wait(&mut self, longest: Duration) -> bool {
        let mut bytes = [0; 64];
        // Zero would mean for ever. A socket that fails is seen as silence.
        let _ = self.ear.set_read_timeout(Some(longest.max(Duration::from_millis(1))));
        let rung = self.ear.read(&mut bytes).unwrap_or(0);
        bytes[..rung].contains(&WOKEN)
    }

    pub(super) fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let rope = self.rope.clone();
        Arc::new(move || drop((&*rope).write(&[WOKEN])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_for_both_and_is_silent_otherwise() {
        let mut bell = Bell::new().unwrap();
        assert!(!bell.wait(Duration::ZERO));
        (&**bell.rope()).write_all(&[1]).unwrap();
        assert!(!bell.wait(Duration::from_secs(60)));
        let wake = bell.waker();
        (0..100_000).for_each(|_| wake());
        assert!(bell.wait(Duration::from_secs(60)));
    }
}
