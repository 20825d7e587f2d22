//! Making topics. What a topic is made with follows from topics.yaml and nothing else.

use crate::kafka::client::{Context, KafkaOptions};
use crate::kafka::cluster::CALL;
use crate::log::LogError;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use tocsin_domain::topics::{Keep, Retention, Topic};

/// The configuration that a topic of Tocsin has on the broker.
pub fn topic_config(topic: &Topic) -> BTreeMap<&'static str, String> {
    let mut config = BTreeMap::from([
        // Records of up to 8 MB; what is larger is refused before it is written.
        ("max.message.bytes", "8388608".to_owned()),
        ("message.timestamp.type", "CreateTime".to_owned()),
    ]);
    match topic.retention {
        Retention::Compact => {
            config.insert("cleanup.policy", "compact".to_owned());
            // Longer than a snapshot is trusted: see `snapshot::OLDEST`.
            config.insert("delete.retention.ms", "86400000".to_owned());
        }
        Retention::Keep(keep) => {
            config.insert("cleanup.policy", "delete".to_owned());
            let millis = match keep {
                Keep::ForEver => "-1".to_owned(),
                Keep::For(time) => time.as_millis().to_string(),
            };
            config.insert("retention.ms", millis);
        }
    }
    config
}

/// Makes topics that do not exist; one that somebody else made meanwhile is none of our business.
pub(super) fn create(options: &KafkaOptions, topics: &[&Topic]) -> Result<(), LogError> {
    let failed = |error: KafkaError| options.unavailable("create topics", error);
    let admin: AdminClient<Context> =
        options.config()?.create_with_context(Context::default()).map_err(failed)?;
    let configs: Vec<_> = topics.iter().map(|topic| topic_config(topic)).collect();
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .zip(&configs)
        .map(|(topic, config)| {
            let copies = TopicReplication::Fixed(options.replication);
            let new = NewTopic::new(&topic.name, topic.partitions as i32, copies);
            config.iter().fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    let asked = AdminOptions::new().operation_timeout(Some(CALL)).request_timeout(Some(CALL));
    for made in block_on(admin.create_topics(&new, &asked)).map_err(failed)? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(LogError::Refused(format!(
                    "the cluster does not create topic {topic:?}: {code}"
                )));
            }
        }
    }
    Ok(())
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
    use tocsin_domain::topics::Topics;

    #[test]
    fn every_topic_is_compacted_or_kept_by_time() {
        for topic in Topics::builtin().iter() {
            let config = topic_config(topic);
            match topic.is_compacted() {
                true => assert_eq!(config["cleanup.policy"], "compact", "{}", topic.name),
                false => assert!(config["retention.ms"].parse::<i64>().is_ok(), "{}", topic.name),
            }
        }
    }
}
