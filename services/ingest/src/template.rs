//! What stands for a value in `[[sources]]`: `"{City}"`, `"{State}/{County}"` or a constant.
//! Compiled once: names become slots, so that a row costs no look-up by name.

use std::borrow::Cow;

/// A compiled value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// The same text in every row.
    Constant(String),
    /// One field.
    Slot(usize),
    /// Fields and text between them.
    Parts(Vec<Part>),
}

/// A piece of a [`Template::Parts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// A field.
    Slot(usize),
}

/// The fields that templates name, in the order of their slots.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// Column names, or paths such as `price.value`.
    pub names: Vec<String>,
}

impl Slots {
    fn slot(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

/// One row's fields, by slot.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What the spans point into.
    pub text: &'a str,
    /// Where each slot's field begins and ends.
    pub spans: &'a [(usize, usize)],
}

impl<'a> Row<'a> {
    /// The field of a slot without blanks around it; empty if the row has none.
    pub fn get(&self, slot: usize) -> &'a str {
        let (start, end) = self.spans.get(slot).copied().unwrap_or_default();
        self.text.get(start..end).unwrap_or_default().trim()
    }
}

impl Template {
    /// Compiles `text`; the fields that it names get slots.
    ///
    /// # Errors
    /// If a brace has no partner or names nothing.
    pub fn compile(text: &str, slots: &mut Slots) -> Result<Template, String> {
        let wrong = |what: &str| {
            format!("{text:?} {what}; a field is written {{name}}, a brace itself {{{{ or }}}}")
        };
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(doubled) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = doubled;
                continue;
            }
            let (name, behind) = match after.split_once('}') {
                Some(split) if brace == "{" => split,
                _ => return Err(wrong("has a brace without its partner")),
            };
            if name.trim().is_empty() {
                return Err(wrong("names no field between its braces"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Slot(slots.slot(name.trim())));
            rest = behind;
        }
        plain.push_str(rest);
        Ok(match (parts.as_slice(), plain.is_empty()) {
            ([], _) => Template::Constant(plain),
            ([Part::Slot(slot)], true) => Template::Slot(*slot),
            (_, true) => Template::Parts(parts),
            (_, false) => {
                parts.push(Part::Text(plain));
                Template::Parts(parts)
            }
        })
    }

    /// The first field that it names.
    pub fn slot(&self) -> Option<usize> {
        match self {
            Template::Constant(_) => None,
            Template::Slot(slot) => Some(*slot),
            Template::Parts(parts) => parts.iter().find_map(|part| match part {
                Part::Slot(slot) => Some(*slot),
                Part::Text(_) => None,
            }),
        }
    }

    /// The value in `row`.
    pub fn render<'a>(&'a self, row: &Row<'a>) -> Cow<'a, str> {
        match self {
            Template::Constant(text) => Cow::Borrowed(text),
            Template::Slot(slot) => Cow::Borrowed(row.get(*slot)),
            Template::Parts(parts) => {
                let mut text = String::with_capacity(48);
                for part in parts {
                    text.push_str(match part {
                        Part::Text(plain) => plain,
                        Part::Slot(slot) => row.get(*slot),
                    });
                }
                Cow::Owned(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_fields_constants_and_both() {
        let row = Row { text: " New York |NY", spans: &[(0, 10), (11, 13)] };
        for (text, wanted) in [
            ("{city}", "New York"),
            ("{state}/{ city }", "NY/New York"),
            ("pm25", "pm25"),
            ("", ""),
            ("{{{state}}} !", "{NY} !"),
            ("{absent}", ""),
        ] {
            let mut slots = Slots { names: vec!["city".into(), "state".into()] };
            let template = Template::compile(text, &mut slots).unwrap();
            assert_eq!(template.render(&row), wanted, "{text}");
        }
    }

    #[test]
    fn refuses_braces_that_mean_nothing() {
        for text in ["{", "}", "a}b", "{a", "{}", "{ }"] {
            assert!(Template::compile(text, &mut Slots::default()).is_err(), "{text}");
        }
    }
}
