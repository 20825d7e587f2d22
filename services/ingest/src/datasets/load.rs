//! Writes an upload: rows, dead letters and how far it is in one transaction each, so that a killed
//! one goes on exactly where it was and the same bytes add nothing. The note that a set is closed
//! comes with the last rows, once every file was read to its end.

use super::account::Account;
use super::plan::{GoOn, Plan};
use super::press::{self, Count, Press};
use super::receipt::{self, Receipt};
use super::report::Report;
use super::settings::DatasetConfig;
use super::upload::Upload;
use super::{DatasetError, Finding};
use crate::cursor;
use crate::source::IngestError;
use crate::tally::Tally;
use std::sync::Arc;
use tocsin_domain::event::DatasetRowKind;
use tocsin_domain::{Id, Micros};
use tocsin_stream::{Log, LogError, WorkerSpec};

/// Rows in a transaction.
const BATCH_ROWS: u64 = 4_000;
/// How often an upload begins again from its receipt before it gives up.
const RESTARTS: u32 = 5;

/// Writes uploads of one set.
pub struct Loader {
    log: Arc<dyn Log>,
    set: DatasetConfig,
    now: Arc<dyn Fn() -> Micros + Send + Sync>,
    again: bool,
    rows_at_once: u64,
    account: Option<Arc<dyn Account>>,
}

/// What came of an upload.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Its id.
    pub upload: Id,
    /// Nothing was done, because it had been written before.
    pub known: bool,
    /// How many rows an earlier try had written.
    pub resumed: Option<u64>,
    /// Its report.
    pub report: Report,
}

/// Why an attempt ended early.
pub(super) enum Ending {
    Error(DatasetError),
    Restart(String),
}

impl From<DatasetError> for Ending {
    fn from(error: DatasetError) -> Ending {
        Ending::Error(error)
    }
}

impl From<IngestError> for Ending {
    fn from(error: IngestError) -> Ending {
        Ending::Error(error.into())
    }
}

impl From<LogError> for Ending {
    fn from(error: LogError) -> Ending {
        IngestError::from(error).into()
    }
}

