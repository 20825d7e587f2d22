//! The open transaction of an upload, and how far it is. What an earlier try had written goes by
//! and is not written again; where one row ends and the next begins, it may be cut. The row with which
//! too many are dead is the last one, and the pause is committed with it.

use super::account::Account;
use super::again::Head;
use super::load::{Ending, paused};
use super::plan::{Fate, Line};
use super::receipt::{self, Receipt};
use super::report::Report;
use super::settings::DatasetConfig;
use super::table::Fault;
use crate::cursor;
use crate::mapping::DEAD_LETTER_CAP;
use crate::pause::Counted;
use crate::redrive::OF_SET;
use crate::source::IngestError;
use crate::tally::Tally;
use tocsin_domain::dead_letter::DeadLetter;
use tocsin_domain::event::{DatasetRow, DatasetRowKind, subject_key};
use tocsin_domain::topics::{DATASETS_ROWS, DEAD_LETTERS};
use tocsin_domain::{Id, Micros, wire};
use tocsin_stream::log::PATIENCE;
use tocsin_stream::{CommitError, Log, Transaction, Worker, crash};

/// Bytes of rows in a transaction, after which it is committed even if it has few.
const BATCH_BYTES: usize = 4 << 20;

/// How far the rows of an upload are counted, over all tries of it.
pub(super) struct Count<'c> {
    /// From the first one on; `None` before the first try.
    rows: Option<u64>,
    /// Hears of those that are new.
    tell: &'c mut dyn FnMut(Tally),
}

impl<'c> Count<'c> {
    pub(super) fn new(tell: &'c mut dyn FnMut(Tally)) -> Count<'c> {
        Count { rows: None, tell }
    }

    pub(super) fn rows(&self) -> Option<u64> {
        self.rows
    }

    pub(super) fn take(&mut self, tally: Tally) {
        if tally.rows > 0 {
            self.rows = Some(self.rows.unwrap_or_default() + tally.rows);
            (self.tell)(tally);
        }
    }
}

/// Writes one upload.
pub(super) struct Press<'l, 'c> {
    set: &'l DatasetConfig,
    account: Option<&'l dyn Account>,
    worker: Box<dyn Worker>,
    transaction: Transaction,
    rows: usize,
    dead: usize,
    receipts: usize,
    receipt: Receipt,
    receipt_key: Vec<u8>,
    key: Vec<u8>,
    /// Rows that went by, of every kind.
    seen: u64,
    /// Rows of the open transaction, and their bytes.
    open: (u64, usize),
    /// How far rows are counted: before this try of it, or by it.
    counted: u64,
    /// The rows behind that.
    tally: Tally,
    /// Hears of them.
    told: &'l mut Count<'c>,
    now: Micros,
}

impl<'l, 'c> Press<'l, 'c> {
    /// Goes on after what `receipt` says. A try that begins again has counted some rows, and may have
    /// written more: what it has not counted is counted, be it written already or not.
    pub(super) fn new(
        log: &dyn Log,
        (set, account): (&'l DatasetConfig, Option<&'l dyn Account>),
        worker: Box<dyn Worker>,
        (receipt, told): (Receipt, &'l mut Count<'c>),
    ) -> Result<Press<'l, 'c>, Ending> {
        let counted = *told.rows.get_or_insert(receipt.rows);
        let mut transaction = Transaction::default();
        let mut register = |topic: &str| -> Result<usize, Ending> {
            Ok(transaction.register(topic, log.partitions(topic)?))
        };
        let (rows, dead) = (register(DATASETS_ROWS)?, register(DEAD_LETTERS)?);
        let receipts = register(cursor::TOPIC)?;
        let mut key = Vec::new();
        subject_key(&mut key, set.tenant(), &set.name);
        Ok(Press {
            set,
            account,
            worker,
            transaction,
            rows,
            dead,
            receipts,
            receipt_key: receipt::key(set.tenant(), &set.name, receipt.upload),
            now: receipt.begun,
            receipt,
            key,
            seen: 0,
            open: (0, 0),
            counted,
            tally: Tally::default(),
            told,
        })
    }

    /// The note that the set is opened or closed, with what it says.
    pub(super) fn border(&mut self, kind: DatasetRowKind, fields: &[(String, String)]) {
        let (word, row) = match kind {
            DatasetRowKind::Closed => ("closed", self.seen + 1),
            _ => ("opened", 0),
        };
        let (tenant, set) = (self.set.tenant(), self.set.name.as_str());
        let upload = self.receipt.upload;
        let parts = [tenant.as_bytes(), set.as_bytes(), upload.as_bytes(), word.as_bytes()];
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.event(&DatasetRow {
            id: Id::of("dataset-row", &parts),
            tenant,
            dataset: set,
            kind,
            file: "",
            line: 0,
            fields: fields.collect(),
            event_time: self.receipt.time(row),
            arrival_time: self.now,
            source: set,
        });
    }

    /// A row, unless it is written already.
    pub(super) fn line(&mut self, line: Line<'_>, now: &dyn Fn() -> Micros) -> Result<(), Ending> {
        if self.seen < self.receipt.rows {
            self.pass(&line);
            return Ok(());
        }
        let counted = self.count(&line);
        if let Counted::Shut(reason) = counted {
            self.commit(now)?;
            return Err(paused(self.set, &reason));
        }
        self.pass(&line);
        self.write(&line);
        let (Counted::Over(_, pause), Some(account)) = (counted, self.account) else {
            return Ok(());
        };
        let whom = account.guard().whom();
        whom.write(&pause, &mut self.transaction, self.receipts).map_err(IngestError::Commit)?;
        self.commit(now)?;
        Err(paused(self.set, &pause.reason))
    }

