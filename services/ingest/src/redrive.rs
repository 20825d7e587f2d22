//! Leads a dead letter of a source through the source as it is configured today. It writes nothing:
//! it says which events would come of the row, or why it is still dead.

use crate::mapping::Origin;
use crate::settings::SourceConfig;
use crate::source::{Again, Event, IngestError, Item, Skipped, Source};
use crate::sources;
use std::collections::HashMap;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::DatasetRowKind;
use tocsin_domain::{Id, Micros, wire};

/// What would come of a letter today.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The events, as they would stand in their topic.
    pub events: Vec<Made>,
    /// Why it is still dead, or a part of it; `None` if it is not.
    pub dead: Option<String>,
    /// Why nothing comes of it, if nothing does and it is not dead.
    pub nothing: &'static str,
}

/// An event that would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its id.
    pub id: Id,
    /// Where it belongs.
    pub topic: &'static str,
    /// The key of its record.
    pub key: Vec<u8>,
    /// The value of its record.
    pub value: Vec<u8>,
    /// When it was so.
    pub event_time: Micros,
}

/// Knows the sources of a configuration.
pub struct Redriver {
    sources: HashMap<String, (SourceConfig, Box<dyn Source>)>,
}

impl Redriver {
    /// With these sources, each of which was checked when the configuration was read.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(sources: &[SourceConfig]) -> Result<Redriver, String> {
        let open = |config: &SourceConfig| {
            let source = sources::open(config)?;
            Ok((config.name.clone(), (config.clone(), source)))
        };
        Ok(Redriver { sources: sources.iter().map(open).collect::<Result<_, String>>()? })
    }

    /// Reads the letter again. What it gives is the same however often it is asked: the time of
    /// arrival is the one of the letter.
    pub fn reread(&mut self, letter: &DeadLetter) -> Outcome {
        let dead = |reason: String| Outcome { dead: Some(reason), ..Outcome::default() };
        let name = source_of(letter);
        if letter.cut {
            let kept = letter.value.len();
            return dead(format!(
                "only its first {kept} bytes are kept; import its file once more"
            ));
        }
        let Some((config, source)) = self.sources.get_mut(name) else {
            return dead(format!(
                "no source is called {name:?} any more; configure it again, or drop it"
            ));
        };
        let topic = config.event.topic();
        let (file, line) = place(&letter.origin);
        let at = Origin { file, line, text: &letter.origin, now: letter.at };
        let mut found = Outcome::default();
        let again = Again { head: &letter.head, bytes: &letter.value, at };
        let read = source.reread(again, &mut |item| {
            take(&mut found, topic, item);
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(IngestError::Read { reason, .. }) => found.dead = Some(reason),
            Err(error) => found.dead = Some(error.to_string()),
        }
        found
    }
}

fn take(found: &mut Outcome, topic: &'static str, item: Item<'_>) {
    match item {
        Item::Event(event) => {
            // A row says nothing of where its data set begins and ends.
            if matches!(&event, Event::DatasetRow(row) if row.kind != DatasetRowKind::Row) {
                return;
            }
            let (mut key, mut value) = (Vec::new(), Vec::new());
            event.key(&mut key);
            event.write(&mut value);
            let id = wire::id_of(&value).unwrap_or_default();
            let event_time = event.event_time();
            found.events.push(Made { id, topic, key, value, event_time });
        }
        Item::DeadLetter(letter) => found.dead = Some(letter.reason),
        Item::Skipped(why) => {
            found.nothing = match why {
                Skipped::NoValue => "it has no value",
                Skipped::Filtered => "the source leaves it out (`only`)",
                Skipped::Blank => "there is nothing in it",
            }
        }
        Item::RowEnd(_) | Item::OpenEnd => {}
    }
}

/// The name of the source that read it. Letters of the first days say it in their key alone.
fn source_of(letter: &DeadLetter) -> &str {
    match letter.source.as_str() {
        "" => {
            let key = std::str::from_utf8(&letter.key).unwrap_or_default();
            key.split_once('/').map_or("", |(_, source)| source)
        }
        source => source,
    }
}

