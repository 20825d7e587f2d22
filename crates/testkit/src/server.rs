//! What the servers of tests share: they listen on a free port of this machine, hold each
//! conversation on a thread of its own, keep what they saw where tests can wait for it, and end with
//! the value that stands for them.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A server that runs until it is dropped.
pub(crate) struct Server<S> {
    pub(crate) port: u16,
    pub(crate) shared: Arc<Shared<S>>,
}

/// What conversations and tests both see.
pub(crate) struct Shared<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
}

struct State<S> {
    own: S,
    connections: Vec<TcpStream>,
    released: bool,
    closed: bool,
}

impl<S: Send + 'static> Server<S> {
    /// A server on a free port of 127.0.0.1. Fails if the system gives none. A conversation that
    /// breaks off is what the client sees; there is nobody to tell.
    pub(crate) fn start(
        name: &str,
        own: S,
        converse: fn(&TcpStream, &Shared<S>) -> io::Result<()>,
    ) -> io::Result<Server<S>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = State { own, connections: Vec::new(), released: false, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let server = Server { port, shared: shared.clone() };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || listen(&listener, &shared, converse))?;
        Ok(server)
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is kept.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.lock().own)
    }

    /// Changes what is kept, and wakes whoever waits for that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        let result = change(&mut self.lock().own);
        self.changed.notify_all();
        result
    }

    /// Whether `holds` came true within `patience`.
    pub(crate) fn wait(&self, patience: Duration, holds: impl Fn(&S) -> bool) -> bool {
        self.wait_state(patience, |state| holds(&state.own))
    }

    /// Waits until everything that hangs may go on.
    pub(crate) fn wait_for_release(&self) {
        self.wait_state(Duration::MAX, |state| state.released);
    }

    /// Lets everything go on that hangs, now and later.
    pub(crate) fn release(&self) {
        self.lock().released = true;
        self.changed.notify_all();
    }

    fn wait_state(&self, patience: Duration, holds: impl Fn(&State<S>) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |state| !holds(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        holds(&state)
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        self.shared.release();
        let connections = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.connections)
        };
        for connection in connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the listener, so that it sees that it is closed.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn listen<S: Send + 'static>(
    listener: &TcpListener,
    shared: &Arc<Shared<S>>,
    converse: fn(&TcpStream, &Shared<S>) -> io::Result<()>,
) {
    for stream in listener.incoming() {
        let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
        if shared.lock().closed {
            return;
        }
        let _ = stream.set_nodelay(true);
        if let Ok(copy) = stream.try_clone() {
            shared.lock().connections.push(copy);
        }
        std::thread::spawn(move || {
            let _ = converse(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}
