//! What topics there are and which offsets they hold, in memory: a poll that finds nothing new does
//! not go to the disk. The file is the truth; this follows it.

use crate::log::{LogError, Span};
use rusqlite::{Connection, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::{self, Retention, Topic};

/// How long a topic's records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    ForEver,
    For(Duration),
    /// The newest record of each key.
    Newest,
}

impl Keep {
    pub(crate) fn of(topic: &Topic) -> Keep {
        match topic.retention {
            Retention::Keep(topics::Keep::ForEver) => Keep::ForEver,
            Retention::Keep(topics::Keep::For(time)) => Keep::For(time),
            Retention::Compact => Keep::Newest,
        }
    }

    /// The column `keep` of the table `topics`.
    pub(crate) fn to_column(self) -> Option<i64> {
        match self {
            Keep::ForEver => None,
            Keep::For(time) => Some(time.as_micros().min(i64::MAX as u128) as i64),
            Keep::Newest => Some(-1),
        }
    }

    fn from_column(keep: Option<i64>) -> Keep {
        match keep {
            None => Keep::ForEver,
            Some(micros) if micros >= 0 => Keep::For(Duration::from_micros(micros as u64)),
            Some(_) => Keep::Newest,
        }
    }
}

/// One partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Its row in the table `parts`.
    pub(crate) id: i64,
    pub(crate) span: Span,
    pub(crate) keep: Keep,
}

/// All topics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    topics: HashMap<Arc<str>, Vec<Part>>,
}

impl Catalog {
    /// Reads it from the file.
    pub(crate) fn load(connection: &Connection) -> Result<Catalog> {
        let mut statement = connection.prepare_cached(
            "SELECT p.topic, p.id, t.keep, p.start, max(p.floor, coalesce(
                 (SELECT next FROM chunks WHERE part = p.id ORDER BY base DESC LIMIT 1), 0))
             FROM parts p JOIN topics t ON t.name = p.topic ORDER BY p.topic, p.partition",
        )?;
        let mut rows = statement.query([])?;
        let mut topics: HashMap<Arc<str>, Vec<Part>> = HashMap::new();
        while let Some(row) = rows.next()? {
            let span = Span { start: offset(row.get(3)?), end: offset(row.get(4)?) };
            let part = Part { id: row.get(1)?, span, keep: Keep::from_column(row.get(2)?) };
            topics.entry(row.get_ref(0)?.as_str()?.into()).or_default().push(part);
        }
        Ok(Catalog { topics })
    }

    /// How many partitions the topic has.
    pub(crate) fn partitions(&self, topic: &str) -> std::result::Result<u32, LogError> {
        self.topic(topic).map(|parts| parts.len() as u32)
    }

    /// One partition.
    pub(crate) fn part(&self, at: &TopicPartition) -> std::result::Result<Part, LogError> {
        let parts = self.topic(&at.topic)?;
        let part = parts.get(at.partition as usize).copied();
        part.ok_or_else(|| LogError::UnknownPartition(at.clone()))
    }

    /// Every partition.
    pub(crate) fn parts(&self) -> Vec<(TopicPartition, Part)> {
        let numbered = |(topic, parts): (&Arc<str>, &Vec<Part>)| {
            let topic = topic.clone();
            let at = move |i| TopicPartition { topic: topic.clone(), partition: i as u32 };
            parts.clone().into_iter().enumerate().map(move |(i, part)| (at(i), part))
        };
        self.topics.iter().flat_map(numbered).collect()
    }

    /// Follows a commit.
    pub(crate) fn set_end(&mut self, at: &TopicPartition, end: u64) {
        self.span_mut(at, |span| span.end = span.end.max(end));
    }

    /// Follows retention.
    pub(crate) fn set_start(&mut self, at: &TopicPartition, start: u64) {
        self.span_mut(at, |span| span.start = span.start.max(start));
    }

    fn span_mut(&mut self, at: &TopicPartition, change: impl FnOnce(&mut Span)) {
        let parts = self.topics.get_mut(&at.topic);
        if let Some(part) = parts.and_then(|parts| parts.get_mut(at.partition as usize)) {
            change(&mut part.span);
        }
    }

    fn topic(&self, name: &str) -> std::result::Result<&[Part], LogError> {
        let parts = self.topics.get(name).map(Vec::as_slice);
        parts.ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }
}

/// SQLite has signed numbers only; ours never come near the sign.
pub(crate) fn offset(column: i64) -> u64 {
    column.max(0) as u64
}
