//! What a cluster is asked and told about its topics. What they should be is decided elsewhere, see
//! `topics`. It deletes no topic and adds no partitions.

use crate::kafka::LOOK;
use crate::kafka::client::{Context, KafkaOptions};
use crate::kafka::cluster::CALL;
use crate::kafka::topics::{Change, Config, Found, Wanted};
use crate::log::LogError;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigResource, ConfigSource, NewTopic,
    OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

/// A cluster, for whoever looks after its topics.
pub struct KafkaAdmin {
    pub(super) options: KafkaOptions,
    pub(super) client: AdminClient<Context>,
    cluster: String,
}

impl KafkaAdmin {
    /// Connects to the cluster.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the options are wrong or the cluster is not the one that they name,
    /// [`LogError::Unavailable`] if it does not answer within 30 s.
    pub fn connect(options: KafkaOptions) -> Result<KafkaAdmin, LogError> {
        let client: AdminClient<Context> = options
            .config()?
            .create_with_context(Context::default())
            .map_err(|error| options.not_started(error))?;
        let cluster = options.guard(client.inner())?;
        Ok(KafkaAdmin { options, client, cluster })
    }

    /// What the cluster calls itself.
    pub fn cluster_id(&self) -> &str {
        &self.cluster
    }

    /// Every topic of the cluster; those of `wanted` with all of their configuration.
    ///
    /// # Errors
    /// If the cluster does not answer, or does not let us ask.
    pub fn found(&self, wanted: &[Wanted]) -> Result<BTreeMap<String, Found>, LogError> {
        let failed = |error| self.options.unavailable("ask for the topics", error);
        let metadata = self.client.inner().fetch_metadata(None, CALL).map_err(failed)?;
        let mut found = BTreeMap::new();
        for topic in metadata.topics() {
            if let Some(code) = topic.error() {
                // To take it for a topic that is not there would be to create it.
                match wanted.iter().any(|wanted| wanted.name == topic.name()) {
                    true => return Err(failed(KafkaError::MetadataFetch(code.into()))),
                    false => continue,
                }
            }
            let copies = topic.partitions().iter().map(|partition| partition.replicas().len());
            let replication = copies.min().unwrap_or_default() as u32;
            let partitions = topic.partitions().len() as u32;
            let one = Found { partitions, replication, config: Config::new() };
            found.insert(topic.name().to_owned(), one);
        }
        let names = wanted.iter().map(|wanted| wanted.name.as_str());
        let there: Vec<&str> = names.filter(|name| found.contains_key(*name)).collect();
        for (topic, entries) in self.configs(&there)? {
            let valued = |entry: ConfigEntry| Some((entry.name, entry.value?));
            if let Some(found) = found.get_mut(&topic) {
                found.config = entries.into_iter().filter_map(valued).collect();
            }
        }
        Ok(found)
    }

    /// Does what [`Change`]s want; those that nobody does are passed over. A topic that somebody else
    /// creates meanwhile is none of our business.
    ///
    /// # Errors
    /// What the cluster refuses first; what was done before stays done.
    pub fn apply(&self, changes: &[Change]) -> Result<(), LogError> {
        let new = |change: &Change| match change {
            Change::Create(wanted) => Some(wanted.clone()),
            _ => None,
        };
        self.create(&changes.iter().filter_map(new).collect::<Vec<_>>())?;
        let mut set: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for change in changes {
            if let Change::Configure { topic, name, to, .. } = change {
                set.entry(topic).or_default().push((name, to));
            }
        }
        self.configure(&set)
    }

