//! A connection that ends so that its last answer arrives. Whoever is refused before its body was read
//! still sends, and a socket that is closed with unread bytes resets the connection: the answer would
//! be lost. So what comes is thrown away for a while; it never is for long, nor much of it.

use crate::Stop;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long one end waits for the other at most.
const LONGEST: Duration = Duration::from_secs(5);
/// How long it waits while nothing comes.
const SILENCE: Duration = Duration::from_secs(1);
/// The most bytes that are thrown away.
const MOST: usize = 64 << 20;

/// A stream that is shut down as described above.
pub(crate) struct Lingering {
    stream: TcpStream,
    stop: Stop,
    ending: Option<Ending>,
}

/// We have said that nothing more comes from here.
struct Ending {
    until: Instant,
    left: usize,
    silence: Pin<Box<Sleep>>,
}

impl Lingering {
    /// At the end of the process it does not linger.
    pub(crate) fn new(stream: TcpStream, stop: Stop) -> Lingering {
        Lingering { stream, stop, ending: None }
    }

    /// Throws away what comes.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ending) = &mut self.ending else { return Poll::Ready(()) };
        let mut bytes = [0; 16 << 10];
        loop {
            if ending.left == 0 || self.stop.stopped() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    ending.left = ending.left.saturating_sub(buffer.filled().len());
                    let silent = (Instant::now() + SILENCE).min(ending.until);
                    ending.silence.as_mut().reset(silent);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return ending.silence.as_mut().poll(cx),
            }
            if Instant::now() >= ending.until {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let now = Instant::now();
            let silence = Box::pin(sleep_until(now + SILENCE));
            self.ending = Some(Ending { until: now + LONGEST, left: MOST, silence });
        }
        self.poll_end(cx).map(Ok)
    }
}
