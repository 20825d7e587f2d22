//! What any bytes may do to Tocsin: one target for each place where bytes of others come in, each with
//! what must hold whatever they are. Tests give every target its corpus, and in `main.rs` libFuzzer
//! gives one of them what it invents. It starts nothing that lasts and asks nobody.

mod request;

pub mod target;
pub mod targets;

pub use target::{Suffer, Target};
