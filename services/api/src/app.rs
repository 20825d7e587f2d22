//! What the interface is given: the log, the store, and how a mail looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tocsin_domain::delivery::Delivery;
use tocsin_domain::wire::SchemaIds;
use tocsin_domain::{DEFAULT_TENANT, Micros};
use tocsin_service::Metrics;
use tocsin_store::Store;
use tocsin_stream::{Log, Worker};

/// A mail as it was, or will be, sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The subject line.
    pub subject: String,
    /// The plain part.
    pub text: String,
    /// The HTML part, a whole document; empty if there is none.
    pub html: String,
}

/// Renders a delivery as it was requested.
pub type Render = Arc<dyn Fn(&Delivery) -> Rendered + Send + Sync>;

/// Everything that answers are made of. Change the public fields before the router is made.
pub struct App {
    /// Where raw records, watches and conditions are.
    pub log: Arc<dyn Log>,
    /// Where the rows are.
    pub store: Arc<dyn Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How a mail looks.
    pub render: Render,
    /// Whether this process can do its work.
    pub ready: Ready,
    /// Whose rows are shown.
    pub tenant: String,
    /// The ids of a schema registry, for raw records.
    pub ids: SchemaIds,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    /// Whether the inbox reloads itself every two seconds.
    pub demo: bool,
    /// Publishes watches; made at the first use.
    pub(crate) worker: Mutex<Option<Box<dyn Worker>>>,
}

impl App {
    /// The default tenant, ready at once, with the system's clock.
    pub fn new(
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        render: Render,
    ) -> App {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        App {
            log,
            store,
            metrics,
            render,
            ready: Ready::default(),
            tenant: DEFAULT_TENANT.to_owned(),
            ids: SchemaIds::default(),
            clock: Arc::new(move || Micros(0).plus(now())),
            demo: false,
            worker: Mutex::default(),
        }
    }
}

/// Which parts of the process are not ready yet, and why. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Ready {
    /// Waits for these parts: each must say [`Ready::ok`].
    pub fn wait_for(parts: &[&'static str]) -> Ready {
        let ready = Ready::default();
        parts.iter().for_each(|part| ready.not(part, "is starting"));
        ready
    }

    /// The part does its work.
    pub fn ok(&self, part: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// The part does not do its work, and why.
    pub fn not(&self, part: &'static str, reason: &str) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(part, reason.to_owned());
    }

    /// The parts that are not ready; empty if all are.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
