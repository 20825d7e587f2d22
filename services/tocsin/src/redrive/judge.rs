//! What today's configuration and code make of a dead letter. What came from outside goes through what
//! read it; a record of ours goes back to its topic if the step that could not take it can do so now,
//! tried on the step itself.

use crate::settings::Settings;
use std::sync::Arc;
use tocsin_detect::DetectStep;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::topics::{self, Topics};
use tocsin_domain::{Micros, wire};
use tocsin_ingest::Redriver;
use tocsin_ingest::own_topics;
use tocsin_ingest::redrive::{Around, Configured, Made, Outcome};
use tocsin_notify::deliver::{self, DeliverStep};
use tocsin_notify::matching::MatchStep;
use tocsin_notify::retry::Retry;
use tocsin_stream::state::Store;
use tocsin_stream::{Effects, Log, LogError, Poison, Record, Schemas, Step};

/// Judges letters.
pub(super) struct Judge {
    redriver: Redriver,
    detect: DetectStep,
    matching: MatchStep,
    deliver: DeliverStep,
    schemas: Option<Arc<dyn Schemas>>,
    now: Micros,
}

impl Judge {
    pub fn new(
        settings: &Settings,
        schemas: Option<Arc<dyn Schemas>>,
        now: Micros,
    ) -> anyhow::Result<Judge> {
        let ids = || settings.schema_ids.clone();
        let options =
            deliver::Options { mail_domain: "localhost".to_owned(), retry: Retry::default() };
        let Settings { sources, datasets, push, .. } = settings;
        let configured = Configured { sources, datasets, push };
        Ok(Judge {
            redriver: Redriver::new(configured).map_err(anyhow::Error::msg)?,
            detect: DetectStep::new(settings.lateness.clone()).with_schema_ids(ids()),
            matching: MatchStep::new(ids()),
            deliver: DeliverStep::new(options, ids()),
            schemas,
            now,
        })
    }

    /// The same, at another time.
    pub fn at(&mut self, now: Micros) -> &mut Judge {
        self.now = now;
        self
    }

    /// A data set of which another upload has begun since its letters were judged.
    pub fn overtaken(&self, log: &dyn Log) -> Result<Option<&str>, LogError> {
        self.redriver.overtaken(log)
    }

    /// What comes of a letter. Without a log it is not looked what it refers to.
    pub fn judge(
        &mut self,
        letter: &DeadLetter,
        log: Option<&dyn Log>,
    ) -> Result<Outcome, LogError> {
        let now = self.now;
        let taken = match (letter.service.as_str(), letter.topic.as_str()) {
            (service, _) if service == "ingest" || own_topics::source_of(service).is_some() => {
                let around = Around { log, schemas: self.schemas.as_deref() };
                return self.redriver.reread(letter, around);
            }
            ("detect", _) if letter.class == "value" => Err(
                "the event was taken in, and every other condition has judged it; it would be passed \
                 over as a repeat. correct the detector, and drop the letter"
                    .to_owned(),
            ),
            ("detect", _) => tried(&mut self.detect, letter, now),
            ("match", _) => tried(&mut self.matching, letter, now),
            ("deliver", topics::DELIVERIES) => Err(
                "a fact about a mail is not said twice, or the mail might be sent twice; its ledger \
                 says how it stands. drop the letter"
                    .to_owned(),
            ),
            ("deliver", _) => tried(&mut self.deliver, letter, now),
            ("project", _) => Err(
                "its record stands in the log and others have taken it in; `tocsin projections \
                 rebuild` folds it into the tables with today's code. then drop the letter"
                    .to_owned(),
            ),
            (service, _) => Err(format!("nobody knows how {service:?} takes a record again")),
        };
        Ok(match taken.and_then(|()| put_back(letter)) {
            Ok(made) => Outcome { events: vec![made], ..Outcome::default() },
            Err(reason) => Outcome::dead(reason),
        })
    }
}

