//! What the service reads, keeps and writes.

use tocsin_domain::topics;
use tocsin_stream::Topology;
use tocsin_stream::topology::{Scope, Table};

/// The number of the output that alerts are published to.
pub const ALERTS: usize = 0;

/// Events and conditions in, alerts out; the state of each subject is kept.
pub fn topology() -> Topology {
    Topology {
        service: "detect",
        does: "evaluates conditions",
        inputs: vec![topics::AQI_READINGS, topics::MARKET_LISTINGS, topics::ORDERS_ROWS],
        tables: vec![Table { topic: topics::CONDITIONS, scope: Scope::Global }],
        changelog: Some(topics::DETECT_SUBJECTS_CHANGELOG),
        outputs: vec![topics::ALERTS],
        foreign: None,
    }
}

#[cfg(test)]
mod tests {
    use tocsin_domain::topics::Topics;

    #[test]
    fn it_fits_the_topics() {
        assert_eq!(super::topology().problems(Topics::builtin()), Vec::<String>::new());
    }
}
