//! `[log]`: which log stands behind the services, and how it is reached. What would break a promise
//! of the log cannot be set.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tocsin_service::Secret;
use tocsin_service::config::{ConfigError, Document, duration};
use tocsin_stream::embedded::Sync;
use tocsin_stream::kafka::KafkaOptions;

/// Which log, and how.
#[derive(Clone, Debug)]
pub enum LogSettings {
    /// One file of one process.
    Embedded(Sync),
    /// Apache Kafka.
    Kafka(KafkaOptions),
}

/// What `[log.options]` may not set, and why.
const REFUSED: [(&str, &str); 6] = [
    ("say it by the key of [log] instead", SAID_ELSEWHERE),
    ("only what is committed may be read, from where it was committed", READING),
    ("progress is committed with the outputs, by Tocsin", COMMITTING),
    ("groups are Tocsin's: a service is a group, a slot a member", GROUPS),
    ("a record that is acknowledged must be kept, once and in order", WRITING),
    ("topics are created from topics.yaml, and keys decide the partition", TOPICS),
];
const SAID_ELSEWHERE: &str = "bootstrap.servers metadata.broker.list client.id security.protocol \
    sasl.mechanism sasl.mechanisms sasl.username sasl.password ssl.ca.location \
    ssl.certificate.location ssl.key.location transaction.timeout.ms session.timeout.ms";
const READING: &str = "isolation.level auto.offset.reset enable.partition.eof";
const COMMITTING: &str =
    "enable.auto.commit auto.commit.enable auto.commit.interval.ms enable.auto.offset.store";
const GROUPS: &str = "group.id group.instance.id group.protocol group.remote.assignor \
    partition.assignment.strategy transactional.id";
const WRITING: &str = "enable.idempotence enable.gapless.guarantee acks request.required.acks \
    max.in.flight max.in.flight.requests.per.connection retries message.send.max.retries \
    delivery.report.only.error";
const TOPICS: &str = "allow.auto.create.topics partitioner";

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Embedded,
    Kafka,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddedSection {
    #[serde(rename = "kind")]
    _kind: Option<Kind>,
    #[serde(default)]
    sync: SyncWord,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SyncWord {
    #[default]
    Full,
    Normal,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KafkaSection {
    #[serde(rename = "kind")]
    _kind: Option<Kind>,
    bootstrap: Option<super::Addresses>,
    cluster_id: Option<String>,
    #[serde(default)]
    security_protocol: Protocol,
    sasl_mechanism: Option<Mechanism>,
    username: Option<String>,
    #[serde(default)]
    password: Secret,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    replication_factor: Option<i32>,
    #[serde(default, deserialize_with = "given")]
    transaction_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "given")]
    session_timeout: Option<Duration>,
    #[serde(default)]
    membership: Membership,
    client_id: Option<String>,
    #[serde(default, rename = "standby")]
    _standby: bool,
    #[serde(default)]
    options: BTreeMap<String, Property>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Protocol::Plaintext => "plaintext",
            Protocol::Ssl => "ssl",
            Protocol::SaslPlaintext => "sasl_plaintext",
            Protocol::SaslSsl => "sasl_ssl",
        }
    }

    fn has_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }

    fn has_ssl(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }
}

