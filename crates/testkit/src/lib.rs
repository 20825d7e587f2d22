//! What tests are made of: contract suites, scenarios, a clock turned by hand, fixtures.

pub mod certificates;
pub mod data;
pub mod log_suite;
mod server;
pub mod servers;
pub mod smtp;
pub mod store_suite;
pub mod upstream;
pub mod veil;