/// Whether the step takes the record now. It sees no tables and no state: what it would publish is
/// dropped, and only whether it can read the record counts.
fn tried<S: Step>(step: &mut S, letter: &DeadLetter, now: Micros) -> Result<(), String> {
    let topic: Arc<str> = letter.topic.as_str().into();
    let (partition, offset) = letter.position.as_ref().map_or((0, 0), |p| (p.partition, p.offset));
    let value = Some(letter.value.as_slice());
    let record = Record { topic: &topic, partition, offset, time: now, key: &letter.key, value };
    let outputs: Vec<(&str, u32)> =
        Topics::builtin().iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    let mut effects = Effects::new("dlq", &outputs, 1, 1);
    let done = step.on_record(&record, now, &mut Store::default(), &mut effects);
    done.map_err(|Poison { reason, .. }| reason)
}

/// The record as it stood, for the end of its topic.
fn put_back(letter: &DeadLetter) -> Result<Made, String> {
    let topic = Topics::builtin().get(&letter.topic);
    let topic = topic.ok_or_else(|| format!("there is no topic {:?} any more", letter.topic))?;
    let id = wire::id_of(&letter.value).ok_or("it has no id")?;
    let (key, value) = (letter.key.clone(), letter.value.clone());
    Ok(Made { id, topic: &topic.name, key, value, is_put_back: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::Id;
    use tocsin_domain::Position;
    use tocsin_domain::event::Reading;

    const CONFIG: &str = "[[sources]]\nname = \"a\"\nkind = \"csv\"\nevent = \"reading\"\n\
        subject = \"{s}\"\nmeasure = \"m\"\nvalue = \"{v}\"\ntime = \"{t}\"\n";

    fn event(time: Micros) -> Vec<u8> {
        let mut value = Vec::new();
        let event = Reading {
            id: Id::of("reading", &[]),
            tenant: "default",
            subject: "s",
            measure: "m",
            value: 1.0,
            unit: "",
            averaging: "",
            place: "",
            event_time: time,
            arrival_time: Micros(0),
            source: "a",
            origin: "",
        };
        wire::write(&event, &mut value);
        value
    }

    fn letter(service: &str, topic: &str, class: &str, value: Vec<u8>) -> DeadLetter {
        let position = Position { topic: topic.into(), partition: 0, offset: 7 };
        DeadLetter {
            id: Id::of("dead-letter", &[]),
            topic: topic.into(),
            position: Some(position),
            origin: String::new(),
            key: b"default/s/m".to_vec(),
            value,
            class: class.into(),
            reason: String::new(),
            service: service.into(),
            at: Micros(0),
            source: String::new(),
            head: Vec::new(),
            cut: false,
            search: String::new(),
        }
    }

    #[test]
    fn a_record_goes_back_only_if_it_is_taken_now_and_was_not_taken_before() {
        let settings = Settings::parse(CONFIG, "t.toml", Micros(0)).unwrap();
        let day = 24 * 3_600_000_000;
        let mut judge = Judge::new(&settings, None, Micros(10 * day)).unwrap();
        let readings = topics::AQI_READINGS;
        for (letter, wanted) in [
            (letter("detect", readings, "time", event(Micros(10 * day))), None),
            (letter("detect", readings, "time", event(Micros(12 * day))), Some("24 hours ahead")),
            (letter("detect", readings, "value", event(Micros(0))), Some("correct the detector")),
            (letter("detect", readings, "framing", b"x".to_vec()), Some("must begin with c3 01")),
            (letter("match", topics::ALERTS, "decode", event(Micros(0))), Some("tocsin.Reading")),
            (letter("deliver", topics::DELIVERIES, "decode", Vec::new()), Some("sent twice")),
            (letter("project", readings, "value", event(Micros(0))), Some("projections rebuild")),
            (letter("other", readings, "value", event(Micros(0))), Some("nobody knows")),
            (letter("ingest", readings, "csv", b"x".to_vec()), Some("no source is called")),
            (letter("topic-a", "acme.a", "json", b"x".to_vec()), Some("no source of kind `topic`")),
        ] {
            let found = judge.judge(&letter, None).unwrap();
            match wanted {
                None => assert_eq!((found.dead, found.events.len()), (None, 1)),
                Some(part) => {
                    let reason = found.dead.unwrap();
                    assert!(reason.contains(part) && found.events.is_empty(), "{part}: {reason}");
                }
            }
        }
    }
}
