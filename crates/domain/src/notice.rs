//! A notice: an alert that has been matched with one watch.

use crate::alert::Alert;
use crate::{Id, Micros};
use serde::{Deserialize, Serialize};

/// Alert × watch. Key of its topic: `tenant/subscriber`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// UUIDv5 of alert and watch.
    pub id: Id,
    /// The namespace.
    pub tenant: String,
    /// Whose watch it was.
    pub subscriber: Id,
    /// The watch.
    pub watch: Id,
    /// The channel that the watch asks for.
    pub channel: String,
    /// The alert, whole: whoever reads the notice needs no second look-up.
    pub alert: Alert,
    /// When it was matched.
    pub at: Micros,
}

impl Notice {
    /// The id of an alert that meets a watch.
    pub fn id_of(alert: Id, watch: Id) -> Id {
        Id::of("notice", &[alert.as_bytes(), watch.as_bytes()])
    }

    /// The key of its record.
    pub fn key(&self) -> String {
        crate::subscriber::subscriber_key(&self.tenant, self.subscriber)
    }
}
