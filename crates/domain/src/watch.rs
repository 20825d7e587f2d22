//! A watch: one subscriber's wish.

use crate::alert::AlertState;
use crate::condition::EVERY_SUBJECT;
use crate::{Id, Micros};
use serde::{Deserialize, Serialize};

/// A condition, a channel, a schedule. Key of its topic: `tenant/id`, compacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// UUIDv5 of tenant, subscriber, condition, subject and channel.
    pub id: Id,
    /// The namespace.
    pub tenant: String,
    /// Whose wish it is.
    pub subscriber: Id,
    /// What it is about.
    pub condition: Id,
    /// One subject, or [`EVERY_SUBJECT`] for all that the condition covers.
    pub subject: String,
    /// How to tell: `email`.
    pub channel: String,
    /// When to tell: `at-once`. Digests and quiet hours will be told here.
    pub schedule: String,
    /// Which facts of an alert are worth a message.
    pub on: Vec<AlertState>,
    /// Whether it still stands.
    pub active: bool,
    /// When this was first said.
    pub created_at: Micros,
}

impl Watch {
    /// The id of a wish.
    pub fn id_of(tenant: &str, subscriber: Id, condition: Id, subject: &str, channel: &str) -> Id {
        Id::of(
            "watch",
            &[
                tenant.as_bytes(),
                subscriber.as_bytes(),
                condition.as_bytes(),
                subject.as_bytes(),
                channel.as_bytes(),
            ],
        )
    }

    /// Whether it is about `subject`.
    pub fn covers(&self, subject: &str) -> bool {
        self.subject == EVERY_SUBJECT || self.subject == subject
    }

    /// The key of its record.
    pub fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.id)
    }
}