    /// Makes topics that do not exist.
    pub(super) fn create(&self, topics: &[Wanted]) -> Result<(), LogError> {
        if topics.is_empty() {
            return Ok(());
        }
        let new = topics.iter().map(|topic| {
            let copies = TopicReplication::Fixed(topic.replication);
            let new = NewTopic::new(&topic.name, topic.partitions as i32, copies);
            topic.config.iter().fold(new, |new, (name, value)| new.set(name, value))
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        let failed = |error| self.options.unavailable("create topics", error);
        for made in block_on(self.client.create_topics(&new, &asked())).map_err(failed)? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(refused(&format!("create topic {topic:?}"), code));
                }
            }
        }
        topics.iter().try_for_each(|topic| self.await_leaders(topic))
    }

    /// A topic that was created is shown before its leaders answer; whoever starts next needs them.
    fn await_leaders(&self, topic: &Wanted) -> Result<(), LogError> {
        let end = Instant::now() + CALL;
        let client = self.client.inner();
        for partition in 0..topic.partitions as i32 {
            while let Err(error) = client.fetch_watermarks(&topic.name, partition, CALL) {
                if Instant::now() > end {
                    let doing = format!("find the leaders of the new topic {:?}", topic.name);
                    return Err(self.options.unavailable(&doing, error));
                }
                std::thread::sleep(LOOK);
                // The client believes for minutes what it heard of a topic first, be it half of it.
                // How this question ends does not matter: the one above is asked again.
                let _ = client.fetch_metadata(Some(&topic.name), CALL);
            }
        }
        Ok(())
    }

    /// Sets configuration. Kafka's call that librdkafka has replaces all that was ever set of a topic,
    /// so that it is read first, now, and said again.
    fn configure(&self, set: &BTreeMap<&str, Vec<(&str, &str)>>) -> Result<(), LogError> {
        let topics: Vec<&str> = set.keys().copied().collect();
        for (topic, entries) in self.configs(&topics)? {
            let mut all = kept(&topic, entries)?;
            let wanted = set.get(topic.as_str()).into_iter().flatten();
            all.extend(wanted.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            let specifier = ResourceSpecifier::Topic(&topic);
            let alter = all.iter().fold(AlterConfig::new(specifier), |a, (n, v)| a.set(n, v));
            let failed = |error| self.options.unavailable("configure a topic", error);
            let done = block_on(self.client.alter_configs(&[alter], &asked())).map_err(failed)?;
            if let Some(Err((_, code))) = done.into_iter().next() {
                return Err(refused(&format!("configure topic {topic:?}"), code));
            }
        }
        Ok(())
    }

    fn configs(&self, topics: &[&str]) -> Result<Vec<(String, Vec<ConfigEntry>)>, LogError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let which: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let failed = |error| self.options.unavailable("ask for the topics' configuration", error);
        let answers = block_on(self.client.describe_configs(&which, &asked())).map_err(failed)?;
        let mut found = Vec::new();
        for answer in answers {
            let ConfigResource { specifier, entries } =
                answer.map_err(|code| refused("describe the configuration of topics", code))?;
            if let OwnedResourceSpecifier::Topic(topic) = specifier {
                found.push((topic, entries));
            }
        }
        Ok(found)
    }
}

/// What somebody has set of a topic itself, which a new setting must not undo.
fn kept(topic: &str, entries: Vec<ConfigEntry>) -> Result<Config, LogError> {
    let set = entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    let named = |entry: ConfigEntry| match entry.value {
        Some(value) => Ok((entry.name, value)),
        None => Err(LogError::Refused(format!(
            "cannot configure topic {topic:?}: its {:?} is set and the cluster does not show to what, so that it would be lost; set what is wanted with kafka-configs",
            entry.name
        ))),
    };
    set.map(named).collect()
}

pub(super) fn refused(doing: &str, code: RDKafkaErrorCode) -> LogError {
    LogError::Refused(format!("the cluster does not {doing}: {code}"))
}

pub(super) fn asked() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(CALL)).request_timeout(Some(CALL))
}

/// Waits for a future on this thread. The admin client's own thread completes it.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: Option<&str>, source: ConfigSource) -> ConfigEntry {
        ConfigEntry {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            source,
            is_read_only: false,
            is_default: false,
            is_sensitive: value.is_none(),
        }
    }

    #[test]
    fn what_was_set_is_said_again_and_what_is_not_shown_is_not_lost() {
        let entries = vec![
            entry("segment.ms", Some("1"), ConfigSource::DynamicTopic),
            entry("retention.ms", Some("2"), ConfigSource::StaticBroker),
            entry("cleanup.policy", Some("delete"), ConfigSource::Default),
        ];
        let all = kept("t", entries).unwrap();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [("segment.ms".into(), "1".into())]);
        let hidden = vec![entry("secret.key", None, ConfigSource::DynamicTopic)];
        let error = kept("t", hidden).unwrap_err().to_string();
        assert!(error.contains("\"secret.key\"") && error.contains("\"t\""), "{error}");
    }
}
