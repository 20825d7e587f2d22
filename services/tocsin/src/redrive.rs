//! Dead letters through today's configuration and code, once more. First a plan, which writes nothing;
//! then the plan, in transactions that hold the records together with the decisions about their
//! letters: whoever is killed in between goes on, and nothing is written twice.

mod judge;
mod present;

use crate::facts;
use crate::settings::Settings;
use judge::Judge;
use present::{Present, Terms};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tocsin_domain::dead_letter::{DROPPED, DeadDecision, DeadLetter, REDRIVEN, STILL_DEAD};
use tocsin_domain::topics::{DEAD_DECISIONS, DEAD_LETTERS};
use tocsin_domain::{Id, Micros, wire};
use tocsin_ingest::redrive::Made;
use tocsin_stream::letters::Letters;
use tocsin_stream::log::PATIENCE;
use tocsin_stream::{Log, LogError, SETTLES, Schemas, Transaction, Worker, WorkerSpec};

/// Letters that are planned at a time: what is there already is looked up once for all of them.
const AT_ONCE: usize = 10_000;
/// Letters in a transaction.
const IN_ONE: usize = 500;
/// Who decides about dead letters: of two at a time, the earlier is shut out.
const WORKER: &str = "dlq";

/// What would become, or has become, of a letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fate {
    /// The letter.
    pub letter: Id,
    /// Where it stood.
    pub origin: String,
    /// Where its records go.
    pub topic: String,
    /// The ids of the facts that are written.
    pub written: Vec<Id>,
    /// The ids of those that stand there already.
    pub present: Vec<Id>,
    /// How many of them come after newer ones of their subject: they are kept, and not judged.
    pub late: usize,
    /// Why it is still dead; `None` if it is not.
    pub dead: Option<String>,
    /// Why nothing comes of it.
    pub nothing: String,
    /// What is wrong with what is written all the same.
    pub told: Vec<String>,
    /// The records of those.
    #[serde(skip)]
    pub records: Vec<Made>,
}

impl Fate {
    /// What a redrive does with it, in words.
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.written.is_empty() {
            parts.push(format!("would write {} to {}", ids(&self.written), self.topic));
        }
        if !self.present.is_empty() {
            parts.push(format!("{} is there already", ids(&self.present)));
        }
        if self.late > 0 {
            parts.push("it comes after newer ones of its subject: kept, and not judged".to_owned());
        }
        if !self.nothing.is_empty() {
            parts.push(format!("nothing comes of it: {}", self.nothing));
        }
        parts.extend(self.dead.as_ref().map(|reason| format!("still dead: {reason}")));
        parts.extend(self.told.iter().cloned());
        parts.join("; ")
    }
}

/// Ids, one after the other.
pub fn ids(ids: &[Id]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Somebody who decides.
pub struct Redrive<'a> {
    log: &'a dyn Log,
    settings: &'a Settings,
    schemas: Option<Arc<dyn Schemas>>,
    /// Who it is, for the facts.
    by: String,
    /// Ids that were planned before in this run: a second row with one is a repeat.
    planned: HashSet<Id>,
    worker: Option<Box<dyn Worker>>,
    work: Transaction,
    now: Micros,
}

/// Is told of each fate, when it is certain.
pub type Tell<'t> = dyn FnMut(&Fate) + 't;