impl Loader {
    /// Writes uploads of `set` into `log`; `now` gives times of arrival.
    pub fn new(
        log: Arc<dyn Log>,
        set: &DatasetConfig,
        now: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Loader {
        let (set, rows_at_once) = (set.clone(), BATCH_ROWS);
        Loader { log, set, now, again: false, rows_at_once, account: None }
    }

    /// Whose rows they are; nobody's who could be paused, if nothing is said.
    #[must_use]
    pub fn of(self, account: Arc<dyn Account>) -> Loader {
        Loader { account: Some(account), ..self }
    }

    /// Whether uploads that were written before are written again, from their start.
    #[must_use]
    pub fn again(mut self, again: bool) -> Loader {
        self.again = again;
        self
    }

    /// Commits after so many rows, at least 1.
    #[must_use]
    pub fn rows_at_once(mut self, rows: u64) -> Loader {
        self.rows_at_once = rows.max(1);
        self
    }

    /// Reads the upload and tells everything that is wrong with it; writes nothing.
    ///
    /// # Errors
    /// What it is refused for as a whole.
    pub fn check(
        &self,
        upload: &Upload,
        tell: &mut dyn FnMut(&Finding),
    ) -> Result<Report, DatasetError> {
        let plan = Plan::of(&self.set, upload, &mut || true)?;
        plan.walk(tell, &mut |_| Ok::<(), DatasetError>(()))
    }

    /// Writes the upload, from where an earlier try of it stopped.
    ///
    /// # Errors
    /// What it is refused for as a whole, before anything is written; if the log does not answer;
    /// or if `go_on` says no or whose it is is paused, with what was committed staying.
    pub fn load(&self, upload: &Upload, go_on: &mut GoOn<'_>) -> Result<Loaded, DatasetError> {
        self.load_and_count(upload, go_on, &mut |_| {})
    }

    /// The same; `count` hears what came of the rows of each commit, be the rest written or not.
    ///
    /// # Errors
    /// The same.
    pub fn load_and_count(
        &self,
        upload: &Upload,
        go_on: &mut GoOn<'_>,
        count: &mut dyn FnMut(Tally),
    ) -> Result<Loaded, DatasetError> {
        let plan = Plan::of(&self.set, upload, go_on)?;
        let mut from_start = self.again;
        let mut count = Count::new(count);
        for restart in 0.. {
            match self.attempt(&plan, &mut from_start, go_on, &mut count) {
                Ok(loaded) => return Ok(loaded),
                Err(Ending::Error(error)) => return Err(error),
                Err(Ending::Restart(reason)) if restart >= RESTARTS => {
                    return Err(IngestError::Commit(reason).into());
                }
                Err(Ending::Restart(reason)) => {
                    tracing::warn!(dataset = self.set.name, "upload begins again: {reason}");
                }
            }
        }
        Err(IngestError::Stopped.into())
    }

    fn attempt(
        &self,
        plan: &Plan<'_>,
        from_start: &mut bool,
        go_on: &mut GoOn<'_>,
        count: &mut Count<'_>,
    ) -> Result<Loaded, Ending> {
        if let Some(reason) = self.account.as_ref().and_then(|account| account.guard().shut()) {
            return Err(paused(&self.set, &reason));
        }
        let (tenant, set) = (self.set.tenant(), self.set.name.as_str());
        // The worker shuts out every upload of the set before this one, so that no two mix.
        let id = format!("dataset-{tenant}-{set}");
        let worker = self.log.worker(&WorkerSpec { id: id.clone(), group: id, inputs: vec![] })?;
        self.log.settle_topics(&[cursor::TOPIC])?;
        let all = receipt::of_set(&*self.log, tenant, set)?;
        let known = all.iter().find(|receipt| receipt.upload == plan.id);
        if known.is_some_and(|receipt| receipt.done) && !*from_start {
            let whole = receipt::find(&*self.log, (tenant, set), plan.id)?;
            let report = whole.and_then(|receipt| receipt.report).unwrap_or_default();
            if let Some(counted) = count.rows() {
                // The last commit of a try of ours was there, and nobody had said so.
                count.take(rest(plan, counted)?);
            }
            return Ok(Loaded { upload: plan.id, known: true, resumed: None, report });
        }
        // What another upload has come between is begun again: rows of two versions do not mix.
        let open = all.last().filter(|last| last.upload == plan.id && !last.done && !*from_start);
        let after = all.iter().map(|receipt| receipt.time(receipt.rows + 2)).max();
        let begun = (self.now)().max(after.unwrap_or_default());
        let receipt = open.cloned().unwrap_or_else(|| Receipt::begin(plan.id, begun));
        let resumed = open.map(|receipt| receipt.rows);
        let of = (&self.set, self.account.as_deref());
        let mut press = Press::new(&*self.log, of, worker, (receipt, count))?;
        if resumed.is_none() {
            press.border(DatasetRowKind::Opened, &opened(plan));
            press.commit(&*self.now)?;
            *from_start = false;
        }
        let report = plan.walk::<Ending>(&mut |_| {}, &mut |line| {
            press.line(line, &*self.now)?;
            if press.is_full(self.rows_at_once) {
                press.commit(&*self.now)?;
                if !go_on() {
                    return Err(IngestError::Stopped.into());
                }
            }
            Ok(())
        })?;
        press.border(DatasetRowKind::Closed, &closed(plan.id, &report));
        press.done(report.clone());
        press.commit(&*self.now)?;
        Ok(Loaded { upload: plan.id, known: false, resumed, report })
    }
}

pub(super) fn paused(set: &DatasetConfig, reason: &str) -> Ending {
    DatasetError::Paused { set: set.name.clone(), reason: reason.to_owned() }.into()
}

/// What comes of the rows behind the first `counted`.
fn rest(plan: &Plan<'_>, counted: u64) -> Result<Tally, Ending> {
    let (mut seen, mut tally) = (0, Tally::default());
    plan.walk::<Ending>(&mut |_| {}, &mut |line| {
        seen += 1;
        if seen > counted {
            tally = tally.plus(press::one(&line.fate));
        }
        Ok(())
    })?;
    Ok(tally)
}

/// What the note says that a set is opened: the upload, and the name of each file.
fn opened(plan: &Plan<'_>) -> Vec<(String, String)> {
    let files = plan.sheets().iter().map(|sheet| {
        let name = &sheet.part.name;
        (plan.file_name(sheet).to_owned(), name.clone())
    });
    std::iter::once(("upload".to_owned(), plan.id.to_string())).chain(files).collect()
}

/// What the note says that a set is closed: the counts of its report.
fn closed(upload: Id, report: &Report) -> Vec<(String, String)> {
    let counts = [
        ("rows", report.rows),
        ("events", report.events),
        ("dead-letters", report.dead_letters),
        ("blank", report.blank),
    ];
    let counts = counts.into_iter().chain(report.faults.iter().map(|(kind, n)| (kind.word(), *n)));
    let upload = std::iter::once(("upload".to_owned(), upload.to_string()));
    upload.chain(counts.map(|(word, n)| (word.to_owned(), n.to_string()))).collect()
}
