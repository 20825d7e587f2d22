//! What a kind knows of its upstream, as a configuration that the user's own goes over, key by key.

use super::{EventKind, SourceConfig};
use crate::mapping;

impl SourceConfig {
    /// This configuration over that in `preset`, the TOML of a source of kind `json-lines` or `csv`.
    /// Where another `event` is wanted, what the preset says for its own is left out.
    ///
    /// # Errors
    /// If the preset is none.
    pub(crate) fn over(&self, preset: &str) -> Result<SourceConfig, String> {
        let mut all: SourceConfig = toml::from_str(preset)
            .map_err(|e| format!("the preset of kind `{}` is wrong: {e}", self.kind))?;
        if let Some(event) = self.event.filter(|event| Some(*event) != all.event) {
            all.keep_for(event);
        }
        let mut own = self.clone();
        if !own.values.is_empty() {
            (all.measure, all.value) = (None, None);
        } else if own.measure.is_some() || own.value.is_some() {
            all.values.clear();
        }
        if own.items.is_some() {
            all.rows = None;
        }
        for ((_, own), (_, preset)) in own.texts().into_iter().zip(all.texts()) {
            fill(own, preset.take());
        }
        fill(&mut own.event, all.event);
        fill(&mut own.delimiter, all.delimiter);
        fill(&mut own.header, all.header);
        fill(&mut own.columns, all.columns);
        fill(&mut own.encoding, all.encoding);
        fill(&mut own.skip_lines, all.skip_lines);
        fill(&mut own.comment, all.comment);
        fill(&mut own.lines, all.lines);
        fill(&mut own.pages, all.pages);
        fill(&mut own.decimal, all.decimal);
        fill(&mut own.missing, all.missing);
        fill(&mut own.time_format, all.time_format);
        if own.values.is_empty() {
            own.values = all.values;
        }
        // What is complete already stays as it is.
        own.only.extend(all.only.into_iter().filter(|only| !self.only.contains(only)));
        for (own, preset) in [
            (&mut own.names.measure, all.names.measure),
            (&mut own.names.unit, all.names.unit),
            (&mut own.names.averaging, all.names.averaging),
            (&mut own.parameters, all.parameters),
        ] {
            for (word, name) in preset {
                own.entry(word).or_insert(name);
            }
        }
        Ok(own)
    }

    /// Leaves out of a preset what means nothing for `event`.
    fn keep_for(&mut self, event: EventKind) {
        let unread = mapping::unread(event);
        for (key, text) in self.texts() {
            if unread.contains(&key) {
                *text = None;
            }
        }
        self.values.clear();
        self.only.clear();
    }

    /// Every key whose value is one text, but for the name, the kind and the tenant.
    fn texts(&mut self) -> [(&'static str, &mut Option<String>); 25] {
        [
            ("header_begins", &mut self.header_begins),
            ("items", &mut self.items),
            ("rows", &mut self.rows),
            ("address", &mut self.address),
            ("marketplace", &mut self.marketplace),
            ("time_zone", &mut self.time_zone),
            ("subject", &mut self.subject),
            ("place", &mut self.place),
            ("measure", &mut self.measure),
            ("value", &mut self.value),
            ("unit", &mut self.unit),
            ("averaging", &mut self.averaging),
            ("listing", &mut self.listing),
            ("title", &mut self.title),
            ("url", &mut self.url),
            ("seller", &mut self.seller),
            ("search", &mut self.search),
            ("order", &mut self.order),
            ("price", &mut self.price),
            ("currency", &mut self.currency),
            ("units", &mut self.units),
            ("units_sold", &mut self.units_sold),
            ("units_available", &mut self.units_available),
            ("id", &mut self.id),
            ("time", &mut self.time),
        ]
    }
}

/// What is said stays.
fn fill<T>(own: &mut Option<T>, preset: Option<T>) {
    if own.is_none() {
        *own = preset;
    }
}
