//! A row that is an object: fields are found by their paths.

use super::{Fault, Mapping, Origin, RowError};
use crate::settings::EventKind;
use crate::source::Sink;
use crate::sources::json_lines::{at_path, write_text};
use crate::template::Row;
use serde_json::Value;

impl Mapping {
    /// Hands over what `value` says, an object whose fields are named by path: `price.value`,
    /// `images.0.url`; `a|b` is the first of them that is there and not null.
    ///
    /// # Errors
    /// As [`Mapping::row`]; what is no object is at fault.
    pub fn object(
        &mut self,
        value: &Value,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        self.object_and(value, &|_, _| false, at, sink)
    }

    /// As [`Mapping::object`]; what else has a name is asked for first, and written if it is known.
    pub(crate) fn object_and(
        &mut self,
        value: &Value,
        known: &dyn Fn(&str, &mut String) -> bool,
        at: &Origin<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowError> {
        let Value::Object(object) = value else {
            return Err(Fault::new("json", "what is mapped must be an object").into());
        };
        let mut text = String::new();
        let mut spans = Vec::new();
        // Whether it is there.
        let write = |name: &str, text: &mut String| {
            let start = text.len();
            if known(name, text) {
                return text.len() > start;
            }
            let found = at_path(value, name).filter(|found| !found.is_null());
            found.is_some_and(|found| {
                write_text(found, text);
                true
            })
        };
        for name in self.names() {
            let start = text.len();
            match at_path(value, name).is_none() && name.contains('|') {
                true => _ = name.split('|').any(|name| write(name.trim(), &mut text)),
                false => _ = write(name, &mut text),
            }
            spans.push((start, text.len()));
        }
        let mut texts = Vec::new();
        if self.event() == EventKind::DatasetRow {
            for (name, field) in object {
                let mut text = String::new();
                write_text(field, &mut text);
                texts.push((name.as_str(), text));
            }
        }
        let all = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        self.row(&Row { text: &text, spans: &spans }, all, at, sink)
    }
}
