//! JSON as it is pushed, read without a copy: an object's members by name, each still as text, so
//! that a fault can name the member. It refuses what could be read in two ways: a key that stands
//! twice, a text with a NUL.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// The most names that an object is asked for.
const NAMES: usize = 16;

/// What is wrong with an event, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) pointer: String,
    pub(super) class: &'static str,
    pub(super) detail: String,
}

impl Fault {
    pub(super) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Fault {
        Fault { pointer: pointer.into(), class: "value", detail: detail.into() }
    }

    pub(super) fn of(class: &'static str, detail: impl Into<String>) -> Fault {
        Fault { pointer: String::new(), class, detail: detail.into() }
    }

    /// All of it, for a dead letter.
    pub(super) fn reason(&self) -> String {
        let place = if self.pointer.is_empty() { "" } else { ": " };
        format!("{}{place}{}", self.pointer, self.detail)
    }
}

/// An object's members, each as it is written.
pub(super) struct Members<'a> {
    names: &'static [&'static str],
    found: [Option<&'a str>; NAMES],
    /// The object's own place in the event.
    at: &'static str,
}

impl<'a> Members<'a> {
    /// Reads `object`, which stands at the pointer `at`. Members of other names are refused, or
    /// passed over if they may be there.
    pub(super) fn read(
        object: &'a str,
        at: &'static str,
        names: &'static [&'static str],
        others: bool,
    ) -> Result<Members<'a>, Fault> {
        if !object.starts_with('{') {
            return Err(Fault::new(at, format!("{} stands where an object should", kind(object))));
        }
        let mut members = Members { names, found: [None; NAMES], at };
        let mut wrong = None;
        let into = Fill { members: &mut members, others, wrong: &mut wrong };
        let mut reader = serde_json::Deserializer::from_str(object);
        let read = into.deserialize(&mut reader).and_then(|()| reader.end());
        match (wrong, read) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) => {
                Err(Fault { pointer: at.into(), ..Fault::of("json", error.to_string()) })
            }
            (None, Ok(())) => Ok(members),
        }
    }

    /// The pointer to a member.
    pub(super) fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    /// A member as it is written; `null` is nothing.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let at = self.names.iter().position(|known| *known == name)?;
        self.found[at].filter(|raw| *raw != "null")
    }

    /// A fault of a member.
    pub(super) fn fault(&self, name: &str, detail: impl Into<String>) -> Fault {
        Fault::new(self.pointer(name), detail)
    }

    /// A text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        self.raw(name).map(text).transpose().map_err(|reason| self.fault(name, reason))
    }

    /// A text, or none at all.
    pub(super) fn text_or_empty(&self, name: &str) -> Result<Cow<'a, str>, Fault> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// The digits of a number, which may stand in a text so that none is lost on the way.
    pub(super) fn digits(&self, name: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        let digits = |raw: &'a str| match raw.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Ok(Cow::Borrowed(raw)),
            Some(b'"') => text(raw),
            _ => Err(format!("{} stands where a number should", kind(raw))),
        };
        self.raw(name).map(digits).transpose().map_err(|reason| self.fault(name, reason))
    }
}

/// Puts members where they belong.
struct Fill<'m, 'a> {
    members: &'m mut Members<'a>,
    others: bool,
    wrong: &'m mut Option<Fault>,
}

impl<'a> DeserializeSeed<'a> for Fill<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Fill<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Fill { members, others, wrong } = self;
        while let Some(Key(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let detail = match members.names.iter().position(|name| *name == key) {
                Some(at) if members.found[at].is_none() => {
                    members.found[at] = Some(value.get());
                    continue;
                }
                Some(_) => "it stands twice in its object".to_owned(),
                None if others => continue,
                None => {
                    let allowed = members.names.join("`, `");
                    format!("nobody knows `{}`; allowed: `{allowed}`", start(&key))
                }
            };
            let token = token(&start(&key));
            *wrong = Some(Fault::new(members.pointer(&token), detail));
            return Err(A::Error::custom("refused"));
        }
        Ok(())
    }
}

/// A name as it stands in a JSON pointer.
pub(super) fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

/// The text that a raw value is.
pub(super) fn text(raw: &str) -> Result<Cow<'_, str>, String> {
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.ok_or_else(|| format!("{} stands where a text should", kind(raw)))?;
    let text = match inner.contains('\\') {
        false => Cow::Borrowed(inner),
        true => Cow::Owned(serde_json::from_str(raw).map_err(|error| error.to_string())?),
    };
    match text.contains('\0') {
        true => Err("the text has a NUL in it; no text may".to_owned()),
        false => Ok(text),
    }
}

/// The items of an array, each as it is written, handed to `take`; it ends with `false`.
pub(super) fn items<'a>(
    array: &'a str,
    take: &mut dyn FnMut(&'a str) -> bool,
) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(array);
    let mut ended = false;
    let read = (&mut reader).deserialize_seq(Items { take, ended: &mut ended });
    if ended { Ok(()) } else { read.and_then(|()| reader.end()) }
}

struct Items<'t, 'a> {
    take: &'t mut dyn FnMut(&'a str) -> bool,
    ended: &'t mut bool,
}

impl<'a> Visitor<'a> for Items<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            if !(self.take)(item.get()) {
                *self.ended = true;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The members of an object of any names, in their order, each as it is written.
pub(super) fn pairs(object: &str) -> Result<Vec<(Cow<'_, str>, &str)>, String> {
    if !object.starts_with('{') {
        return Err(format!("{} stands where an object should", kind(object)));
    }
    let mut reader = serde_json::Deserializer::from_str(object);
    let read = (&mut reader).deserialize_map(Pairs);
    let read = read.and_then(|found| reader.end().map(|()| found));
    let found = read.map_err(|error| error.to_string())?;
    match found.iter().any(|(key, _)| key.contains('\0')) {
        true => Err("a key has a NUL in it; none may".to_owned()),
        false => Ok(found),
    }
}

struct Pairs;

impl<'a> Visitor<'a> for Pairs {
    type Value = Vec<(Cow<'a, str>, &'a str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        let mut keys = HashSet::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'a>, &RawValue>()? {
            if !keys.insert(key.clone()) {
                let key = start(&key);
                return Err(A::Error::custom(format!("the key {key:?} stands twice in an object")));
            }
            found.push((key, value.get()));
        }
        Ok(found)
    }
}

/// A value that is all there, without a key that stands twice and without a NUL.
pub(super) fn strict(raw: &str) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_str(raw);
    let read = Strict.deserialize(&mut reader);
    read.and_then(|value| reader.end().map(|()| value)).map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        match text.contains('\0') {
            true => Err(E::custom("a text has a NUL in it; no text may")),
            false => Ok(Value::String(text.to_owned())),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict)?;
            if all.contains_key(&key) {
                let key = start(&key);
                return Err(A::Error::custom(format!("the key {key:?} stands twice in an object")));
            }
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

/// What a raw value is, for messages.
fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The start of a text that somebody else has chosen the length of.
pub(super) fn start(text: &str) -> String {
    text.chars().take(60).collect()
}
