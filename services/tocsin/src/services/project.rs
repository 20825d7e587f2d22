//! `project`: facts to tables. Where other processes do the same, the tables are made by
//! `tocsin projections migrate` and this one waits for them: whoever makes them drops the old ones.

use crate::meter::Meter;
use crate::service::{Host, Service};
use std::convert::Infallible;
use std::time::Duration;
use tocsin_project::{ProjectStep, StoreSink};
use tocsin_service::Stop;
use tocsin_service::health::State;
use tocsin_store::Store;

/// Facts to tables.
pub(super) static SERVICE: Service = Service {
    name: "project",
    parts: &["project"],
    tables: true,
    facts: true,
    idle: |_| None,
    start,
};

/// How often it is looked whether the tables are there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

fn start(host: &mut Host) -> anyhow::Result<()> {
    let (log, store) = (host.log(), host.store()?);
    if host.whole {
        tocsin_project::prepare(&*log, &*store)?;
    }
    let step = ProjectStep::new(host.settings.schema_ids.clone());
    let (vitals, stop, tables) = (host.vitals.clone(), host.stop.clone(), store.clone());
    let wait = move || {
        let mut said = String::new();
        let there = wait_for_tables(&*tables, &stop, &mut |reason| {
            if said != reason {
                tracing::warn!(service = "project", reason, "waiting");
                reason.clone_into(&mut said);
            }
            vitals.health.set("project", State::Waiting { reason: reason.to_owned() });
            vitals.turned("project");
        });
        Ok::<bool, Infallible>(there)
    };
    // Before anything is projected: what comes from now on is counted.
    let mut meter = Meter::new(log, host.vitals.clone())?;
    host.run_after(wait, tocsin_project::topology(), step, Box::new(StoreSink::new(store)))?;
    let stop = host.stop.clone();
    host.spawn("meter", move || meter.run(&stop))
}

/// Whether the tables are there; `false` if it was told to stop before. A database that is away is
/// waited for, too.
fn wait_for_tables(store: &dyn Store, stop: &Stop, waiting: &mut dyn FnMut(&str)) -> bool {
    loop {
        match tocsin_project::are_ready(store) {
            Ok(true) => return true,
            Ok(false) => waiting(
                "the tables are not there, or not those of this version: run `tocsin projections migrate`",
            ),
            Err(error) => {
                waiting(&format!("it cannot be told whether the tables are there: {error}"))
            }
        }
        if stop.sleep(LOOK_EVERY) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tocsin_domain::TopicPartition;
    use tocsin_domain::topics::{PROJECT_TOTALS_CHANGELOG, Topics};
    use tocsin_project::Prepared;
    use tocsin_store::{Query, Row, SqliteStore, StoreError, TableSpec, Write};
    use tocsin_stream::memory::MemoryLog;
    use tocsin_stream::{Log, LogError, Transaction, WorkerSpec};
    use tocsin_testkit::veil::Veiled;

    /// A store that can be away.
    struct Away(SqliteStore, AtomicBool);

    impl Away {
        fn here(&self) -> Result<&SqliteStore, StoreError> {
            match self.1.load(Ordering::Relaxed) {
                true => Err(StoreError::Failed { doing: "read", reason: "nobody answers".into() }),
                false => Ok(&self.0),
            }
        }
    }

    impl Store for Away {
        fn create(&self, tables: &[&'static TableSpec]) -> Result<(), StoreError> {
            self.here()?.create(tables)
        }

        fn drop_all(&self) -> Result<(), StoreError> {
            self.here()?.drop_all()
        }

        fn apply(&self, writes: &[Write]) -> Result<(), StoreError> {
            self.here()?.apply(writes)
        }

        fn select(&self, query: &Query<'_>) -> Result<Vec<Row>, StoreError> {
            self.here()?.select(query)
        }

        fn dump(&self, table: &'static TableSpec) -> Result<Vec<Row>, StoreError> {
            self.here()?.dump(table)
        }

        fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
            self.here()?.mark(name)
        }

        fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError> {
            self.here()?.set_mark(name, text)
        }
    }

    #[test]
    fn a_database_that_is_away_is_waited_for_as_tables_are_that_are_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(directory.path()).unwrap();
        let store = Away(sqlite, AtomicBool::new(true));
        let log = MemoryLog::new();
        log.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let mut heard = Vec::new();
        let there = wait_for_tables(&store, &Stop::default(), &mut |reason| {
            heard.push(reason.to_owned());
            match heard.len() {
                1 => store.1.store(false, Ordering::Relaxed),
                _ => assert_eq!(tocsin_project::prepare(&*log, &store).unwrap(), Prepared::Reset),
            }
        });
        assert!(there);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].contains("nobody answers"), "{heard:?}");
        assert!(heard[1].contains("tocsin projections migrate"), "{heard:?}");
    }

    /// They would be counted twice when the log is read again from its start.
    #[test]
    fn sums_that_the_last_process_has_just_committed_are_forgotten_too() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).unwrap();
        let inner = MemoryLog::new();
        inner.create_topics(&Topics::builtin().iter().collect::<Vec<_>>()).unwrap();
        let log = Veiled::new(inner.clone());
        log.hide(&[PROJECT_TOTALS_CHANGELOG]).unwrap();
        let mut work = Transaction::default();
        let topic = work.register(PROJECT_TOTALS_CHANGELOG, 8);
        work.to_partition(topic, 3).push(b"k", Some(b"7"));
        inner.worker(&WorkerSpec::default()).unwrap().commit(&mut work).unwrap();
        log.waited_for(|| tocsin_project::rebuild(&*log, &store)).unwrap();
        let mut last = None;
        let at = TopicPartition::new(PROJECT_TOTALS_CHANGELOG, 3);
        (&*inner as &dyn Log)
            .scan_all(&at, |record| {
                last = Some((record.key.to_vec(), record.value.is_some()));
                Ok::<(), LogError>(())
            })
            .unwrap();
        assert_eq!(last, Some((b"k".to_vec(), false)), "no tombstone");
    }

    #[test]
    fn whoever_waits_can_be_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let store = Away(SqliteStore::open(directory.path()).unwrap(), AtomicBool::new(true));
        let stop = Stop::default();
        assert!(!wait_for_tables(&store, &stop, &mut |_| stop.stop()));
    }
}