impl<'a> Redrive<'a> {
    /// Nothing was decided yet.
    pub fn new(log: &'a dyn Log, settings: &'a Settings, by: &str, now: Micros) -> Redrive<'a> {
        let (by, planned, work) = (by.to_owned(), HashSet::new(), Transaction::default());
        Redrive { log, settings, schemas: None, by, planned, worker: None, work, now }
    }

    /// Asks there for the schemas of values.
    #[must_use]
    pub fn knowing(self, schemas: Option<Arc<dyn Schemas>>) -> Redrive<'a> {
        Redrive { schemas, ..self }
    }

    /// Shuts out everybody else who decides, and gives the letters as they stand then.
    ///
    /// # Errors
    /// If the log does not answer.
    pub fn begin(&mut self) -> Result<Letters, LogError> {
        let spec = WorkerSpec { id: WORKER.to_owned(), ..WorkerSpec::default() };
        self.worker = Some(self.log.worker(&spec)?);
        self.log.settle_topics(&[DEAD_LETTERS, DEAD_DECISIONS])?;
        Letters::read(self.log)
    }

    /// Says what would become of the letters, and does it if [`Redrive::begin`] was called.
    ///
    /// # Errors
    /// If the log does not answer or does not take it. What was told of stays.
    pub fn run(
        &mut self,
        letters: &Letters,
        wanted: &[Id],
        tell: &mut Tell<'_>,
    ) -> anyhow::Result<()> {
        let mut judge = Judge::new(self.settings, self.schemas.clone(), self.now)?;
        let terms = Terms::of(self.settings);
        for some in wanted.chunks(AT_ONCE) {
            let these: HashSet<Id> = some.iter().copied().collect();
            let mut fates = Vec::new();
            letters.each::<LogError>(self.log, &|id| these.contains(&id), &mut |letter| {
                fates.push(fate(&letter, judge.judge(&letter, Some(self.log))?));
                Ok(())
            })?;
            let places = Present::places(self.log, &fates)?;
            if self.worker.is_some() {
                self.log.settle(&places, SETTLES)?;
            }
            let found = Present::look(self.log, &places, &fates, &terms)?;
            found.sort_out(&mut fates, &mut self.planned);
            for some in fates.chunks(IN_ONE) {
                if self.worker.is_some() {
                    if let Some(set) = judge.overtaken(self.log)? {
                        anyhow::bail!(
                            "another upload of data set `{set}` has begun meanwhile, and rows of two \
                             versions do not mix; what is committed stays, run the command again to \
                             go on"
                        );
                    }
                    some.iter().try_for_each(|fate| self.put(fate))?;
                    self.commit()?;
                }
                some.iter().for_each(&mut *tell);
            }
        }
        Ok(())
    }

    /// Says that nothing shall come of the letters.
    ///
    /// # Errors
    /// If the log does not answer or does not take it.
    pub fn drop_all(&mut self, wanted: &[Id], reason: &str) -> anyhow::Result<()> {
        for some in wanted.chunks(IN_ONE) {
            for letter in some {
                let decision = self.decision(*letter, DROPPED, reason.to_owned());
                self.decide(&decision)?;
            }
            self.commit()?;
        }
        Ok(())
    }

    fn put(&mut self, fate: &Fate) -> Result<(), LogError> {
        for Made { topic, key, value, .. } in &fate.records {
            let topic = self.work.register(topic, self.log.partitions(topic)?);
            self.work.to(topic, key).push(key, Some(value));
        }
        let (verdict, reason) = match &fate.dead {
            Some(reason) => (STILL_DEAD, reason.clone()),
            None => (REDRIVEN, fate.nothing.clone()),
        };
        let decision = self.decision(fate.letter, verdict, reason);
        let topic = if fate.written.is_empty() { String::new() } else { fate.topic.clone() };
        let (written, present) = (fate.written.clone(), fate.present.clone());
        self.decide(&DeadDecision { topic, written, present, ..decision })
    }

    fn decision(&self, letter: Id, verdict: &str, reason: String) -> DeadDecision {
        DeadDecision {
            letter,
            verdict: verdict.to_owned(),
            reason,
            topic: String::new(),
            written: Vec::new(),
            present: Vec::new(),
            by: self.by.clone(),
            at: self.now,
        }
    }

    fn decide(&mut self, decision: &DeadDecision) -> Result<(), LogError> {
        let key = decision.key();
        let topic = self.work.register(DEAD_DECISIONS, self.log.partitions(DEAD_DECISIONS)?);
        let out = self.work.to(topic, key.as_bytes());
        out.push_with(key.as_bytes(), |bytes| wire::write(decision, bytes));
        Ok(())
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        self.work.time = self.now;
        let Some(worker) = &mut self.worker else { return Ok(()) };
        worker.commit_patiently(&mut self.work, PATIENCE).map_err(|error| {
            anyhow::anyhow!(
                "cannot commit what was decided: {error}; what is committed stays, run the \
                 command again to go on"
            )
        })
    }
}

/// What the judge says, before anybody has looked what is there.
fn fate(letter: &DeadLetter, judged: tocsin_ingest::redrive::Outcome) -> Fate {
    let origin = match &letter.position {
        Some(position) if letter.origin.is_empty() => position.to_string(),
        _ => letter.origin.clone(),
    };
    Fate {
        letter: letter.id,
        origin,
        topic: judged.events.first().map_or(&*letter.topic, |made| made.topic).to_owned(),
        dead: judged.dead,
        nothing: judged.nothing.to_owned(),
        told: judged.told,
        records: judged.events,
        ..Fate::default()
    }
}

/// Says in words what a redrive of these letters would do now, as `tocsin dlq redrive` says it: in the
/// order in which they are given, less what is there already. It writes nothing. Whole partitions are
/// read for that, so it is done for one who asks at a time.
///
/// # Errors
/// If a source is configured wrong.
pub fn words(
    log: Arc<dyn Log>,
    settings: &Settings,
    schemas: Option<Arc<dyn Schemas>>,
) -> anyhow::Result<tocsin_api::Redrive> {
    let judge = Mutex::new(Judge::new(settings, schemas, Micros::default())?);
    let terms = Terms::of(settings);
    Ok(Arc::new(move |letters| {
        let mut judge = judge.lock().unwrap_or_else(PoisonError::into_inner);
        match plan(judge.at(facts::now()), &*log, letters, &terms) {
            Ok(fates) => fates.iter().map(Fate::words).collect(),
            Err(error) => vec![error.to_string(); letters.len()],
        }
    }))
}

