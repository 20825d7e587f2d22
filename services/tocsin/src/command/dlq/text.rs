//! How dead letters are shown on a terminal. Whatever came from outside is escaped, so that it moves no
//! cursor and paints nothing.

use crate::redrive::{Fate, ids};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use tocsin_domain::Position;
use tocsin_domain::dead_letter::{DeadDecision, DeadLetter, dump, escaped, shape};
use tocsin_stream::letters::{Letters, Summary};

/// How many letters a redrive shows one by one.
pub(super) const SHOWN: usize = 20;

/// What came of a redrive, in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sum {
    /// How many were looked at.
    pub letters: u64,
    /// Events that are written.
    pub written: u64,
    /// Events that stood there already.
    pub present: u64,
    /// Events that come after newer ones of their subject.
    pub late: u64,
    /// Letters of which nothing comes.
    pub nothing: u64,
    /// Letters that are still dead.
    pub dead: u64,
    /// Why, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// What is wrong with what is written all the same, and how often.
    pub told: BTreeMap<String, u64>,
}

impl Sum {
    pub fn take(&mut self, fate: &Fate) {
        self.letters += 1;
        self.written += fate.written.len() as u64;
        self.present += fate.present.len() as u64;
        self.late += fate.late as u64;
        self.nothing += u64::from(!fate.nothing.is_empty());
        for told in &fate.told {
            *self.told.entry(shape(told)).or_default() += 1;
        }
        if let Some(reason) = &fate.dead {
            self.dead += 1;
            *self.reasons.entry(shape(reason)).or_default() += 1;
        }
    }
}

pub(super) fn letter_json(letter: &DeadLetter, state: &str) -> Value {
    let mut all = json!(letter);
    all["group"] = json!(letter.group().hash());
    all["state"] = json!(state);
    all["shown"] = json!(dump(&letter.value));
    all
}

/// The groups, of which those in `open` have letters about which nothing is decided.
pub(super) fn list(
    groups: &[Summary],
    open: &[Summary],
    shown: &[DeadLetter],
    letters: &Letters,
) -> String {
    let mut out = String::new();
    for summary in groups {
        let Summary { hash, group, count, first, last, example } = summary;
        let group = escaped(&group.to_string());
        let left = open.iter().find(|open| open.hash == *hash).map_or(0, |open| open.count);
        let decided = match count - left {
            0 => String::new(),
            decided => format!("  ({decided} decided, {left} open)"),
        };
        let _ = writeln!(out, "{hash}  {count:>6}  {group}{decided}");
        let _ = writeln!(out, "          {first} to {last}, for example {example}");
    }
    for letter in shown {
        let (id, state) = (letter.id, letters.state(letter.id));
        let (place, reason) = (escaped(&place(letter)), escaped(&letter.reason));
        let _ = writeln!(out, "  {id}  {state}  {place}: {reason}");
    }
    if letters.unreadable > 0 {
        let _ = writeln!(out, "{} records of dead.letters cannot be read", letters.unreadable);
    }
    let count: u64 = groups.iter().map(|group| group.count).sum();
    let next = match open.first() {
        Some(group) => format!("; next: tocsin dlq redrive {}", group.hash),
        None => String::new(),
    };
    let _ = writeln!(out, "{count} letters in {} groups{next}", groups.len());
    out
}

/// Where it stood.
fn place(letter: &DeadLetter) -> String {
    match &letter.position {
        Some(position) if letter.origin.is_empty() => position.to_string(),
        _ => letter.origin.clone(),
    }
}

pub(super) fn show(
    letter: &DeadLetter,
    stands: &Position,
    decision: Option<&DeadDecision>,
    fate: Option<&Fate>,
) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: &str| _ = writeln!(out, "{label:<9} {}", escaped(text));
    line("letter", &letter.id.to_string());
    line("group", &letter.group().hash());
    line("service", &letter.service);
    line("source", &letter.source);
    if !letter.search.is_empty() {
        line("search", &letter.search);
    }
    line("topic", &letter.topic);
    line("stood at", &place(letter));
    line("stands at", &stands.to_string());
    line("at", &letter.at.to_string());
    line("class", &letter.class);
    line("reason", &letter.reason);
    line("decided", &decision.map_or("no, it is open".to_owned(), decided));
    line(
        "now",
        &fate.map_or("say --config, and it says what a redrive would do".to_owned(), Fate::words),
    );
    for (label, bytes) in [("key", &letter.key), ("head", &letter.head), ("bytes", &letter.value)] {
        let cut = if letter.cut && label == "bytes" { ", cut" } else { "" };
        let _ = writeln!(out, "{label} ({} bytes{cut})", bytes.len());
        // Escaped already, and a backslash of a dump is none.
        dump(bytes).iter().for_each(|line| _ = writeln!(out, "  {line}"));
    }
    out
}

