//! What a poller has before it: the worker that commits for it, the ledger, the searches and what
//! is remembered of each. Read from the log when the source becomes ours, and folded in only after
//! a commit.

use super::asks::Asks;
use super::seen::{SEEN_CAP, Seen};
use super::settings::{self, Polling};
use super::{Lost, Office, ledger};
use crate::cursor;
use crate::folders::News;
use crate::pause::{Standing, Whom};
use crate::poison::Rate;
use crate::settings::SourceConfig;
use crate::tally::Tally;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::topics::DEAD_LETTERS;
use tocsin_domain::upstream::{Asked, Pause, Quota};
use tocsin_domain::{Id, Micros, TopicPartition};
use tocsin_stream::log::PATIENCE;
use tocsin_stream::{Log, Transaction, Worker, WorkerSpec};

/// One source, as it stands.
pub(super) struct Desk {
    worker: Box<dyn Worker>,
    /// What the next commit holds.
    pub transaction: Transaction,
    /// Where dead letters go in it.
    pub dead_letters: usize,
    cursors: usize,
    /// Its namespace.
    pub tenant: String,
    /// The ledger.
    pub quota: Quota,
    /// Everything that is asked.
    pub searches: Vec<Asked>,
    /// What each of them has brought.
    pub seen: HashMap<String, Seen>,
    /// How answers are read.
    pub mapping: String,
    /// How the last rows were.
    pub rate: Rate,
    /// Whether the source is paused.
    pub standing: Standing,
    /// The rows that the next commit holds.
    pub tally: Tally,
    /// Hears of them once they are committed.
    tell: Arc<dyn Fn(News<'_>) + Send + Sync>,
    asks: Asks,
}

impl Desk {
    /// Shuts out whoever asked before, then reads how things stand.
    pub fn open(
        office: &Office,
        config: &SourceConfig,
        polling: &Polling,
        rate: Rate,
    ) -> Result<Desk, Lost> {
        let (log, tenant, name) = (&*office.log, config.tenant(), config.name.as_str());
        let id = format!("poll-{name}");
        let worker = log.worker(&WorkerSpec { id: id.clone(), group: id, inputs: Vec::new() })?;
        log.settle_topics(&[cursor::TOPIC])?;
        let mut transaction = Transaction::default();
        let dead_letters = transaction.register(DEAD_LETTERS, log.partitions(DEAD_LETTERS)?);
        let cursors = transaction.register(cursor::TOPIC, log.partitions(cursor::TOPIC)?);
        let mut known = Known::read(log, &format!("{tenant}/{name}/"))?;
        let quota = known.take(&Quota::key(tenant, name));
        let mut desk = Desk {
            worker,
            transaction,
            dead_letters,
            cursors,
            tenant: tenant.to_owned(),
            quota: Quota { source: name.to_owned(), budget: polling.limits.budget, ..quota },
            searches: Vec::new(),
            seen: HashMap::new(),
            mapping: Id::of("mapping", &[format!("{config:?}").as_bytes()]).to_string(),
            rate,
            standing: Standing::new(Whom::source(config)),
            tally: Tally::default(),
            tell: office.tell.clone(),
            asks: Asks::new(tenant, name),
        };
        let now = (office.now)();
        desk.asks.look(log, now)?;
        for (search, every) in desk.asks.union(polling) {
            desk.add(&mut known, &search, every)?;
        }
        desk.forget(&known);
        desk.reconsider();
        desk.recognize(&polling.account.mark());
        desk.commit(now)?;
        Ok(desk)
    }

    /// Looks whether watches ask otherwise by now, and asks what they ask. Only between two runs.
    pub fn look(&mut self, log: &dyn Log, polling: &Polling, now: Micros) -> Result<(), Lost> {
        if !self.asks.look(log, now)? {
            return Ok(());
        }
        let mut wanted = self.asks.union(polling);
        self.drop_others(&wanted);
        for asked in &mut self.searches {
            if let Some(every) = wanted.remove(&asked.search) {
                let known = std::mem::take(asked);
                let (source, search) = (known.source.clone(), known.search.clone());
                *asked = settings::wanted(&source, &search, every, Some(known));
            }
        }
        for (search, every) in wanted {
            self.add(&mut Known::default(), &search, every)?;
        }
        self.commit(now)
    }

