//! The hashes of a whole log, a line for each partition, so that a log and its copy can be compared.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use tocsin_domain::TopicPartition;
use tocsin_domain::topics::{Topic, Topics};
use tocsin_stream::fingerprint::{Fingerprint, View};
use tocsin_stream::{Log, LogError};

/// Every partition of every topic, in the order of topics.yaml.
pub fn places() -> impl Iterator<Item = (&'static Topic, TopicPartition)> {
    let of = |topic: &'static Topic| {
        let place = move |partition| (topic, TopicPartition::new(&topic.name, partition));
        (0..topic.partitions).map(place)
    };
    Topics::builtin().iter().flat_map(of)
}

/// The hashes of a log. Topics that it does not have yet are empty.
///
/// # Errors
/// If the log does not answer.
pub fn take(log: &dyn Log) -> anyhow::Result<Vec<Fingerprint>> {
    let bar = bar("reading", places().count() as u64);
    let mut taken = Vec::new();
    for (topic, at) in places() {
        match Fingerprint::take(log, &at, View::of(topic)) {
            Ok(found) => taken.push(found),
            Err(LogError::UnknownTopic(_)) => {}
            Err(error) => return Err(crate::backend::of_log(error)),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(taken)
}

/// Prints them, as text or as one JSON document.
///
/// # Errors
/// If nobody reads.
pub fn print(hashes: &[Fingerprint], as_json: bool) -> anyhow::Result<()> {
    let text = match as_json {
        true => {
            format!("{}\n", json!({ "partitions": hashes.iter().map(entry).collect::<Vec<_>>() }))
        }
        false => hashes.iter().map(|one| format!("{one}\n")).collect(),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn entry(one: &Fingerprint) -> Value {
    json!({
        "topic": &*one.at.topic,
        "partition": one.at.partition,
        "start": one.span.start,
        "end": one.span.end,
        "of": one.view.word(),
        "count": one.count,
        "hash": one.hash.to_string(),
    })
}

/// A line for each partition of which the copy does not hold what the original holds.
pub fn differences(original: &[Fingerprint], copy: &[Fingerprint]) -> Vec<String> {
    let other = |one: &Fingerprint| copy.iter().find(|other| other.at == one.at);
    let line = |one: &Fingerprint| match other(one) {
        Some(found) if found == one => None,
        Some(found) => Some(format!("{one}, but the copy has {found}")),
        None => Some(format!("{one}, but the copy does not have it")),
    };
    original.iter().filter_map(line).collect()
}

/// A bar on standard error; nothing where nobody looks.
pub fn bar(doing: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
    if std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.with_message(doing.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_stream::fingerprint::Digest;
    use tocsin_stream::log::Span;

    #[test]
    fn a_difference_of_any_kind_is_one_line() {
        let one = |partition, end, key: &[u8]| {
            let (at, span) = (TopicPartition::new("t", partition), Span { start: 0, end });
            let mut digest = Digest::default();
            digest.part(key);
            Fingerprint { at, span, view: View::Records, count: 1, hash: digest.hash() }
        };
        let original = [one(0, 5, b"a"), one(1, 5, b"b"), one(2, 5, b"c"), one(3, 5, b"d")];
        let copy = [one(0, 5, b"a"), one(1, 6, b"b"), one(2, 5, b"x")];
        let lines = differences(&original, &copy);
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, start) in lines.iter().zip(["t/1  0..5", "t/2  0..5", "t/3  0..5"]) {
            assert!(line.starts_with(start), "{line}");
        }
    }
}
