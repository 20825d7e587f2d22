//! `[push]` and `[[producers]]` in `tocsin.toml`: where events are taken, how many at a time, and
//! from whom. A token is never in the file, only its hash.

use crate::poison::Rate;
use crate::settings::{EventKind, OneOrMany};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use tocsin_domain::{DEFAULT_TENANT, topics};
use tocsin_service::config::{ConfigError, Document};

/// What is said about pushes.
#[derive(Clone, Debug, Default)]
pub struct PushSettings {
    /// `[push]`.
    pub limits: PushConfig,
    /// `[[producers]]`, checked.
    pub producers: Vec<ProducerConfig>,
    /// The namespace of who needs no token.
    pub tenant: String,
}

impl PushSettings {
    /// Whether anybody may push at all.
    pub fn is_on(&self) -> bool {
        self.limits.without_token || !self.producers.is_empty()
    }
}

/// `[push]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushConfig {
    /// An address of its own; without one, that of the pages in `up`, and [`PushConfig::ADDRESS`]
    /// in `ingest`.
    pub listen: Option<SocketAddr>,
    /// Whether whoever is on this machine may push without a token; no page of another site.
    pub without_token: bool,
    /// The most bytes of a body, packed or not.
    pub max_body_bytes: usize,
    /// The most events of a request.
    pub max_events: usize,
    /// The most bytes of bodies that are being received or wait to be written; what comes beyond is
    /// sent away for a while.
    pub queue_bytes: usize,
    /// The most idempotency keys that are remembered; the oldest go first.
    pub idempotency_keys: usize,
    /// The share of a producer's last events, `"5%"`, above which it is paused if they become dead
    /// letters.
    pub pause_above: Option<String>,
}

impl PushConfig {
    /// Where `tocsin ingest` takes events if nothing is said.
    pub const ADDRESS: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8090);
}

impl Default for PushConfig {
    fn default() -> PushConfig {
        PushConfig {
            listen: None,
            without_token: false,
            max_body_bytes: 4 << 20,
            max_events: 10_000,
            queue_bytes: 64 << 20,
            idempotency_keys: 200_000,
            pause_above: None,
        }
    }
}

/// What a producer may push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pushed {
    /// To `aqi.readings`.
    Reading,
    /// To `market.listings`.
    Listing,
    /// To `orders.rows`.
    OrderRow,
    /// To `datasets.rows`.
    DatasetRow,
    /// To `social.swipes`.
    Swipe,
}

impl Pushed {
    /// All of them; the number of each is its place.
    pub const ALL: [Pushed; 5] =
        [Pushed::Reading, Pushed::Listing, Pushed::OrderRow, Pushed::DatasetRow, Pushed::Swipe];

    /// Where it goes.
    pub fn topic(self) -> &'static str {
        match self {
            Pushed::Reading => topics::AQI_READINGS,
            Pushed::Listing => topics::MARKET_LISTINGS,
            Pushed::OrderRow => topics::ORDERS_ROWS,
            Pushed::DatasetRow => topics::DATASETS_ROWS,
            Pushed::Swipe => topics::SOCIAL_SWIPES,
        }
    }

    /// As it is written in `events` and behind `tocsin.` in a type of CloudEvents; also what its ids
    /// are made with.
    pub fn word(self) -> &'static str {
        match self {
            Pushed::Reading => "reading",
            Pushed::Listing => "listing",
            Pushed::OrderRow => "order-row",
            Pushed::DatasetRow => "dataset-row",
            Pushed::Swipe => "swipe",
        }
    }
}

impl From<EventKind> for Pushed {
    fn from(kind: EventKind) -> Pushed {
        match kind {
            EventKind::Reading => Pushed::Reading,
            EventKind::Listing => Pushed::Listing,
            EventKind::OrderRow => Pushed::OrderRow,
            EventKind::DatasetRow => Pushed::DatasetRow,
        }
    }
}

/// One of `[[producers]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerConfig {
    /// What it is called in events, ids, dead letters and the log.
    pub name: String,
    /// The namespace of its events; the document's `tenant` if none is given.
    pub tenant: Option<String>,
    /// The SHA-256 of its token in 64 hexadecimal digits; two while one takes over from the other.
    pub token_sha256: OneOrMany,
    /// What it may push.
    pub events: Vec<Pushed>,
    /// What the subjects of its events must begin with, one of these; any subject if none is given.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// How many events a second it may push in the long run.
    pub per_second: Option<u32>,
    /// Instead of that of `[push]`.
    pub pause_above: Option<String>,
}

impl ProducerConfig {
    /// The namespace of its events.
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
    }

    fn fault(&self) -> Option<String> {
        let name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > 100 || !self.name.chars().all(name) {
            return Some("its name must be letters, digits, `-`, `_` or `.`".to_owned());
        }
        if self.events.is_empty() {
            return Some("`events` is empty: say what it may push".to_owned());
        }
        if self.per_second == Some(0) {
            return Some("`per_second` is 0: leave the producer out instead".to_owned());
        }
        if let Err(fault) = Rate::of(self.pause_above.as_deref()) {
            return Some(fault);
        }
        if self.token_sha256.all().is_empty() {
            return Some("`token_sha256` is empty: `tocsin config token` makes one".to_owned());
        }
        let wrong = self.token_sha256.all().iter().any(|hash| parse_hash(hash).is_none());
        wrong.then(|| {
            "`token_sha256` must be 64 hexadecimal digits, the hash and never the token itself; \
             `tocsin config token` makes both"
                .to_owned()
        })
    }
}

