//! Part of the build script of every package that makes programs which talk to Kafka: a link argument reaches no further
//! than the package that gives it. `crates/stream/src/kafka/native/leaders.rs` says what for.

/// Tells the linker whom to call in place of a function of librdkafka.
#[allow(clippy::print_stdout, reason = "so a build script speaks")]
pub fn tell() {
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafkap_leader_discovery_set_topic");
    }
}
