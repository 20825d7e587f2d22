//! A text that is never printed, not even in an error about it. Whoever needs it must say so by
//! [`Secret::expose`].

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// A password or token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        from.deserialize_string(Text)
    }
}

/// Takes a text. It answers every other scalar itself, because serde's own answer shows the value.
struct Text;

impl Text {
    fn refuse<E: Error>(found: &str) -> Result<Secret, E> {
        Err(E::custom(format!("found {found}, expected a secret: a text in quotes")))
    }
}

impl Visitor<'_> for Text {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret: a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Text::refuse("a boolean")
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Text::refuse("a number")
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Secret, E> {
        Text::refuse("a number")
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Text::refuse("a number")
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Secret, E> {
        Text::refuse("a number")
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Text::refuse("a number")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
