//! Leads a dead letter through what it came from, as that is configured today: a source, a push, a data
//! set, a topic of somebody else. It writes nothing: it says which events would come of it, or why it
//! is still dead.

use crate::datasets::{self, DatasetConfig};
use crate::mapping::Origin;
use crate::own_topics;
use crate::push::{self, PushSettings};
use crate::settings::SourceConfig;
use crate::source::{Again, Event, File, IngestError, Item, Mark, Skipped, Source};
use crate::sources;
use std::collections::HashMap;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::DatasetRowKind;
use tocsin_domain::{Id, wire};
use tocsin_stream::{Log, LogError, Schemas};

/// What would come of a letter today.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The events, as they would stand in their topic.
    pub events: Vec<Made>,
    /// Why it is still dead, or a part of it; `None` if it is not.
    pub dead: Option<String>,
    /// Why nothing comes of it, if nothing does and it is not dead.
    pub nothing: &'static str,
    /// What is wrong with the events all the same, as an upload's report would tell.
    pub told: Vec<String>,
}

/// A record that would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The id of its fact.
    pub id: Id,
    /// Where it belongs.
    pub topic: &'static str,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Whether it is the very record that a step could not take.
    pub is_put_back: bool,
}

impl Outcome {
    /// It is still dead.
    pub fn dead(reason: String) -> Outcome {
        Outcome { dead: Some(reason), ..Outcome::default() }
    }

    pub(crate) fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Event(event) => self.event(&event),
            Item::DeadLetter(letter) => self.dead = Some(letter.reason),
            Item::Skipped(why) => {
                self.nothing = match why {
                    Skipped::NoValue => "it has no value",
                    Skipped::Filtered => "the source leaves it out (`only`)",
                    Skipped::Blank => "there is nothing in it",
                }
            }
            Item::RowEnd(_) | Item::OpenEnd => {}
        }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        // A row says nothing of where its data set begins and ends.
        if matches!(event, Event::DatasetRow(row) if row.kind != DatasetRowKind::Row) {
            return;
        }
        let (mut key, mut value) = (Vec::new(), Vec::new());
        event.key(&mut key);
        event.write(&mut value);
        let id = wire::id_of(&value).unwrap_or_default();
        self.events.push(Made { id, topic: event.topic(), key, value, is_put_back: false });
    }

    /// All of the letter was read, or it broke off.
    pub(crate) fn ended(mut self, read: Result<(), IngestError>) -> Outcome {
        match read {
            Ok(()) => {}
            Err(IngestError::Read { reason, .. }) => self.dead = Some(reason),
            Err(error) => self.dead = Some(error.to_string()),
        }
        self.checked()
    }

    /// Says why nothing comes of it exactly if nothing does.
    pub(crate) fn checked(mut self) -> Outcome {
        if !self.events.is_empty() || self.dead.is_some() {
            self.nothing = "";
        } else if self.nothing.is_empty() {
            self.nothing = "there is no event in it";
        }
        self
    }
}

/// Before the name of the set whose row it is, in a dead letter's `source`.
pub const OF_SET: &str = "dataset:";
/// Before the name of the producer who pushed it.
pub const OF_PUSH: &str = "push:";
/// The class of an answer of which no row could be read.
pub(crate) const ANSWER: &str = "answer";

/// What is configured, of which letters come.
#[derive(Clone, Copy)]
pub struct Configured<'a> {
    /// The sources.
    pub sources: &'a [SourceConfig],
    /// The data sets.
    pub datasets: &'a [DatasetConfig],
    /// Who may push.
    pub push: &'a PushSettings,
}

/// What is asked beside the configuration.
#[derive(Clone, Copy, Default)]
pub struct Around<'a> {
    /// The log, for what a row refers to; without it, that is not looked at.
    pub log: Option<&'a dyn Log>,
    /// Who knows the schemas of a registry, if there is one.
    pub schemas: Option<&'a dyn Schemas>,
}

