//! A member's place in its group: how the client is made that takes it, and another one if the first
//! has lost it and never asks for it again. It looks after no partitions.

use crate::kafka::client::{Context, KafkaOptions};
use crate::log::{LogError, WorkerSpec};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is asked whether the broker answers while there is no place; whoever has none the
/// second time hangs. After a broker that told of no brokers, as one does that comes back, librdkafka
/// 2.12 may wait for ever for one that it has let go.
const STRANDED: Duration = Duration::from_secs(30);

/// A place in a group.
pub(super) struct Place {
    options: KafkaOptions,
    config: ClientConfig,
    /// Since when there is none; `None` before the first as well.
    lost: Option<Instant>,
    /// Whether the broker answered when it was asked last.
    answered: bool,
    /// Whether the client is of no use any more.
    hopeless: bool,
}

impl Place {
    pub(super) fn new(options: &KafkaOptions, spec: &WorkerSpec) -> Result<Place, LogError> {
        let mut config = options.reader("read_committed")?;
        config
            .set("group.id", &spec.group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", "500");
        if options.pinned {
            config.set("group.instance.id", &spec.id);
        }
        Ok(Place { options: options.clone(), config, lost: None, answered: false, hopeless: false })
    }

    /// A client that has not joined yet.
    pub(super) fn client(&self) -> Result<Arc<BaseConsumer<Context>>, LogError> {
        let made = self.config.create_with_context(Context::default());
        let failed = |error: KafkaError| self.options.unavailable("start a consumer", error);
        Ok(Arc::new(made.map_err(failed)?))
    }

    /// The group went on without this member.
    pub(super) fn lose(&mut self) {
        (self.lost, self.answered) = (Some(Instant::now()), false);
    }

    /// Whether the client only fenced itself. When a session has run out, librdkafka 2.12 forgets who a static
    /// member is and says one more time that it lives; the broker takes that for a rival (its issue 3437).
    /// A true rival comes while there is a place.
    pub(super) fn fences_itself(&mut self, context: &Context) -> bool {
        self.hopeless |= self.lost.is_some() || context.loses();
        self.hopeless
    }

    /// The group has given it something, perhaps nothing.
    pub(super) fn find(&mut self) {
        self.lost = None;
    }

    /// A client that may do better than one that has been without a place for long.
    ///
    /// # Errors
    /// If this process may not use the cluster any more.
    pub(super) fn again(&mut self) -> Result<Option<Arc<BaseConsumer<Context>>>, LogError> {
        if std::mem::take(&mut self.hopeless) {
            return self.client().map(Some);
        }
        if self.lost.is_none_or(|since| since.elapsed() < STRANDED) {
            return Ok(None);
        }
        self.lost = Some(Instant::now());
        let client = self.client()?;
        let answers = match self.options.guard(client.client()) {
            Ok(_) => true,
            Err(LogError::Unavailable(_)) => false,
            Err(error) => return Err(error),
        };
        // Right after its return a client that does not hang may still be joining.
        let hangs = answers && self.answered;
        self.answered = answers && !hangs;
        if hangs {
            tracing::warn!("the Kafka client does not join its group again; taking another one");
        }
        Ok(hangs.then_some(client))
    }
}