    /// The row goes by, and is counted with the next commit unless it was before.
    fn pass(&mut self, line: &Line<'_>) {
        self.seen += 1;
        if self.seen > self.counted {
            self.tally = self.tally.plus(one(&line.fate));
        }
    }

    /// Whether whose row it is is paused, or is with it.
    fn count(&self, line: &Line<'_>) -> Counted {
        let dead: &[usize] = match line.fate {
            Fate::Blank => return Counted::Fine,
            Fate::Event(_) => &[],
            Fate::Dead(_) => &[0],
        };
        let count = |account: &dyn Account| account.guard().count(1, dead, (line.name, self.now));
        self.account.map_or(Counted::Fine, count)
    }

    fn write(&mut self, line: &Line<'_>) {
        self.open = (self.open.0 + 1, self.open.1 + line.raw.len());
        let (tenant, set) = (self.set.tenant(), self.set.name.as_str());
        let place = (line.file, line.line, &*line.raw);
        match &line.fate {
            Fate::Blank => {}
            Fate::Event(fields) => self.event(&DatasetRow {
                id: id("dataset-row", self.set, place),
                tenant,
                dataset: set,
                kind: DatasetRowKind::Row,
                file: line.name,
                line: i64::try_from(line.line).unwrap_or(i64::MAX),
                fields: fields.iter().map(|(name, value)| (*name, &**value)).collect(),
                event_time: self.receipt.time(self.seen),
                arrival_time: self.now,
                source: set,
            }),
            Fate::Dead(fault) => {
                let letter = self.letter(id("dead-letter", self.set, place), line, fault);
                let builder = self.transaction.to(self.dead, &letter.key);
                builder.push_with(&letter.key, |out| wire::write(&letter, out));
            }
        }
    }

    fn event(&mut self, row: &DatasetRow<'_>) {
        let builder = self.transaction.to(self.rows, &self.key);
        builder.push_with(&self.key, |out| wire::write(row, out));
    }

    fn letter(&self, id: Id, line: &Line<'_>, fault: &Fault) -> DeadLetter {
        let kept = &line.raw[..line.raw.len().min(DEAD_LETTER_CAP)];
        let cut = line.raw.len() > kept.len();
        let rest = match cut {
            true => format!("; only the first {DEAD_LETTER_CAP} bytes of the row are kept"),
            false => String::new(),
        };
        DeadLetter {
            id,
            topic: DATASETS_ROWS.to_owned(),
            position: None,
            origin: format!("{}:{}", line.name, line.line),
            key: self.key.clone(),
            value: kept.to_vec(),
            class: fault.kind.word().to_owned(),
            reason: format!("{}{rest}", fault.reason),
            service: "ingest".to_owned(),
            at: self.now,
            source: format!("{OF_SET}{}", self.set.name),
            head: Head::of(line, self.receipt.upload, self.seen),
            cut,
            search: String::new(),
        }
    }

    /// Whether there is enough for a commit.
    pub(super) fn is_full(&self, rows: u64) -> bool {
        self.open.0 >= rows || self.open.1 >= BATCH_BYTES
    }

    /// All rows went by.
    pub(super) fn done(&mut self, report: Report) {
        self.receipt.done = true;
        self.receipt.report = Some(report);
    }

    /// Commits what is open, with how far it is, and tells what came of the rows that are new.
    pub(super) fn commit(&mut self, now: &dyn Fn() -> Micros) -> Result<(), Ending> {
        self.receipt.rows = self.receipt.rows.max(self.seen);
        let value = serde_json::to_vec(&self.receipt)
            .map_err(|e| IngestError::Commit(format!("the receipt cannot be written: {e}")))?;
        let builder = self.transaction.to(self.receipts, &self.receipt_key);
        builder.push(&self.receipt_key, Some(&value));
        self.transaction.time = self.now;
        crash::point("dataset-commit");
        self.try_commit()?;
        if let Some(account) = self.account {
            account.wrote(self.open.0);
        }
        self.open = (0, 0);
        self.now = now();
        self.told.take(std::mem::take(&mut self.tally));
        Ok(())
    }

    fn try_commit(&mut self) -> Result<(), Ending> {
        self.worker.commit_patiently(&mut self.transaction, PATIENCE).map_err(|error| match error {
            CommitError::Retriable(reason) => IngestError::Commit(reason).into(),
            // A new worker would shut out the upload that has shut out this one.
            CommitError::Fatal(reason) => {
                IngestError::Fenced { name: self.set.name.clone(), reason }.into()
            }
            // A new worker and the receipt tell what is committed, whichever it was.
            other => Ending::Restart(other.to_string()),
        })
    }
}

/// A row, counted.
pub(super) fn one(fate: &Fate<'_>) -> Tally {
    match fate {
        Fate::Blank => Tally { rows: 1, blank: 1, ..Tally::default() },
        Fate::Event(_) => Tally { rows: 1, events: 1, processed: 1, ..Tally::default() },
        Fate::Dead(_) => Tally::dead(1),
    }
}

/// The id of what comes of a row: of what its file stands for, its line and its bytes.
pub(super) fn id(what: &str, set: &DatasetConfig, (file, line, bytes): (&str, u64, &[u8])) -> Id {
    let whose = [set.tenant().as_bytes(), set.name.as_bytes(), file.as_bytes()];
    Id::of(what, &[whose[0], whose[1], whose[2], &line.to_be_bytes(), bytes])
}
