//! What the upstream's words are called here: `[sources.names.measure]` and its like.

use crate::settings::Names;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Compiled [`Names`].
pub(super) struct Words {
    pub(super) measure: Table,
    pub(super) unit: Table,
    pub(super) averaging: Table,
}

/// Word by word.
pub(super) struct Table {
    known: BTreeMap<String, String>,
    other: Option<String>,
}

impl Words {
    pub(super) fn new(names: &Names) -> Words {
        let table = |known: &BTreeMap<String, String>| Table {
            known: known.clone(),
            other: known.get("*").cloned(),
        };
        Words {
            measure: table(&names.measure),
            unit: table(&names.unit),
            averaging: table(&names.averaging),
        }
    }
}

impl Table {
    /// What `word` is called; as it stands if nothing is said of it.
    pub(super) fn of<'a>(&'a self, word: Cow<'a, str>) -> Cow<'a, str> {
        let found = self.known.get(word.as_ref()).or(self.other.as_ref());
        found.map_or(word, |name| Cow::Borrowed(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_named_are_called_so_and_others_as_the_star_says() {
        let table = |text: &[(&str, &str)]| {
            text.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let names = Names {
            measure: table(&[("88101", "pm25")]),
            unit: table(&[("pm25", "AQI-US"), ("*", "")]),
            ..Names::default()
        };
        let words = Words::new(&names);
        for (table, word, wanted) in [
            (&words.measure, "88101", "pm25"),
            (&words.measure, "o3", "o3"),
            (&words.unit, "pm25", "AQI-US"),
            (&words.unit, "humidity", ""),
            (&words.averaging, "PT1H", "PT1H"),
        ] {
            assert_eq!(table.of(Cow::Borrowed(word)), wanted);
        }
    }
}
