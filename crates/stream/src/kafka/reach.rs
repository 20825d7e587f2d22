//! The first words with a cluster: whether it answers and is the one that is meant, and if it does not let
//! us in, why, and what to correct.

use crate::kafka::client::{Context, KafkaOptions, is_away};
use crate::kafka::cluster::CALL;
use crate::log::LogError;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::{Duration, Instant};

/// How long a broker may keep us waiting before it is looked whether it does not want us.
const GLANCE: Duration = Duration::from_secs(2);
/// How long it is listened why.
const LISTEN: Duration = Duration::from_millis(1500);

impl KafkaOptions {
    /// The cluster's id, if it is the one that it should be.
    pub(super) fn guard(&self, client: &Client<Context>) -> Result<String, LogError> {
        self.reach(client)?;
        let found = client.fetch_cluster_id(CALL).unwrap_or_default();
        match &self.cluster_id {
            Some(wanted) if *wanted != found => Err(LogError::Refused(format!(
                "the Kafka cluster at {} has the id {found:?}, and `cluster_id` in [log] is {wanted:?}: nothing was done there; correct `bootstrap` or `cluster_id`",
                self.bootstrap
            ))),
            _ => Ok(found),
        }
    }

    /// Returns once a broker answers. One that does not let us in will not think better of it.
    fn reach(&self, client: &Client<Context>) -> Result<(), LogError> {
        let (begun, mut patience) = (Instant::now(), GLANCE);
        loop {
            // To ask for a topic that there is none of is to ask whether anybody answers.
            let Err(error) = client.fetch_metadata(Some("__tocsin"), patience) else {
                return Ok(());
            };
            // Longer and longer: a slow broker has time to answer one of them.
            patience = (2 * patience).min(CALL.saturating_sub(begun.elapsed())).max(GLANCE);
            let said = self.why()?;
            if let Doubt::Refused(advice) = Doubt::of(&said) {
                return Err(LogError::Refused(format!(
                    "Kafka at {} does not let us in: {said}; {advice}",
                    self.bootstrap
                )));
            }
            let code = error.rdkafka_error_code();
            let waits = is_away(&error) || code == Some(RDKafkaErrorCode::OperationTimedOut);
            if !waits || begun.elapsed() + GLANCE >= CALL {
                return Err(self.unavailable("connect", Doubt::of(&said).with(&error, &said)));
            }
        }
    }

    /// Why no broker lets us in or answers, as a client is told that does nothing but listen; empty if it is
    /// told nothing. The one that asks hears of it only when it is polled, which not every kind can be.
    fn why(&self) -> Result<String, LogError> {
        let mut config = self.reader("read_committed")?;
        config.set("group.id", "tocsin").set_log_level(RDKafkaLogLevel::Info);
        let listener: BaseConsumer<Context> = config
            .create_with_context(Context::default())
            .map_err(|error| self.not_started(error))?;
        let begun = Instant::now();
        loop {
            // There is no message: it reads nothing.
            let _ = listener.poll(Duration::from_millis(50));
            let said = listener.context().said();
            let is_clear = matches!(Doubt::of(&said), Doubt::Refused(_));
            if is_clear || begun.elapsed() >= LISTEN {
                return Ok(said);
            }
        }
    }
}

/// What is to be thought of a broker that does not answer, by what the client says of it.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    /// It does not want us as we are; and what to look at.
    Refused(&'static str),
    /// It hangs up, as one does that is spoken to in the wrong way, and one that is just being started.
    HangsUp(&'static str),
    /// It is away.
    Away,
}

impl Doubt {
    fn of(said: &str) -> Doubt {
        let has = |word: &str| said.contains(word);
        if has("security.protocol") || has("unexpected eof") || has("PLAINTEXT broker listener") {
            return Doubt::HangsUp(
                "if that lasts, see `security_protocol` in [log], and that the port of `bootstrap` is that of such a listener",
            );
        }
        if has("SASL authentication error") || has("mechanism handshake failed") {
            return Doubt::Refused(
                "see `sasl_mechanism`, `username` and `password_file` in [log], and that the cluster knows this user",
            );
        }
        if has("certificate verify failed") || has("broker certificate") {
            return Doubt::Refused(
                "see `ca_file` in [log], which must hold the authority that signed the broker's certificate; and `bootstrap` must be a name that is in the certificate",
            );
        }
        if has("SSL alert") || has("certificate required") {
            return Doubt::Refused(
                "see `certificate_file` and `key_file` in [log]: the broker wants a certificate that it trusts",
            );
        }
        Doubt::Away
    }

    /// An error with what was said, and what to do.
    fn with(&self, error: &KafkaError, said: &str) -> String {
        match self {
            Doubt::Refused(advice) | Doubt::HangsUp(advice) => format!("{error}: {said}; {advice}"),
            Doubt::Away if said.is_empty() => error.to_string(),
            Doubt::Away => format!("{error}: {said}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_what_to_do_and_who_finds_nobody_waits() {
        for (said, wanted) in [
            (
                "b:1: SASL authentication error: Authentication failed: Invalid username",
                "`username`",
            ),
            ("b:1: SASL PLAIN mechanism handshake failed: Broker: Unsupported", "`sasl_mechanism`"),
            (
                "b:1: error:0A000086:SSL routines::certificate verify failed (after 3ms)",
                "`ca_file`",
            ),
            ("b:1: Failed to verify broker certificate: IP address mismatch", "`ca_file`"),
            ("b:1: Receive failed: sslv3 alert bad certificate: SSL alert number 42", "`key_file`"),
        ] {
            let doubt = Doubt::of(said);
            assert!(matches!(doubt, Doubt::Refused(advice) if advice.contains(wanted)), "{said}");
        }
        for said in [
            "b:1: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)",
            "b:1: Disconnected: verify that security.protocol is correctly configured, broker might require SASL authentication",
            "b:1: SSL handshake failed: error:0A000126:SSL routines::unexpected eof while reading",
        ] {
            let doubt = Doubt::of(said);
            assert!(matches!(doubt, Doubt::HangsUp(text) if text.contains("`security_protocol`")));
        }
        for said in ["", "b:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused"] {
            assert_eq!(Doubt::of(said), Doubt::Away, "{said}");
        }
    }
}
