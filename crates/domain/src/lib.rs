//! The words of Tocsin. Pure: no I/O, no async, reads no clock, draws no random number.
//!
//! Read in this order: time and identity, then the events that come in, then what is asked for
//! (conditions, watches, subscribers), then what comes out (alerts, notices, deliveries), then the
//! contract on the wire that all of them are written with.

pub mod decimal;
pub mod id;
pub mod partition;
pub mod position;
pub mod time;

pub mod aqi;
pub mod event;

pub mod condition;
pub mod subscriber;
pub mod watch;

pub mod alert;
pub mod dead_letter;
pub mod delivery;
pub mod notice;
pub mod upstream;

pub mod topics;
pub mod wire;

pub use decimal::{Currency, Money};
pub use id::Id;
pub use position::{Position, TopicPartition};
pub use time::Micros;

/// The tenant of everybody who does not say otherwise.
pub const DEFAULT_TENANT: &str = "default";
