//! Kafka keeps the contract of every log. What only a cluster can do is beside it: `kafka_members` has partitions
//! that move, `kafka_faults` a member that was away and a broker that is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use tocsin_stream::kafka::{KafkaLog, KafkaOptions};
use tocsin_testkit::{log_suite, servers};

fn options() -> KafkaOptions {
    KafkaOptions { bootstrap: servers::kafka().to_owned(), ..KafkaOptions::default() }
}

#[test]
fn kafka_keeps_the_contract() {
    let log = KafkaLog::connect(options()).unwrap();
    log_suite::run(&|| log.clone());
}

/// Without it, a broker that comes back can end a process.
#[test]
#[cfg(target_os = "linux")]
fn the_mend_of_its_client_is_linked() {
    assert!(tocsin_stream::kafka::mended());
}
