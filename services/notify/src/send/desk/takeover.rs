//! How partitions come and go: what is taken up, once it can be seen how it was left, and what is
//! left to others. It starts nothing.

use super::super::window::{Record, Window};
use super::{Desk, SendError};
use tocsin_domain::{TopicPartition, topics};
use tocsin_stream::{Log, LogError, Progress};

impl Desk<'_> {
    /// Partitions are ours. Nobody else writes to their changelogs any more, and where they end is
    /// known.
    pub(super) fn assign(&mut self, partitions: &[u32]) -> Result<(), SendError> {
        for partition in partitions {
            let end = self.sender.log.undecided_end(&changelog(*partition))?;
            self.coming.insert(*partition, end);
        }
        self.take_up()?;
        self.tell();
        Ok(())
    }

    /// Goes on in the partitions of which it can be seen by now how they were left.
    pub(super) fn take_up(&mut self) -> Result<(), SendError> {
        if self.coming.is_empty() {
            return Ok(());
        }
        let log = &*self.sender.log;
        let places: Vec<TopicPartition> = self.coming.keys().map(|at| changelog(*at)).collect();
        let ends = places.iter().zip(log.ends(&places)?);
        let decided: Vec<u32> = ends
            .filter(|(at, end)| self.coming.get(&at.partition) <= Some(end))
            .map(|(at, _)| at.partition)
            .collect();
        for partition in &decided {
            let at = TopicPartition::new(topics::DELIVERIES, *partition);
            let progress = match self.worker.committed(&at)? {
                Some(progress) => progress,
                None => log.span(&at)?.start,
            };
            let window = Window::new(progress, restore(log, &changelog(*partition))?);
            self.windows.insert(*partition, window);
            self.coming.remove(partition);
        }
        if !decided.is_empty() {
            self.worker.open(&decided);
            self.tell();
        }
        Ok(())
    }

    pub(super) fn revoke(&mut self, partitions: &[u32], lost: bool) -> Result<(), SendError> {
        if !lost {
            self.commit(0)?;
        }
        self.coming.retain(|partition, _| !partitions.contains(partition));
        self.windows.retain(|partition, _| !partitions.contains(partition));
        self.outcomes.retain(|(partition, _), _| !partitions.contains(partition));
        self.running.retain(|(partition, _), running| {
            let ours = !partitions.contains(partition);
            if !ours {
                running.task.abort();
            }
            ours
        });
        self.tell();
        Ok(())
    }

    /// Tells what it has, and how far it is there.
    pub(super) fn tell(&self) {
        let position = |(partition, window): (&u32, &Window)| {
            (TopicPartition::new(topics::DELIVERIES, *partition), window.progress())
        };
        let observer = &self.sender.options.observer;
        observer.tell(Progress::Positions(&self.windows.iter().map(position).collect()));
        let ours: Vec<u32> = self.windows.keys().copied().collect();
        observer.tell(Progress::Assigned(&ours));
        let waits =
            (self.coming.len(), "what was sent from them last is committed and not to be seen yet");
        observer.tell(Progress::Waits(Some(waits).filter(|(count, _)| *count > 0)));
    }
}

/// Where the records of a partition are.
fn changelog(partition: u32) -> TopicPartition {
    TopicPartition::new(topics::NOTIFY_SENDS_CHANGELOG, partition)
}

/// The last record in the changelog of a partition; `None` if nobody ever sent from it.
fn restore(log: &dyn Log, at: &TopicPartition) -> Result<Option<Record>, LogError> {
    let key = at.partition.to_string();
    let mut found = None;
    log.scan_all(at, |record| {
        if record.key != key.as_bytes() {
            return Ok(());
        }
        found = match record.value.map(Record::decode) {
            None => None,
            Some(Some(state)) => Some(state),
            Some(None) => {
                let reason = "the sender's record cannot be read".to_owned();
                return Err(LogError::Damaged { at: at.clone(), offset: record.offset, reason });
            }
        };
        Ok(())
    })?;
    Ok(found)
}
