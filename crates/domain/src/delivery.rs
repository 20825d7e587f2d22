//! A delivery: one message to one subscriber through one channel.

use crate::notice::Notice;
use crate::{Id, Micros};
use serde::{Deserialize, Serialize};

/// What happened to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Somebody shall be told.
    Requested,
    /// An attempt begins: committed before the first byte leaves.
    Attempt,
    /// The server took it.
    Sent,
    /// The server said never (5xx), or the address cannot be one. Final.
    Refused,
    /// Not now (4xx, no connection): it will be tried again.
    Deferred,
    /// The message left and no answer came: it may have arrived. It will be tried again with the
    /// same Message-ID.
    Unknown,
    /// The subscriber may not be written to. Final.
    Suppressed,
    /// Every attempt was used up or the deadline passed. Final.
    Expired,
}

impl DeliveryState {
    /// The word in tables, metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Requested => "requested",
            DeliveryState::Attempt => "attempt",
            DeliveryState::Sent => "sent",
            DeliveryState::Refused => "refused",
            DeliveryState::Deferred => "deferred",
            DeliveryState::Unknown => "unknown",
            DeliveryState::Suppressed => "suppressed",
            DeliveryState::Expired => "expired",
        }
    }

    /// Whether nothing more will happen to the delivery.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            DeliveryState::Sent
                | DeliveryState::Refused
                | DeliveryState::Suppressed
                | DeliveryState::Expired
        )
    }
}

/// One fact about a delivery. Key of its topic: `tenant/subscriber`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// UUIDv5 of channel and notices; all facts about one delivery share it.
    pub id: Id,
    /// The namespace.
    pub tenant: String,
    /// Who is told.
    pub subscriber: Id,
    /// Through what: `email`.
    pub channel: String,
    /// What happened.
    pub state: DeliveryState,
    /// Which attempt this is about, counted from 1; 0 for requested and suppressed.
    pub attempt: i32,
    /// When it happened.
    pub at: Micros,
    /// The Message-ID of every attempt, without angle brackets: `<id>@<host>`.
    pub message_id: String,
    /// Where to: an address. Filled in requested and attempt; personal data.
    pub address: String,
    /// How to greet; empty if unknown.
    pub name: String,
    /// IANA name: the times in the message are shown in it.
    pub time_zone: String,
    /// What it tells. Filled in requested and attempt, empty in outcomes. A digest has several.
    pub notices: Vec<Notice>,
    /// The server's words, or why it was not tried; empty if there is nothing to say.
    pub reason: String,
    /// When the next attempt is due; only with deferred and unknown.
    pub next_attempt_at: Option<Micros>,
}

impl Delivery {
    /// The key of its record.
    pub fn key(&self) -> String {
        crate::subscriber::subscriber_key(&self.tenant, self.subscriber)
    }
}
