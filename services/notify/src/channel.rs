//! The contract of a channel: take one finished message out of the house and say honestly what
//! came of it. A channel never tries twice and never writes to the log.

use std::future::Future;
use std::pin::Pin;

/// A finished message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The Message-ID without angle brackets; the same in every attempt.
    pub id: String,
    /// The envelope's sender, one address.
    pub from: String,
    /// The envelope's recipient, one address.
    pub to: String,
    /// The message as RFC 5322 has it, with CRLF; the same in every attempt.
    pub bytes: Vec<u8>,
}

/// What came of an attempt. Each text is for people: the server's words, or what was in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Sent(String),
    /// It will never be taken.
    Refused(String),
    /// It was certainly not taken now, and may be later.
    Deferred(String),
    /// It may have been taken.
    Unknown(String),
}

/// An attempt under way.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A way out. Shared by all attempts, which run at the same time.
pub trait Channel: Send + Sync {
    /// Tries once. Whoever drops the future must take the outcome as unknown.
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a>;
}
