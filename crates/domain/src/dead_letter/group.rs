//! Which dead letters have the same fault: who could not process them, where they were meant for,
//! and the reason without what differs from letter to letter. Pure text work.

use crate::Id;
use serde::Serialize;
use std::fmt;

/// Letters with one fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Group {
    /// Which service could not process them.
    pub service: String,
    /// The topic they were in, or were meant for.
    pub topic: String,
    /// A word for the kind of fault.
    pub class: String,
    /// The reason, with numbers and quoted texts masked.
    pub shape: String,
}

impl Group {
    /// The group of a letter.
    pub fn new(service: &str, topic: &str, class: &str, reason: &str) -> Group {
        let [service, topic, class] = [service, topic, class].map(str::to_owned);
        Group { service, topic, class, shape: shape(reason) }
    }

    /// A short name: eight hexadecimal digits, the same in every run.
    pub fn hash(&self) -> String {
        let parts = [&self.service, &self.topic, &self.class, &self.shape];
        let id = Id::of("dead-letter-group", &parts.map(|part| part.as_bytes()));
        id.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.service, self.topic, self.class, self.shape)
    }
}

/// A reason without what differs from letter to letter: `"12x"` is `"…"`, 17 is `#`, and so is a word
/// of hexadecimal digits; a list of bytes is `[…]`. Names in backticks stay.
pub fn shape(reason: &str) -> String {
    let mut out = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' => {
                out.push_str("\"…\"");
                after_quote(&rest[1..])
            }
            '[' => bytes_list(rest, &mut out),
            c if c.is_ascii_alphanumeric() => word(rest, &mut out),
            c => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    out
}

/// What stands behind the closing quote; nothing if there is none. A backslash takes its next
/// character along.
fn after_quote(text: &str) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// `[7b, 22]` differs in every letter; any other bracket is text.
fn bytes_list<'a>(text: &'a str, out: &mut String) -> &'a str {
    let is_byte = |c: char| c.is_ascii_hexdigit() || c == ',' || c == ' ';
    match text[1..].split_once(']') {
        Some((inner, rest)) if inner.chars().all(is_byte) => {
            out.push_str("[…]");
            rest
        }
        _ => {
            out.push('[');
            &text[1..]
        }
    }
}

/// A word of letters and digits; a number takes its fraction and its thousands along.
fn word<'a>(text: &'a str, out: &mut String) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (found, mut rest) = text.split_at(end);
    let is_number =
        found.bytes().any(|b| b.is_ascii_digit()) && found.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_number {
        let mut in_digits = false;
        for c in found.chars() {
            match c.is_ascii_digit() {
                true if in_digits => {}
                true => out.push('#'),
                false => out.push(c),
            }
            in_digits = c.is_ascii_digit();
        }
        return rest;
    }
    out.push('#');
    while let Some(further) = rest.strip_prefix(['.', ',', ':']) {
        let digits = further.find(|c: char| !c.is_ascii_digit()).unwrap_or(further.len());
        if digits == 0 {
            break;
        }
        rest = &further[digits..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_letter_to_letter_is_masked() {
        for (reason, wanted) in [
            ("m \"999x\" is not a number", "m \"…\" is not a number"),
            (
                "the row has 1 fields and none in column `a 7`",
                "the row has # fields and none in column `a #`",
            ),
            ("\"a \\\" b\" is no time", "\"…\" is no time"),
            ("\"never closed", "\"…\""),
            ("begins with [7b, 22, ff]: it", "begins with […]: it"),
            ("one of [a b c] x", "one of […] x"),
            ("one of [csv, json] x", "one of [csv, json] x"),
            ("schema 00deadbeef00 is none", "schema # is none"),
            ("limit 1.234,5, at 12:30:01.", "limit #, at #."),
            ("say encoding = \"latin-1\"", "say encoding = \"…\""),
            ("ISO 8601 and UTF8", "ISO # and UTF#"),
            ("größer als 3 µs", "größer als # µs"),
            ("", ""),
        ] {
            assert_eq!(shape(reason), wanted, "{reason}");
        }
    }

    #[test]
    fn a_group_is_the_fault_and_not_the_letter() {
        let group = |reason: &str| Group::new("ingest", "aqi.readings", "value", reason);
        let (a, b) = (group("x \"1\" is bad, allowed: 2"), group("x \"22\" is bad, allowed: 3"));
        assert_eq!((&a, a.hash()), (&b, b.hash()));
        assert_ne!(a.hash(), group("y \"1\" is bad, allowed: 2").hash());
        assert_ne!(a.hash(), Group { class: "time".into(), ..a.clone() }.hash());
        assert_eq!(a.hash().len(), 8);
    }
}