/// Reads letters again.
pub struct Redriver {
    sources: HashMap<String, Box<dyn Source>>,
    topics: own_topics::Again,
    sets: datasets::Again,
    pushes: push::Again,
}

impl Redriver {
    /// With what is configured, each part of which was checked when the configuration was read.
    ///
    /// # Errors
    /// What is wrong with a part of it.
    pub fn new(configured: Configured<'_>) -> Result<Redriver, String> {
        let Configured { sources, datasets, push } = configured;
        let open = |config: &SourceConfig| Ok((config.name.clone(), sources::open(config)?));
        Ok(Redriver {
            sources: sources.iter().map(open).collect::<Result<_, String>>()?,
            topics: own_topics::Again::new(sources)?,
            sets: datasets::Again::new(datasets),
            pushes: push::Again::new(push, sources)?,
        })
    }

    /// Reads the letter again. What it gives is the same however often it is asked: the time of
    /// arrival is the one of the letter.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn reread(&mut self, letter: &DeadLetter, around: Around<'_>) -> Result<Outcome, LogError> {
        if letter.cut {
            let kept = letter.value.len();
            return Ok(Outcome::dead(format!(
                "only its first {kept} bytes are kept: import its file, upload its set or push it \
                 once more, and drop this"
            )));
        }
        let (name, place) = (source_of(letter), place(&letter.origin));
        if let Some(source) = own_topics::source_of(&letter.service) {
            return Ok(self.topics.reread((letter, place), source, around.schemas));
        }
        if let Some(set) = name.strip_prefix(OF_SET) {
            return self.sets.reread((letter, place), set, around.log);
        }
        if name.starts_with(OF_PUSH) {
            return Ok(self.pushes.reread(letter, place.1));
        }
        Ok(self.row(letter, name, place))
    }

    /// A data set of which another upload has begun since its letters were read again: what was said
    /// of them holds no more.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn overtaken(&self, log: &dyn Log) -> Result<Option<&str>, LogError> {
        self.sets.overtaken(log)
    }

    /// A row of a file or of an answer, or an answer as a whole.
    fn row(&mut self, letter: &DeadLetter, name: &str, (file, line): (&str, u64)) -> Outcome {
        let Some(source) = self.sources.get_mut(name) else {
            return Outcome::dead(format!(
                "no source is called {name:?} any more; configure it again, or drop it"
            ));
        };
        let (mut found, now) = (Outcome::default(), letter.at);
        let mut sink = |item: Item<'_>| {
            match item {
                // As it would have been taken from the answer.
                Item::Event(event) => found.event(&event.found_by(&letter.search)),
                item => found.take(item),
            }
            Ok(())
        };
        let read = match letter.class == ANSWER {
            true => {
                let (mut content, name) = (letter.value.as_slice(), letter.origin.as_str());
                let from = Mark::default();
                source.read(File { content: &mut content, name, from, now: &|| now }, &mut sink)
            }
            false => {
                let at = Origin { file, line, text: &letter.origin, now };
                source.reread(Again { head: &letter.head, bytes: &letter.value, at }, &mut sink)
            }
        };
        found.ended(read)
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
    use crate::sources::testing::config;
    use tocsin_domain::Micros;

    const CSV: &str = "name = \"a\"\nkind = \"csv\"\nevent = \"order-row\"\nsubject = \"{s}\"\n\
        price = \"{p}\"\ncurrency = \"GBP\"\ntime = \"{t}\"\n";
    const JSON: &str = "name = \"a\"\nkind = \"json-lines\"\nevent = \"listing\"\nlisting = \"{id}\"\n\
        price = \"{p}\"\ncurrency = \"GBP\"\nitems = \"all\"\n";

    /// Rows that a filter makes of a document, or of each line of a file.
    const PARTS: &str = "name = \"a\"\nkind = \"json-lines\"\nevent = \"listing\"\nlisting = \"{id}\"\n\
        price = \"{p}\"\ncurrency = \"GBP\"\nrows = \".parts[] | .items[]\"\n";
    const FEED: &str = "name = \"a\"\nkind = \"http\"\nformat = \"rss\"\naddress = \"http://a.example\"\n\
        event = \"listing\"\nlisting = \"{id}\"\nprice = \"{p}\"\ncurrency = \"GBP\"\n";

    /// The letters, and then the events of the same rows, of a source that reads the file.
    fn read(text: &str, name: &str, bytes: &[u8]) -> (Vec<DeadLetter>, Vec<Made>) {
        let config = config(text);
        let mut source = sources::open(&config).unwrap();
        let (mut letters, mut found, mut content) = (Vec::new(), Outcome::default(), bytes);
        let file = File { content: &mut content, name, from: Mark::default(), now: &|| Micros(7) };
        let read = source.read(file, &mut |item| {
            match item {
                Item::DeadLetter(letter) => letters.push(*letter),
                item => found.take(item),
            }
            Ok(())
        });
        read.unwrap();
        (letters, found.events)
    }

    fn again(text: &str, letter: &DeadLetter) -> Outcome {
        let (sources, push) = ([config(text)], PushSettings::default());
        let configured = Configured { sources: &sources, datasets: &[], push: &push };
        Redriver::new(configured).unwrap().reread(letter, Around::default()).unwrap()
    }

    #[test]
    fn what_comes_of_a_letter_is_what_would_have_come_of_its_row() {
        let csv = "s;t;p;n\r\n\"A;1\";01.02.2020;7;\"x\ny\"\r\nB;2020-01-02;5;\r\n";
        let json = r#"{"all": [{"id": "x", "p": "1,5"}, {"id": "y", "p": "2"}]}"#;
        let (parts, comma) = (parts(), "decimal = \",\"\n");
        let feed = "<rss><channel><item><id>x</id><p>1,5</p></item>\
            <item><id>y</id><p>2</p></item></channel></rss>";
        let lines = format!("{PARTS}lines = true\n");
        let archive = format!("{{\"parts\": []}}\n{parts}");
        for (text, file, bytes, fixed) in [
            (CSV, "a:b.csv", csv, "time_format = [\"%d.%m.%Y\", \"%Y-%m-%d\"]\n"),
            (JSON, "a#1.json", json, comma),
            (PARTS, "a.json", parts.as_str(), comma),
            (&lines, "a.json", &archive, comma),
            (FEED, "http://a.example:80/feed?page=1", feed, comma),
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

    fn parts() -> String {
        let items = r#"{"items": [{"id": "x", "p": "1,5"}, {"id": "y", "p": "2"}]}"#;
        format!("{{\"parts\": [{items}]}}")
    }

    #[test]
    fn an_answer_is_read_as_a_whole() {
        let wrong = PARTS.replace(".parts[]", ".part[]");
        let url = "http://127.0.0.1:8080";
        let letter = DeadLetter {
            id: Id::default(),
            topic: String::new(),
            position: None,
            origin: url.to_owned(),
            key: b"default/a".to_vec(),
            value: parts().into_bytes(),
            class: ANSWER.to_owned(),
            reason: String::new(),
            service: "ingest".to_owned(),
            at: Micros(7),
            source: "a".to_owned(),
            head: Vec::new(),
            cut: false,
            search: String::new(),
        };
        assert!(again(&wrong, &letter).dead.unwrap().contains("`rows` does not fit it"));
        let corrected = format!("decimal = \",\"\n{PARTS}");
        let now = again(&corrected, &letter);
        assert_eq!((&now.dead, now.events.len()), (&None, 2));
        assert_eq!(now.events, read(&corrected, url, &letter.value).1);
        let none = again(&PARTS.replace(".items[]", ".none[]?"), &letter);
        assert_eq!((none.dead, none.nothing), (None, "there is no event in it"));
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
