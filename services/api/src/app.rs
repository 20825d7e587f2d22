//! What the interface is given: the log, the store, and how a mail looks.

use crate::upstreams::Upstreams;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::delivery::Delivery;
use tocsin_domain::wire::SchemaIds;
use tocsin_domain::{DEFAULT_TENANT, Micros};
use tocsin_service::{Health, Metrics};
use tocsin_store::Store;
use tocsin_stream::letters::Letters;
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

/// Says of each of these dead letters, which are in the order of the log, what a redrive of them would
/// do now.
pub type Redrive = Arc<dyn Fn(&[DeadLetter]) -> Vec<String> + Send + Sync>;

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
    /// Whether this process lives and can do its work.
    pub health: Health,
    /// Whose rows are shown.
    pub tenant: String,
    /// The ids of a schema registry, for raw records.
    pub ids: SchemaIds,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    /// Whether the inbox reloads itself every two seconds.
    pub demo: bool,
    /// Knows what a redrive would do; `None`: nobody here does.
    pub redrive: Option<Redrive>,
    /// Tells this process from others that publish watches.
    pub slot: u32,
    /// How the sources stand that are asked, as far as it was read.
    pub(crate) upstreams: Mutex<Upstreams>,
    /// Publishes watches; made at the first use.
    pub(crate) worker: Mutex<Option<Box<dyn Worker>>>,
    /// The dead letters, as far as they were read.
    pub(crate) letters: Mutex<Letters>,
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
            health: Health::default(),
            tenant: DEFAULT_TENANT.to_owned(),
            ids: SchemaIds::default(),
            clock: Arc::new(move || Micros(0).plus(now())),
            demo: false,
            redrive: None,
            slot: 0,
            upstreams: Mutex::default(),
            worker: Mutex::default(),
            letters: Mutex::default(),
        }
    }
}
