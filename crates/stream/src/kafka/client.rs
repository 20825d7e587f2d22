//! What every client of a Kafka cluster has in common: where it is, how it proves who it is, and
//! where its words go. It decides nothing about transactions.

use crate::log::LogError;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the cluster is and what is asked of it.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port`, several with commas between them.
    pub bootstrap: String,
    /// The id that the cluster must have; `None` for any.
    pub cluster_id: Option<String>,
    /// Security and tuning, by librdkafka's names. Those that the promises depend on are refused.
    pub properties: BTreeMap<String, String>,
    /// How many copies a topic has that is created; -1 for as many as the brokers say.
    pub replication: i32,
    /// After this long without a commit the broker ends a transaction, at its next look; with its own
    /// settings it looks every 10 s. Below the session timeout.
    pub transaction_timeout: Duration,
    /// After this long without a sign of life a member's partitions go to others.
    pub session_timeout: Duration,
    /// Whether a slot is a static member: after a restart it has its partitions back at once.
    pub pinned: bool,
    /// What the broker's own logs and quotas call this process.
    pub client_id: String,
}

/// The values of properties are not shown: there may be a password among them.
impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.properties.keys().collect();
        f.debug_struct("KafkaOptions")
            .field("bootstrap", &self.bootstrap)
            .field("cluster_id", &self.cluster_id)
            .field("properties", &names)
            .field("replication", &self.replication)
            .field("transaction_timeout", &self.transaction_timeout)
            .field("session_timeout", &self.session_timeout)
            .field("pinned", &self.pinned)
            .field("client_id", &self.client_id)
            .finish()
    }
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:9092".to_owned(),
            cluster_id: None,
            properties: BTreeMap::new(),
            replication: 1,
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(15),
            pinned: false,
            client_id: "tocsin".to_owned(),
        }
    }
}

/// Set by Tocsin: with other values, records could be lost, doubled or read before their time.
pub const RESERVED: [&str; 15] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "transactional.id",
];

impl KafkaOptions {
    /// What every client begins with.
    pub(super) fn config(&self) -> Result<ClientConfig, LogError> {
        let reserved = self.properties.keys().find(|name| RESERVED.contains(&name.as_str()));
        if let Some(name) = reserved {
            return Err(LogError::Refused(format!(
                "the Kafka property {name:?} cannot be set: the promises of the log depend on it; remove it"
            )));
        }
        #[cfg(target_os = "linux")]
        crate::kafka::native::linked();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.ms", "10")
            .set("retry.backoff.max.ms", "100")
            .set("log_level", "4");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        Ok(config)
    }

    /// A client that reads. `isolation` is `read_committed` or `read_uncommitted`.
    pub(super) fn reader(&self, isolation: &str) -> Result<ClientConfig, LogError> {
        let mut config = self.config()?;
        config
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set_default("fetch.wait.max.ms", "50")
            .set_default("fetch.queue.backoff.ms", "10")
            .set_default("fetch.error.backoff.ms", "50")
            .set_default("fetch.message.max.bytes", "4194304")
            .set_default("queued.min.messages", "100000")
            .set_default("queued.max.messages.kbytes", "32768");
        Ok(config)
    }

    /// A client that asks and speaks for a group and is no member.
    pub(super) fn outsider(&self, group: &str) -> Result<BaseConsumer<Context>, LogError> {
        let mut config = self.reader("read_committed")?;
        config.set("group.id", group);
        let made = config.create_with_context(Context::default());
        made.map_err(|error| self.not_started(error))
    }

    /// Why a client could not be made.
    pub(super) fn not_started(&self, error: KafkaError) -> LogError {
        match error {
            KafkaError::ClientConfig(..) => LogError::Refused(format!(
                "the Kafka client cannot be configured so: {error}; see [log] in the configuration"
            )),
            // What it says to a file that it cannot use, without its name.
            KafkaError::ClientCreation(_) => {
                let files = self.properties.iter().filter(|(name, _)| name.ends_with(".location"));
                let files: Vec<&str> = files.map(|(_, path)| path.as_str()).collect();
                LogError::Refused(format!(
                    "the Kafka client cannot be configured so: {error}; see [log] in the configuration, and that these can be read and are in PEM form: {}",
                    files.join(", ")
                ))
            }
            error => self.unavailable("start a client", error),
        }
    }

    /// An error of the cluster, with where it is.
    pub(super) fn unavailable(&self, doing: &str, error: impl std::fmt::Display) -> LogError {
        LogError::Unavailable(format!("cannot {doing}: Kafka at {}: {error}", self.bootstrap))
    }
}

/// Sets a property unless the operator has.
trait SetDefault {
    fn set_default(&mut self, name: &str, value: &str) -> &mut Self;
}

impl SetDefault for ClientConfig {
    fn set_default(&mut self, name: &str, value: &str) -> &mut Self {
        if self.get(name).is_none() {
            self.set(name, value);
        }
        self
    }
}

/// A change of what a member has.
#[derive(Debug)]
pub(super) enum Change {
    /// These partitions of the driving topic come.
    Come(Vec<u32>),
    /// These go; `lost` if they are gone already.
    Go { partitions: Vec<u32>, lost: bool },
}

/// What a client tells us from inside its calls.
#[derive(Debug, Default)]
pub(super) struct Context {
    changes: Mutex<VecDeque<Change>>,
    closing: AtomicBool,
    /// Whether a broker went away since somebody looked.
    lost: AtomicBool,
    /// Why a broker could not be reached, as it was said last.
    said: Mutex<String>,
}

impl Context {
    /// The oldest change that was not taken yet.
    pub(super) fn change(&self) -> Option<Change> {
        self.lock().pop_front()
    }

    /// Whether a change waits that says that everything is lost.
    pub(super) fn loses(&self) -> bool {
        self.lock().iter().any(|change| matches!(change, Change::Go { lost: true, .. }))
    }

    /// From now on nobody takes changes any more: what goes is let go at once.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether a broker went away since this was asked last.
    pub(super) fn was_lost(&self) -> bool {
        self.lost.swap(false, Ordering::AcqRel)
    }

    /// Why a broker could not be reached, as it was said last; empty if none was tried in vain.
    pub(super) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            // Without the name of its thread.
            let text = message.split_once("]: ").map_or(message, |(_, text)| text);
            text.clone_into(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, text = message, "kafka client");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(facility, text = message, "kafka client");
            }
            _ => tracing::debug!(facility, text = message, "kafka client"),
        }
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if is_away(&error) {
            self.lost.store(true, Ordering::Release);
            return tracing::debug!(%error, reason, "kafka client");
        }
        tracing::warn!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Context {
    /// Only notes the change: state must be restored before an assignment counts, and what has
    /// been begun must be finished before a revocation does.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Acquire) {
            // The inputs beside the driving one are no part of `list`.
            let held = consumer.assignment();
            if let Err(error) = held.and_then(|held| consumer.incremental_unassign(&held)) {
                tracing::warn!(%error, "cannot let go of partitions while leaving the group");
            }
            return;
        }
        let partitions = list.elements().iter().map(|e| e.partition() as u32).collect();
        self.lock().push_back(match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Come(partitions),
            _ => Change::Go { partitions, lost: consumer.assignment_lost() },
        });
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // A commit says so as well; this says which topic.
        if let Err((error, _)) = result {
            tracing::debug!(%error, "a record was not delivered");
        }
    }
}

/// Whether no broker could be reached: said again and again, and once already by the client's own log.
pub(super) fn is_away(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    matches!(code, Some(Code::AllBrokersDown | Code::BrokerTransportFailure))
}

/// Whether the broker knows another client in this member's place.
pub(super) fn is_replaced(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId)
}

/// Whether the client can never go on.
pub(super) fn is_fatal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let fatal = [
        Code::Fatal,
        Code::Fenced,
        Code::FencedInstanceId,
        Code::UnreleasedInstanceId,
        Code::TopicAuthorizationFailed,
        Code::GroupAuthorizationFailed,
        Code::InconsistentGroupProtocol,
    ];
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || error.rdkafka_error_code().is_some_and(|code| fatal.contains(&code))
}
