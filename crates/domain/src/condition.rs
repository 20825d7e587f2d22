//! A condition: detector + subject + parameters. Many watches share one, and it is evaluated once.

use crate::Id;
use serde::{Deserialize, Serialize};

/// Stands in `subject` for every subject.
pub const EVERY_SUBJECT: &str = "*";

/// What a detector is asked to look for. Key of its topic: `tenant/id`, compacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// UUIDv5 of tenant, name, detector and subject: it stays when the parameters change.
    pub id: Id,
    /// The namespace.
    pub tenant: String,
    /// What people call it, for example `pm25-unhealthy`.
    pub name: String,
    /// The kind of detector: `threshold`, `high-volume-sales`, `anomaly`.
    pub detector: String,
    /// One subject, or [`EVERY_SUBJECT`].
    pub subject: String,
    /// The detector's parameters as JSON with sorted keys.
    pub params: String,
    /// The first eight hex digits of the parameters' UUIDv5: what `why` calls the rule's version.
    pub version: String,
    /// Whether it is evaluated; a condition that was removed stays in old alerts by its name.
    pub active: bool,
}

impl Condition {
    /// A condition with its derived id and version. `params` is JSON; its keys are sorted here.
    pub fn new(
        tenant: &str,
        name: &str,
        detector: &str,
        subject: &str,
        params: &serde_json::Value,
    ) -> Condition {
        let parts = [tenant, name, detector, subject].map(str::as_bytes);
        // `serde_json::Value` keeps its keys sorted, so the text is canonical.
        let params = params.to_string();
        let version = Id::of("condition-version", &[params.as_bytes()]).to_string();
        Condition {
            id: Id::of("condition", &parts),
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            detector: detector.to_owned(),
            subject: subject.to_owned(),
            params,
            version: version.chars().take(8).collect(),
            active: true,
        }
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