    /// Under another configuration what failed before may work: the source is tried at once, unless
    /// the upstream itself has said how long it wants to be left alone.
    fn reconsider(&mut self) {
        let mapping = &self.mapping;
        let is_other = |one: &Asked| !one.mapping.is_empty() && one.mapping != *mapping;
        if !self.quota.told && self.searches.iter().any(is_other) {
            ledger::clear(&mut self.quota);
        }
    }

    /// Whoever asks with other credentials, or somebody else, is another account: what was said to the
    /// one before counts no more. What it has spent today does.
    pub fn recognize(&mut self, account: &str) {
        let before = std::mem::replace(&mut self.quota.account, account.to_owned());
        // An earlier version did not say who asked.
        if before.is_empty() || before == account {
            return;
        }
        ledger::clear(&mut self.quota);
        for asked in self.searches.iter_mut().filter(|asked| !asked.error.is_empty()) {
            (asked.due_at, asked.failures) = (None, 0);
        }
    }

    /// Asks no more what nobody wants, and forgets it with the next commit.
    fn drop_others(&mut self, wanted: &BTreeMap<String, Duration>) {
        let (kept, gone): (Vec<Asked>, Vec<Asked>) = std::mem::take(&mut self.searches)
            .into_iter()
            .partition(|asked| wanted.contains_key(&asked.search));
        self.searches = kept;
        for Asked { source, search, .. } in gone {
            self.put(&Asked::key(&self.tenant, &source, &search), None);
            for sheet in 0..self.seen.remove(&search).map_or(0, |seen| seen.sheets()) {
                self.put(&Seen::key(&self.tenant, &source, &search, sheet), None);
            }
        }
    }

    /// What was asked once and is not any more goes with the next commit. What is remembered of a
    /// search that is asked has been taken out of `known`.
    fn forget(&mut self, known: &Known) {
        let ours = format!("{}/{}/", self.tenant, self.quota.source);
        let kept: HashSet<&str> = self.searches.iter().map(|one| one.search.as_str()).collect();
        let is_gone = |key: &[u8]| {
            let rest = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(&ours));
            let asked = rest.and_then(|rest| rest.strip_prefix("search/"));
            asked.is_some_and(|search| !kept.contains(search))
                || rest.is_some_and(|rest| Seen::search_of(rest).is_some())
        };
        for key in known.0.keys().filter(|key| is_gone(key)) {
            self.transaction.to(self.cursors, key).push(key, None);
        }
    }

    /// Asks one more; if it is new, that is seen before it is asked, with the next commit.
    fn add(&mut self, known: &mut Known, search: &str, every: Duration) -> Result<(), Lost> {
        let (tenant, source) = (self.tenant.as_str(), self.quota.source.as_str());
        let key = Asked::key(tenant, source, search);
        let asked: Option<Asked> = known.find(&key);
        let is_new = asked.is_none();
        let mut asked = settings::wanted(source, search, every, asked);
        if asked.mapping != self.mapping {
            // What was said under another configuration may be otherwise now, errors as well.
            asked.due_at = None;
            asked.failures = 0;
        }
        let sheet = |number| known.0.remove(Seen::key(tenant, source, search, number).as_bytes());
        let sheets: Vec<Vec<u8>> = (0..).map_while(sheet).collect();
        let seen = Seen::decode(sheets.iter().map(Vec::as_slice));
        self.seen.insert(search.to_owned(), seen);
        if is_new {
            self.put(&key, Some(&serde_json::to_vec(&asked)?));
        }
        self.searches.push(asked);
        Ok(())
    }