/// The fates of letters, written nowhere.
fn plan(
    judge: &mut Judge,
    log: &dyn Log,
    letters: &[DeadLetter],
    terms: &Terms,
) -> Result<Vec<Fate>, LogError> {
    let judged = letters.iter().map(|letter| Ok(fate(letter, judge.judge(letter, Some(log))?)));
    let mut fates = judged.collect::<Result<Vec<_>, LogError>>()?;
    let found = Present::look(log, &Present::places(log, &fates)?, &fates, terms)?;
    found.sort_out(&mut fates, &mut HashSet::new());
    Ok(fates)
}

/// One letter's fate, written nowhere.
///
/// # Errors
/// If the log does not answer.
pub fn of_one(
    log: &dyn Log,
    (settings, schemas): (&Settings, Option<Arc<dyn Schemas>>),
    letter: &DeadLetter,
    now: Micros,
) -> anyhow::Result<Fate> {
    let mut judge = Judge::new(settings, schemas, now)?;
    let fates = plan(&mut judge, log, std::slice::from_ref(letter), &Terms::of(settings))?;
    Ok(fates.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_domain::TopicPartition;
    use tocsin_domain::topics::{DATASETS_ROWS, Topics};
    use tocsin_ingest::datasets::{Loader, Upload};
    use tocsin_stream::letters::Filter;
    use tocsin_stream::memory::MemoryLog;
    use tocsin_testkit::veil::Veiled;

    const SET: &str = "[[datasets]]\nname = \"catalogue\"\n[[datasets.files]]\nname = \"columns\"\n\
        types = { size = \"whole\" }\n";

    /// Otherwise a letter is driven twice.
    #[test]
    fn what_somebody_else_has_just_decided_is_waited_for_until_it_can_be_seen() {
        let inner = MemoryLog::new();
        inner.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let settings = Settings::parse("", "t.toml", Micros(0)).unwrap();
        let letter = DeadLetter {
            id: Id::of("dead-letter", &[b"1"]),
            topic: "aqi.readings".into(),
            position: None,
            origin: "a.csv:1".into(),
            key: b"k".to_vec(),
            value: b"x".to_vec(),
            class: "value".into(),
            reason: "bad".into(),
            service: "ingest".into(),
            at: Micros(1),
            source: "a".into(),
            head: Vec::new(),
            cut: false,
            search: String::new(),
        };
        let mut work = Transaction::default();
        let topic = work.register(DEAD_LETTERS, 8);
        work.to(topic, &letter.key).push_with(&letter.key, |bytes| wire::write(&letter, bytes));
        inner.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
        let log = Veiled::new(inner.clone());
        log.hide(&[DEAD_DECISIONS]).unwrap();
        let mut first = Redrive::new(&*inner, &settings, "a", Micros(2));
        assert_eq!(first.begin().unwrap().count(&Filter::default()), 1);
        first.drop_all(&[letter.id], "no").unwrap();
        let letters = log.waited_for(|| Redrive::new(&*log, &settings, "b", Micros(3)).begin());
        assert_eq!(letters.unwrap().count(&Filter::default()), 0);
    }

    #[test]
    fn an_upload_that_begins_in_between_ends_the_redrive_of_the_one_before() {
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let settings = |text: &str| Settings::parse(text, "t.toml", Micros(0)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let upload = |rows: &str| {
            let path = directory.path().join("columns.csv");
            std::fs::write(&path, format!("id,size\n{rows}")).unwrap();
            let set = settings(SET).datasets.remove(0);
            let upload = Upload::open(&set, &[path]).unwrap();
            let loader = Loader::new(log.clone(), &set, Arc::new(|| Micros(1)));
            loader.load(&upload, &mut || true).unwrap()
        };
        let rows = || {
            let (mut found, log) = (0, &*log as &dyn Log);
            for partition in 0..log.partitions(DATASETS_ROWS).unwrap() {
                let scanned = log.scan_all(&TopicPartition::new(DATASETS_ROWS, partition), |_| {
                    found += 1;
                    Ok::<(), LogError>(())
                });
                scanned.unwrap();
            }
            found
        };
        let many = IN_ONE + 100;
        upload(&(0..many).map(|n| format!("{n},1.5\n")).collect::<String>());
        assert_eq!(rows(), 2, "all of them are dead, but for the notes");

        let corrected = settings(&SET.replace("whole", "decimal"));
        let mut redrive = Redrive::new(&*log, &corrected, "me", Micros(9));
        let letters = redrive.begin().unwrap();
        let wanted = letters.ids(&Filter::default());
        assert_eq!(wanted.len(), many);
        let mut told = 0;
        let done = redrive.run(&letters, &wanted, &mut |_| {
            if told == 0 {
                upload("x,2\n");
            }
            told += 1;
        });
        let error = done.unwrap_err().to_string();
        assert!(error.contains("another upload of data set `catalogue` has begun"), "{error}");
        assert_eq!((told, rows()), (IN_ONE, 2 + IN_ONE + 3), "what was committed before stays");
    }
}
