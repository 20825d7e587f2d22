//! The HTTP interface and the pages: rows of the store and records of the log, shown. The only thing
//! it ever writes is a watch that is switched off, and only when somebody posts that.
//!
//! Read in this order: what it is given, what a request asks, what there is to read, what is
//! answered as JSON and as pages, and which routes there are.

pub mod app;
pub mod why;

mod answer;
mod ask;
mod json;
mod letters;
mod pages;
mod read;
mod records;
mod router;

pub use app::{App, Rendered};
pub use router::router;
pub use why::{Why, WhyError, explain};

#[cfg(test)]
mod tests;
