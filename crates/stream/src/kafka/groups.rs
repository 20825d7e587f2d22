//! Groups from outside, while none of their members runs: who is in them, where they stand, and what
//! is put there when a whole log moves in. It joins none.

use crate::kafka::admin::{asked, block_on, refused};
use crate::kafka::client::Context;
use crate::kafka::cluster::CALL;
use crate::kafka::producer::offsets;
use crate::kafka::{KafkaAdmin, LOOK};
use crate::log::LogError;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tocsin_domain::TopicPartition;

impl KafkaAdmin {
    /// How many members the group has; none if there is no such group.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub fn members(&self, group: &str) -> Result<usize, LogError> {
        let begun = Instant::now();
        let asked = loop {
            match self.client.inner().fetch_group_list(Some(group), CALL) {
                Err(error) if is_loading(&error) && begun.elapsed() < CALL => {
                    std::thread::sleep(LOOK);
                }
                done => break done,
            }
        };
        let doing = format!("ask who is in group {group:?}");
        let found = asked.map_err(|error| self.options.unavailable(&doing, error))?;
        Ok(found.groups().iter().map(|group| group.members().len()).sum())
    }

    /// Where the group goes on in these partitions; those where it never was are not named.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub fn stands(
        &self,
        group: &str,
        places: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, u64>, LogError> {
        let found = committed(&self.options.outsider(group)?, places, CALL);
        let doing = format!("ask for the progress of group {group:?}");
        let found = found.map_err(|error| self.options.unavailable(&doing, error))?;
        Ok(found.into_iter().filter_map(|(at, next)| Some((at, next?))).collect())
    }

    /// Puts a group without members there.
    ///
    /// # Errors
    /// If the cluster does not answer, or the group has members.
    pub fn set_stands(
        &self,
        group: &str,
        stands: &BTreeMap<TopicPartition, u64>,
    ) -> Result<(), LogError> {
        if stands.is_empty() {
            return Ok(());
        }
        let outsider = self.options.outsider(group)?;
        let list = offsets(stands.iter().map(|(at, next)| (at, *next)));
        let doing = format!("set the progress of group {group:?}");
        list.and_then(|list| outsider.commit(&list, CommitMode::Sync))
            .map_err(|error| self.options.unavailable(&doing, error))
    }

    /// Deletes what is known of a group without members.
    ///
    /// # Errors
    /// If the cluster does not answer, or the group has members.
    pub fn forget_group(&self, group: &str) -> Result<(), LogError> {
        let done = block_on(self.client.delete_groups(&[group], &asked()));
        let doing = format!("delete group {group:?}");
        for one in done.map_err(|error| self.options.unavailable(&doing, error))? {
            match one {
                Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
                Err((_, code)) => return Err(refused(&doing, code)),
            }
        }
        Ok(())
    }

    /// Deletes the records before these offsets: the partitions then start there.
    ///
    /// # Errors
    /// If the cluster does not answer, or does not let us.
    pub fn cut(&self, starts: &BTreeMap<TopicPartition, u64>) -> Result<(), LogError> {
        if starts.is_empty() {
            return Ok(());
        }
        let failed = |error: KafkaError| self.options.unavailable("delete old records", error);
        let list = offsets(starts.iter().map(|(at, start)| (at, *start))).map_err(failed)?;
        let done = block_on(self.client.delete_records(&list, &asked())).map_err(failed)?;
        done.elements().iter().try_for_each(|one| one.error()).map_err(failed)
    }
}

/// A broker that has just become the coordinator of a group answers soon.
fn is_loading(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| {
        [CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator].contains(&code)
    })
}

/// Where the consumer's group stands with these.
pub(super) fn committed(
    consumer: &BaseConsumer<Context>,
    places: &[TopicPartition],
    wait: Duration,
) -> KafkaResult<BTreeMap<TopicPartition, Option<u64>>> {
    let mut found = BTreeMap::new();
    if places.is_empty() {
        return Ok(found);
    }
    let answered = consumer.committed_offsets(offsets(places.iter().map(|at| (at, 0)))?, wait)?;
    for element in answered.elements() {
        element.error()?;
        let next = match element.offset() {
            Offset::Offset(next) => u64::try_from(next).ok(),
            _ => None,
        };
        found.insert(TopicPartition::new(element.topic(), element.partition() as u32), next);
    }
    Ok(found)
}