fn decided(decision: &DeadDecision) -> String {
    let DeadDecision { verdict, reason, by, at, written, .. } = decision;
    let what = match verdict.as_str() {
        "dead" => "open, was redriven in vain",
        verdict => verdict,
    };
    let wrote =
        if written.is_empty() { String::new() } else { format!(", wrote {}", ids(written)) };
    format!("{what} by {by} at {at}{wrote}{}{reason}", if reason.is_empty() { "" } else { ": " })
}

pub(super) fn redrive(sum: &Sum, fates: &[Fate], done: bool) -> String {
    let mut out = String::new();
    for fate in fates {
        let text = fate.words().replace("would write", if done { "wrote" } else { "would write" });
        let _ = writeln!(out, "{}  {}: {}", fate.letter, escaped(&fate.origin), escaped(&text));
    }
    let more = sum.letters.saturating_sub(fates.len() as u64);
    if more > 0 {
        let _ = writeln!(out, "… and {more} more; --json shows them all");
    }
    for (reason, count) in &sum.reasons {
        let _ = writeln!(out, "still dead {count:>6}  {}", escaped(reason));
    }
    for (told, count) in &sum.told {
        let _ = writeln!(out, "and yet    {count:>6}  {}", escaped(told));
    }
    let Sum { letters, written, present, late, nothing, dead, .. } = sum;
    let verb = if done { "written" } else { "would be written" };
    let _ = writeln!(
        out,
        "{letters} letters: {written} events {verb}, {present} there already, {late} come late, nothing of {nothing}, {dead} still dead"
    );
    if !done {
        out.push_str("nothing was written; say --yes to do it\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::{Id, Micros};

    const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}x";

    #[test]
    fn nothing_from_outside_reaches_the_terminal_as_it_is() {
        let letter = DeadLetter {
            id: Id::default(),
            topic: HOSTILE.into(),
            position: None,
            origin: HOSTILE.into(),
            key: HOSTILE.into(),
            value: HOSTILE.into(),
            class: HOSTILE.into(),
            reason: HOSTILE.into(),
            service: HOSTILE.into(),
            at: Micros(0),
            source: HOSTILE.into(),
            head: b"\xff\x1b[2J".to_vec(),
            cut: true,
            search: String::new(),
        };
        let fate = Fate {
            origin: HOSTILE.into(),
            topic: HOSTILE.into(),
            dead: Some(HOSTILE.into()),
            written: vec![Id::default()],
            ..Fate::default()
        };
        let mut sum = Sum::default();
        sum.take(&fate);
        let stands = Position { topic: "dead.letters".into(), partition: 1, offset: 2 };
        let group = letter.group();
        let (hash, example) = (group.hash(), letter.id);
        let groups =
            [Summary { hash, group, count: 1, first: Micros(0), last: Micros(0), example }];
        for text in [
            show(&letter, &stands, None, Some(&fate)),
            redrive(&sum, &[fate], false),
            list(&groups, &groups, std::slice::from_ref(&letter), &Letters::default()),
        ] {
            assert!(text.contains("\\u{1b}[2J"), "{text:?}");
            assert!(
                !text.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_sum_counts_each_letter_once_for_each_thing_that_is_true_of_it() {
        let mut sum = Sum::default();
        sum.take(&Fate { written: vec![Id::default(); 2], late: 1, ..Fate::default() });
        sum.take(&Fate { present: vec![Id::default()], ..Fate::default() });
        sum.take(&Fate { nothing: "it is blank".into(), ..Fate::default() });
        sum.take(&Fate { dead: Some("\"a\" is bad".into()), ..Fate::default() });
        sum.take(&Fate { dead: Some("\"b\" is bad".into()), ..Fate::default() });
        let text = redrive(&sum, &[], true);
        let wanted =
            "5 letters: 2 events written, 1 there already, 1 come late, nothing of 1, 2 still dead";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("still dead      2  \"…\" is bad"), "{text}");
    }
}
