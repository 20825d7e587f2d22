//! A body that comes no faster than it is taken. The reader of multipart takes in whatever is there
//! before it hands anything on, and looks for the end of a head for as long as bytes come; so this
//! pauses after every chunk, and ends what is only taken in.

use axum::body::Bytes;
use futures::Stream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// How many bytes may be taken in without anything being handed on.
pub(super) const HELD: usize = 1 << 20;

/// What was taken in since something was handed on.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<AtomicUsize>);

impl Held {
    /// Something was handed on.
    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A paced body.
pub(super) struct Paced<S> {
    body: S,
    held: Held,
    pause: bool,
}

impl<S> Paced<S> {
    pub(super) fn new(body: S) -> Paced<S> {
        Paced { body, held: Held::default(), pause: false }
    }

    pub(super) fn held(&self) -> Held {
        self.held.clone()
    }
}

impl<S: Stream<Item = Result<Bytes, axum::Error>> + Unpin> Stream for Paced<S> {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        if std::mem::take(&mut self.pause) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.held.0.load(Ordering::Relaxed) > HELD {
            let text = "there is no field in it, or one with too long a head";
            return Poll::Ready(Some(Err(io::Error::other(text))));
        }
        let polled = Pin::new(&mut self.body).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            self.held.0.fetch_add(bytes.len(), Ordering::Relaxed);
            self.pause = true;
        }
        polled.map_err(io::Error::other)
    }
}