    /// Writes the ledger, and commits whatever is open with it.
    pub fn commit_quota(&mut self, now: Micros) -> Result<(), Lost> {
        let key = Quota::key(&self.tenant, &self.quota.source);
        let value = serde_json::to_vec(&self.quota)?;
        self.put(&key, Some(&value));
        self.commit(now)
    }

    /// The search is going to be asked.
    pub fn begin(&mut self, which: usize) {
        let asked = self.searches.get(which);
        if let Some(seen) = asked.and_then(|asked| self.seen.get_mut(&asked.search)) {
            seen.begin();
        }
    }

    /// Writes what is remembered of a search and how it stands; `is_whole` if what it was answered
    /// has been read to its end.
    pub fn put_search(&mut self, which: usize, is_whole: bool) -> Result<(), Lost> {
        let Some(asked) = self.searches.get(which) else { return Ok(()) };
        let seen = self.seen.get_mut(&asked.search);
        let left_out = seen.map_or(0, |seen| seen.end(is_whole));
        if left_out > 0 {
            let (source, search) = (&asked.source, &asked.search);
            tracing::warn!(
                source,
                search,
                left_out,
                "it was answered with more than the {SEEN_CAP} things that are remembered of a \
                 search; the others are written again with each answer: ask for less at once"
            );
        }
        let key = Asked::key(&self.tenant, &asked.source, &asked.search);
        let value = serde_json::to_vec(asked)?;
        self.put_seen(which);
        self.put(&key, Some(&value));
        Ok(())
    }

    /// Writes what is remembered of a search, if that has changed.
    pub fn put_seen(&mut self, which: usize) {
        let Some(asked) = self.searches.get(which) else { return };
        let Asked { source, search, .. } = asked;
        let changes = self.seen.get_mut(search).map(Seen::changes).unwrap_or_default();
        let key = |sheet| Seen::key(&self.tenant, source, search, sheet);
        let records: Vec<_> =
            changes.into_iter().map(|(sheet, record)| (key(sheet), record)).collect();
        for (key, record) in records {
            self.put(&key, record.as_deref());
        }
    }

    /// Writes that the source is paused, with what is open; look at it anew before it is asked.
    pub fn put_pause(&mut self, whom: &Whom, pause: &Pause) -> Result<(), Lost> {
        self.standing.forget();
        whom.write(pause, &mut self.transaction, self.cursors).map_err(Lost)
    }

    fn put(&mut self, key: &str, value: Option<&[u8]>) {
        self.transaction.to(self.cursors, key.as_bytes()).push(key.as_bytes(), value);
    }

    /// Commits what is open. After an error nothing here is to be believed any more.
    pub fn commit(&mut self, now: Micros) -> Result<(), Lost> {
        self.transaction.time = now;
        self.worker.commit_patiently(&mut self.transaction, PATIENCE)?;
        let tally = std::mem::take(&mut self.tally);
        if tally.rows > 0 {
            (self.tell)(News::Rows(&self.quota.source, tally));
        }
        Ok(())
    }
}

/// The latest records of one source.
#[derive(Default)]
struct Known(HashMap<Vec<u8>, Vec<u8>>);

impl Known {
    fn read(log: &dyn Log, prefix: &str) -> Result<Known, Lost> {
        let mut known = HashMap::new();
        for partition in 0..log.partitions(cursor::TOPIC)? {
            let at = TopicPartition::new(cursor::TOPIC, partition);
            log.scan_all(&at, |record| {
                if record.key.starts_with(prefix.as_bytes()) {
                    match record.value {
                        Some(value) => known.insert(record.key.to_vec(), value.to_vec()),
                        None => known.remove(record.key),
                    };
                }
                Ok::<(), tocsin_stream::LogError>(())
            })?;
        }
        Ok(Known(known))
    }

    fn find<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(self.0.get(key.as_bytes())?).ok()
    }

    fn take<T: serde::de::DeserializeOwned + Default>(&mut self, key: &str) -> T {
        self.find(key).unwrap_or_default()
    }
}