#[derive(Clone, Copy, Deserialize)]
enum Mechanism {
    #[serde(rename = "plain")]
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Mechanism {
    fn word(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Membership {
    #[default]
    Dynamic,
    Static,
}

/// A value of `[log.options]`. Without quotes, `linger.ms = 5` is a table in a table.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, or true or false")]
enum Property {
    Truth(bool),
    Number(i64),
    Text(String),
    Below(BTreeMap<String, Property>),
}

fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(from).map(Some)
}

/// Whether a process keeps copies of the state that others of its service have.
pub(super) fn standby(document: &Document) -> Result<bool, ConfigError> {
    #[derive(Default, Deserialize)]
    struct Section {
        #[serde(default)]
        standby: bool,
    }
    Ok(document.section::<Section>("log")?.standby)
}

/// Reads the section.
pub(super) fn read(document: &Document) -> Result<LogSettings, ConfigError> {
    match super::kind(document, "log")? {
        Kind::Embedded => {
            let section: EmbeddedSection = document.section("log")?;
            Ok(LogSettings::Embedded(match section.sync {
                SyncWord::Full => Sync::Full,
                SyncWord::Normal => Sync::Normal,
            }))
        }
        Kind::Kafka => {
            let section: KafkaSection = document.section("log")?;
            let mut problems = Vec::new();
            let options = kafka(section, document, &mut problems);
            super::unless(problems, document, "log", LogSettings::Kafka(options))
        }
    }
}

fn kafka(section: KafkaSection, document: &Document, problems: &mut Vec<String>) -> KafkaOptions {
    let bootstrap = section.bootstrap.as_ref().map(super::Addresses::all).unwrap_or_default();
    if bootstrap.is_empty() {
        problems.push("`bootstrap` is missing: the brokers' addresses, `host:port`".to_owned());
    }
    // With a broker as it comes a transaction that hangs is ended within 20 s, 5 s after the session at
    // the latest. A longer session would make everybody wait for that, a shorter timeout would end
    // transactions of brokers that are only slow.
    let transaction_timeout = section.transaction_timeout.unwrap_or(Duration::from_secs(10));
    let session_timeout = section.session_timeout.unwrap_or(Duration::from_secs(15));
    if transaction_timeout >= session_timeout || transaction_timeout < Duration::from_secs(1) {
        problems.push(format!(
            "`transaction_timeout` is {} s: it must be at least 1 s, and less than `session_timeout` ({} s): whoever gets the partitions of a process that hangs waits until the broker has ended its transaction, which takes up to 10 s more, because a broker looks only every 10 s unless it is told otherwise",
            transaction_timeout.as_secs_f64(),
            session_timeout.as_secs_f64(),
        ));
    }
    if section.replication_factor.is_some_and(|copies| copies < 1) {
        problems.push("`replication_factor` must be at least 1".to_owned());
    }
    let mut properties = security(&section, document, problems);
    for (name, value) in flat(&section.options) {
        match REFUSED.iter().find(|(_, names)| names.split(' ').any(|other| other == name)) {
            Some((why, _)) => problems.push(format!("options: `{name}` cannot be set: {why}")),
            None => _ = properties.insert(name, value),
        }
    }
    KafkaOptions {
        bootstrap: bootstrap.join(","),
        cluster_id: section.cluster_id,
        properties,
        replication: section.replication_factor.unwrap_or(-1),
        transaction_timeout,
        session_timeout,
        pinned: section.membership == Membership::Static,
        client_id: section.client_id.unwrap_or_else(|| "tocsin".to_owned()),
    }
}

/// The properties of the connection.
fn security(
    section: &KafkaSection,
    document: &Document,
    problems: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let protocol = section.security_protocol;
    let word = protocol.word();
    let mut found = BTreeMap::from([("security.protocol".to_owned(), word.to_owned())]);
    let secret = (!section.password.is_empty()).then(|| section.password.expose().to_owned());
    let mechanism = section.sasl_mechanism.map(|mechanism| mechanism.word().to_owned());
    for (key, property, value) in [
        ("sasl_mechanism", "sasl.mechanism", mechanism),
        ("username", "sasl.username", section.username.clone()),
        ("password", "sasl.password", secret),
    ] {
        match (value, protocol.has_sasl()) {
            (Some(value), true) => _ = found.insert(property.to_owned(), value),
            (None, false) => {}
            (None, true) => problems
                .push(format!("`{key}` is missing, and `security_protocol` is \"{word}\"")),
            (Some(_), false) => problems.push(format!(
                "`{key}` needs `security_protocol` to be \"sasl_ssl\" or \"sasl_plaintext\"; it is \"{word}\""
            )),
        }
    }
    for (key, property, file) in [
        ("ca_file", "ssl.ca.location", &section.ca_file),
        ("certificate_file", "ssl.certificate.location", &section.certificate_file),
        ("key_file", "ssl.key.location", &section.key_file),
    ] {
        let Some(file) = file else { continue };
        if !protocol.has_ssl() {
            problems.push(format!(
                "`{key}` needs `security_protocol` to be \"ssl\" or \"sasl_ssl\"; it is \"{word}\""
            ));
        }
        let path = document.resolve(file);
        found.insert(property.to_owned(), path.to_string_lossy().into_owned());
    }
    if section.certificate_file.is_some() != section.key_file.is_some() {
        problems.push("`certificate_file` and `key_file` go together; one is missing".to_owned());
    }
    if protocol.has_ssl()
        && section.ca_file.is_none()
        && let Some(place) = trusted(|variable| std::env::var_os(variable).is_some())
    {
        found.insert("ssl.ca.location".to_owned(), place.to_owned());
    }
    found
}

/// Whom this machine trusts. The OpenSSL in this program would look in a place of its own, where nobody
/// keeps anything, so that the usual places are looked through; unless the environment says where, which
/// OpenSSL heeds by itself and the search would not.
fn trusted(is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
    (!["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(is_set)).then_some("probe")
}

/// Names with their dots, and values as text.
fn flat(options: &BTreeMap<String, Property>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in options {
        match value {
            Property::Truth(truth) => found.push((name.clone(), truth.to_string())),
            Property::Number(number) => found.push((name.clone(), number.to_string())),
            Property::Text(text) => found.push((name.clone(), text.clone())),
            Property::Below(inner) => {
                let below = flat(inner).into_iter();
                found.extend(below.map(|(rest, value)| (format!("{name}.{rest}"), value)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