/// The hash of a token, as it is kept.
pub fn token_hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// 64 hexadecimal digits.
pub(super) fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, two) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// What the document says about pushes, checked.
///
/// # Errors
/// Everything that is wrong with it.
pub fn section(document: &Document) -> Result<PushSettings, ConfigError> {
    let own: String = document.section("tenant")?;
    let tenant = if own.is_empty() { DEFAULT_TENANT.to_owned() } else { own };
    let limits: PushConfig = document.section("push")?;
    let mut producers: Vec<ProducerConfig> = document.list("producers")?;
    let mut errors = ConfigError::default();
    if let Some(fault) = limits.fault() {
        errors = errors.and(document.problem("push", "", format!("in push: {fault}")));
    }
    for at in 0..producers.len() {
        let (before, rest) = producers.split_at_mut(at);
        let Some(producer) = rest.first_mut() else { continue };
        producer.tenant.get_or_insert_with(|| tenant.clone());
        let twice = before.iter().any(|other| other.name == producer.name);
        let fault = match twice {
            true => Some("there are two producers of this name; each needs its own".to_owned()),
            false => producer.fault(),
        };
        if let Some(fault) = fault {
            let message = format!("in producers.{}: {fault}", producer.name);
            errors = errors.and(document.problem("producers", &producer.name, message));
        }
    }
    errors.or_ok(PushSettings { limits, producers, tenant })
}

impl PushConfig {
    fn fault(&self) -> Option<String> {
        let named = [
            ("max_body_bytes", self.max_body_bytes),
            ("max_events", self.max_events),
            ("idempotency_keys", self.idempotency_keys),
        ];
        if let Some((name, _)) = named.into_iter().find(|(_, value)| *value == 0) {
            return Some(format!("`{name}` must be at least 1"));
        }
        if self.max_body_bytes > 1 << 30 || self.queue_bytes > 1 << 38 {
            return Some("`max_body_bytes` may be 1 GiB at most, `queue_bytes` 256 GiB".to_owned());
        }
        if self.queue_bytes / 4 < self.max_body_bytes {
            let text = "`queue_bytes` must be four times `max_body_bytes` at least: a body may be \
                        there packed and unpacked, and one producer has half of the room at most";
            return Some(text.to_owned());
        }
        if let Err(fault) = Rate::of(self.pause_above.as_deref()) {
            return Some(fault);
        }
        let open = self.listen.filter(|at| self.without_token && !at.ip().is_loopback());
        open.map(|at| {
            format!("`without_token` is for this machine only, and {at} can be reached from others")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "tenant = \"acme\"\n[push]\nlisten = \"127.0.0.1:8090\"\n[[producers]]\n\
        name = \"shop\"\ntoken_sha256 = \"HASH\"\nevents = [\"reading\", \"swipe\"]\n";

    fn read(text: &str) -> Result<PushSettings, String> {
        let text = text.replace("HASH", &"0aF1".repeat(16));
        let document = Document::parse(&text, "t.toml").map_err(|e| e.to_string())?;
        section(&document).map_err(|e| e.to_string())
    }

    #[test]
    fn push_is_off_until_somebody_may() {
        assert!(!read("").unwrap().is_on() && !read("[push]\n").unwrap().is_on());
        assert!(read("[push]\nwithout_token = true\n").unwrap().is_on());
        let settings = read(GOOD).unwrap();
        assert!(settings.is_on());
        assert_eq!(settings.producers[0].tenant(), "acme");
        assert_eq!(settings.producers[0].events, [Pushed::Reading, Pushed::Swipe]);
    }

    #[test]
    fn every_fault_is_named_with_its_line() {
        for (from, to, wanted) in [
            ("HASH", "geheim", "t.toml:4: in producers.shop: `token_sha256` must be 64"),
            ("\"HASH\"", "[]", "`token_sha256` is empty"),
            ("[\"reading\", \"swipe\"]", "[]", "`events` is empty"),
            ("\"reading\"", "\"readings\"", "unknown value `readings`; did you mean `reading`?"),
            ("\"shop\"", "\"sh op\"", "its name must be letters"),
            ("events", "per_second = 0\nevents", "`per_second` is 0"),
            ("[push]", "[push]\nwithout_token = true\nmax_events = 0", "`max_events` must be at"),
            ("[push]", "[push]\nqueue_bytes = 16_777_215", "`queue_bytes` must be four times"),
            ("[push]", "[push]\npause_above = \"5\"", "in push: `pause_above` is \"5\""),
            ("events", "pause_above = \"x\"\nevents", "in producers.shop: `pause_above` is"),
            ("[push]", "[push]\nqeue_bytes = 1", "did you mean `queue_bytes`?"),
            ("127.0.0.1:8090\"", "0.0.0.0:8090\"\nwithout_token = true", "for this machine only"),
        ] {
            let error = read(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(wanted), "{wanted} is not in {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
        let twice = format!("{GOOD}{}", &GOOD[GOOD.find("[[").unwrap()..]);
        assert!(read(&twice).unwrap_err().contains("two producers of this name"));
    }

    #[test]
    fn a_hash_is_that_of_the_token() {
        let known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(parse_hash(known), Some(token_hash(b"hello")));
        assert_eq!(parse_hash(&known[1..]), None);
        assert_eq!(parse_hash(&known.replace('2', "g")), None);
        assert_eq!(parse_hash("é".repeat(32).as_str()), None);
    }
}