/// `a.csv:12` and `a.json#12`, taken apart; what has no number is all name.
fn place(origin: &str) -> (&str, u64) {
    let taken = origin.rsplit_once([':', '#']);
    let numbered = taken.and_then(|(file, line)| Some((file, line.parse().ok()?)));
    numbered.unwrap_or((origin, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{File, Mark};
    use crate::sources::testing::config;

    const CSV: &str = "name = \"a\"\nkind = \"csv\"\nevent = \"order-row\"\nsubject = \"{s}\"\n\
        price = \"{p}\"\ncurrency = \"GBP\"\ntime = \"{t}\"\n";
    const JSON: &str = "name = \"a\"\nkind = \"json-lines\"\nevent = \"listing\"\nlisting = \"{id}\"\n\
        price = \"{p}\"\ncurrency = \"GBP\"\nitems = \"all\"\n";

    /// The letters, and then the events of the same rows, of a source that reads the file.
    fn read(text: &str, name: &str, bytes: &[u8]) -> (Vec<DeadLetter>, Vec<Made>) {
        let config = config(text);
        let mut source = sources::open(&config).unwrap();
        let (mut letters, mut found, mut content) = (Vec::new(), Outcome::default(), bytes);
        let file = File { content: &mut content, name, from: Mark::default(), now: &|| Micros(7) };
        let read = source.read(file, &mut |item| {
            match item {
                Item::DeadLetter(letter) => letters.push(*letter),
                item => take(&mut found, config.event.topic(), item),
            }
            Ok(())
        });
        read.unwrap();
        (letters, found.events)
    }

    fn again(text: &str, letter: &DeadLetter) -> Outcome {
        Redriver::new(&[config(text)]).unwrap().reread(letter)
    }

    #[test]
    fn what_comes_of_a_letter_is_what_would_have_come_of_its_row() {
        let csv = "s;t;p;n\r\n\"A;1\";01.02.2020;7;\"x\ny\"\r\nB;2020-01-02;5;\r\n";
        let json = r#"{"all": [{"id": "x", "p": "1,5"}, {"id": "y", "p": "2"}]}"#;
        for (text, file, bytes, fixed) in [
            (CSV, "a:b.csv", csv, "time_format = [\"%d.%m.%Y\", \"%Y-%m-%d\"]\n"),
            (JSON, "a#1.json", json, "decimal = \",\"\n"),
        ] {
            let (letters, events) = read(text, file, bytes.as_bytes());
            assert_eq!((letters.len(), events.len()), (1, 1), "{file}");
            let now = again(text, &letters[0]);
            assert_eq!(now.dead.as_ref(), Some(&letters[0].reason), "nothing was corrected");
            let corrected = format!("{fixed}{text}");
            let (none, events) = read(&corrected, file, bytes.as_bytes());
            let now = again(&corrected, &letters[0]);
            assert_eq!((none.len(), &now.dead, now.events.len()), (0, &None, 1), "{file}");
            assert!(events.contains(&now.events[0]), "{:?} is none of {events:?}", now.events);
            assert_eq!(again(&corrected, &letters[0]), now, "the same again");
        }
    }

    #[test]
    fn why_a_letter_cannot_be_read_again_is_said() {
        let (letters, _) = read(CSV, "a.csv", b"s,t,p\nA,x,7\nA,2020-01-01,\"7\nx\n");
        let (time, quote) = (&letters[0], &letters[1]);
        let old = DeadLetter { source: String::new(), ..time.clone() };
        for (text, letter, wanted) in [
            (CSV, &old, "is not a time"),
            (CSV, quote, "a quote is opened and not closed"),
            (CSV, &DeadLetter { cut: true, ..time.clone() }, "only its first 6 bytes are kept"),
            (CSV, &DeadLetter { head: Vec::new(), ..time.clone() }, "the header is not kept"),
            (&CSV.replace("{p}", "{q}"), time, "it has no column `q`"),
            (&CSV.replace("\"a\"", "\"b\""), time, "no source is called \"a\" any more"),
            (&format!("delimiter = \"x\"\n{CSV}"), time, "no column `s`"),
        ] {
            let found = again(text, letter).dead.unwrap();
            assert!(found.contains(wanted), "{wanted} is not in {found}");
        }
        let only = format!("{CSV}[[only]]\nfield = \"{{s}}\"\nequals = \"B\"\n");
        let found = again(&only, time);
        assert_eq!((found.nothing, found.dead), ("the source leaves it out (`only`)", None));
    }

    #[test]
    fn a_place_is_a_name_and_a_number() {
        for (origin, wanted) in [
            ("a.csv:12", ("a.csv", 12)),
            ("a:3.json#1", ("a:3.json", 1)),
            ("GET /x", ("GET /x", 0)),
            ("", ("", 0)),
        ] {
            assert_eq!(place(origin), wanted);
        }
    }
}
