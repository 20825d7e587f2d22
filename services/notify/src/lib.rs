//! From alerts to notices to deliveries to mail. Read in this order: who is told ([`matching`]),
//! when ([`deliver`], [`pending`], [`retry`]), what ([`render`]), and how it leaves ([`send`],
//! [`channel`]). Only [`send`] reaches the world outside.

pub mod matching;
pub mod watches;

pub mod deliver;
pub mod pending;
pub mod retry;

pub mod render;

pub mod channel;
pub mod channels;
pub mod send;

#[cfg(test)]
mod fixtures;
