//! The chain as text, for the command line: from the mail downwards, each step indented once more.

use super::{Because, Found, Happened, RawEvent, Why};
use std::fmt::Write as _;

impl Why {
    /// The chain for people who read a terminal. Control characters in what came from outside are
    /// shown and not obeyed.
    pub fn to_text(&self) -> String {
        let mut out = format!("mail      {}\nto        {}\n", self.message_id, self.address);
        for fact in &self.facts {
            let _ = writeln!(out, "delivery  {}", happened(fact));
        }
        self.because.iter().for_each(|because| add(because, &mut out));
        out.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
    }
}

fn happened(fact: &Happened) -> String {
    let mut line = format!("{} {}", fact.at, fact.state);
    if fact.attempt > 0 {
        let _ = write!(line, " (attempt {})", fact.attempt);
    }
    if !fact.reason.is_empty() {
        let _ = write!(line, ": {}", fact.reason.replace('\n', " "));
    }
    if let Some(next) = fact.next_attempt_at {
        let _ = write!(line, ", again at {next}");
    }
    line
}

fn add(because: &Because, out: &mut String) {
    let alert = &because.alert;
    let watch = match &because.watch {
        Some(watch) if watch.active => "active",
        Some(_) => "switched off since",
        None => "gone since",
    };
    let _ = writeln!(out, "because");
    let _ = writeln!(out, "  notice  {} at {}", because.notice, because.matched_at);
    let _ = writeln!(out, "  watch   {} ({watch})", because.watch_id);
    let _ = writeln!(
        out,
        "  alert   {} {} at {}: {} {} {} {}{}{}",
        alert.condition_name,
        alert.state.as_str(),
        alert.event_time,
        alert.shown_subject(),
        alert.measure,
        alert.value,
        alert.unit,
        labelled(", ", &alert.band),
        labelled(", limit ", &alert.limit),
    );
    let _ = writeln!(out, "  rule    {} version {}", alert.detector, alert.condition_version);
    match &because.rule {
        Some(rule) if because.rule_decided => {
            let _ = writeln!(out, "          {}", rule.params);
        }
        Some(rule) => {
            let _ = writeln!(out, "          today {}: {}", rule.version, rule.params);
        }
        None => {
            let _ = writeln!(out, "          the log no longer has its parameters");
        }
    }
    let _ = writeln!(out, "  before  {}\n  after   {}", because.before, because.after);
    because.events.iter().for_each(|event| add_event(event, out));
}

fn labelled(label: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{label}{text}") }
}

fn add_event(event: &RawEvent, out: &mut String) {
    match &event.found {
        Found::Record { origin, value, hex, .. } => {
            let _ = writeln!(out, "  event   {}{}", event.position, labelled(" from ", origin));
            let _ = writeln!(out, "          {value}\n          {hex}");
        }
        Found::Gone { gone } => {
            let _ = writeln!(out, "  event   {}\n          {gone}", event.position);
        }
    }
}
