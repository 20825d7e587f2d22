//! A watch: one subscriber's wish.

use crate::alert::AlertState;
use crate::condition::EVERY_SUBJECT;
use crate::{Id, Micros};
use serde::{Deserialize, Serialize};

/// A condition, a channel, a schedule. Key of its topic: `tenant/id`, compacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// UUIDv5 of tenant, subscriber, condition, subject and channel, and of source and search if it
    /// asks.
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
    /// What is to be asked for as long as it stands; `None` if it waits for what comes.
    #[serde(default)]
    pub asks: Option<Ask>,
}

/// A search that a watch wants to be asked. Whoever else asks the same shares its answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The source's name.
    pub source: String,
    /// What is asked for; empty where there is but one thing.
    pub search: String,
    /// How often, in seconds; `None` for as often as the source says.
    pub every: Option<u64>,
}

impl Watch {
    /// The id of a wish.
    pub fn id_of(
        tenant: &str,
        subscriber: Id,
        condition: Id,
        subject: &str,
        channel: &str,
        asks: Option<&Ask>,
    ) -> Id {
        let wish = [
            tenant.as_bytes(),
            subscriber.as_bytes(),
            condition.as_bytes(),
            subject.as_bytes(),
            channel.as_bytes(),
        ];
        // How often is not part of it: who changes that changes the watch.
        let asked = asks.map(|asks| [asks.source.as_bytes(), asks.search.as_bytes()]);
        let parts: Vec<&[u8]> = wish.into_iter().chain(asked.into_iter().flatten()).collect();
        Id::of("watch", &parts)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_searches_are_two_watches_and_how_often_is_neither() {
        let ask = |source: &str, search: &str, every| {
            let asks = Ask { source: source.into(), search: search.into(), every };
            Watch::id_of("default", Id::of("s", &[]), Id::of("c", &[]), "*", "email", Some(&asks))
        };
        let none = Watch::id_of("default", Id::of("s", &[]), Id::of("c", &[]), "*", "email", None);
        let lego = ask("shop", "lego", None);
        assert_eq!(ask("shop", "lego", Some(60)), lego);
        for other in
            [none, ask("shop", "", None), ask("shop", "duplo", None), ask("x", "lego", None)]
        {
            assert_ne!(other, lego);
        }
        // As it was before watches could ask.
        assert_eq!(none.to_string(), "8eb63c05-7be8-5ade-8b26-d3c8739484d3");
    }
}
