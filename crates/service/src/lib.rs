//! What every service needs and none should write twice: its configuration, its life cycle, and
//! how it is watched while it runs. Knows no topic and no detector.

pub mod admin;
pub mod config;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod telemetry;

mod linger;

pub use config::{ConfigError, Document, Secret};
pub use health::Health;
pub use lifecycle::Stop;
pub use metrics::Metrics;
