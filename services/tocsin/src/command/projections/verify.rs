//! `tocsin projections verify`: the log is folded once more, up to where the service is, and every
//! row compared. Changes nothing, and the service may run meanwhile.

use super::fill;
use crate::backend;
use crate::cli::Whereabouts;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::schema_ids;
use crate::settings::Settings;
use anyhow::Context;
use std::collections::BTreeMap;
use std::sync::Arc;
use tocsin_domain::TopicPartition;
use tocsin_project::projections::all_tables;
use tocsin_project::{ProjectStep, StoreSink};
use tocsin_store::{Row, SqliteStore, Store, TableSpec, Value};
use tocsin_stream::fingerprint::{Digest, Hash};
use tocsin_stream::processor::{Options, Processor};
use tocsin_stream::replay::Replay;
use tocsin_stream::{Log, LogError, WorkerSpec};

/// How many rows that differ are named in each table.
const NAMED: usize = 10;
/// How often a service that goes on meanwhile is followed.
const TRIES: u32 = 10;

/// What one table holds that it should not, or does not that it should.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared {
    /// Rows that the log gives.
    pub rows: usize,
    /// One line for each row that differs.
    pub differences: Vec<String>,
    /// Of the rows that the table has, in the order of their keys: equal tables have equal hashes.
    pub hash: Hash,
}

/// Compares and says what was found.
///
/// # Errors
/// Tables that differ, or are not there (exit code 5); a log or store that does not answer (4).
pub fn run(place: &Whereabouts) -> anyhow::Result<()> {
    let mut settings = Settings::if_any(place.config.as_deref(), facts::now())?;
    schema_ids::learn(&mut settings, place.there())?;
    let log = backend::existing_log(&settings, &place.data)?;
    let store = backend::store(&settings, &place.data)?;
    if !tocsin_project::are_ready(&*store)? {
        let text = "the tables are not there, or not those of this version: run `tocsin projections migrate`";
        return Err(Exit::error(Kind::Problems, text));
    }
    let found = verify(&log, &*store, &settings)?;
    let (mut text, mut wrong) = (String::new(), 0);
    for (table, compared) in &found {
        wrong += compared.differences.len();
        let (rows, differ) = (compared.rows, compared.differences.len());
        text.push_str(&format!("{table}: {rows} rows, {differ} differ, {}\n", compared.hash));
        for line in compared.differences.iter().take(NAMED) {
            text.push_str(&format!("  {line}\n"));
        }
        if differ > NAMED {
            text.push_str(&format!("  and {} more\n", differ - NAMED));
        }
    }
    super::print(&text)?;
    if wrong > 0 {
        let text = format!(
            "{wrong} rows are not as the log says; `tocsin projections rebuild` makes the tables anew"
        );
        return Err(Exit::error(Kind::Problems, text));
    }
    Ok(())
}

/// Every table with what differs. A difference counts only if the service stood still while the
/// rows were read.
///
/// # Errors
/// If the log or a store does not answer.
pub fn verify(
    log: &Arc<dyn Log>,
    store: &dyn Store,
    settings: &Settings,
) -> anyhow::Result<Vec<(&'static str, Compared)>> {
    let directory = tempfile::tempdir().context("cannot make a directory for the comparison")?;
    let fresh: Arc<dyn Store> = Arc::new(SqliteStore::open(directory.path())?);
    fresh.create(&all_tables())?;
    let replay = Replay::of(log.clone());
    let step = ProjectStep::new(settings.schema_ids.clone());
    let sink = Box::new(StoreSink::new(fresh.clone()));
    let topology = tocsin_project::topology();
    let mut processor = Processor::new(topology, replay.clone(), step, sink, Options::default())?;
    let mut reached = progress(&**log)?;
    let mut tried = 0;
    loop {
        tried += 1;
        replay.extend(reached.clone());
        fill(&mut processor)?;
        let mut found = Vec::new();
        for table in all_tables() {
            found.push((table.name, compare(table, &store.dump(table)?, &fresh.dump(table)?)));
        }
        let now = progress(&**log)?;
        let same = found.iter().all(|(_, compared)| compared.differences.is_empty());
        if same || now == reached || tried == TRIES {
            return Ok(found);
        }
        reached = now;
    }
}

/// How far the service has committed.
fn progress(log: &dyn Log) -> Result<BTreeMap<TopicPartition, u64>, LogError> {
    let topology = tocsin_project::topology();
    let group = topology.service.to_owned();
    let worker =
        log.worker(&WorkerSpec { id: "verify-0".to_owned(), group, inputs: Vec::new() })?;
    let mut progress = BTreeMap::new();
    for topic in topology.inputs {
        for at in (0..log.partitions(topic)?).map(|number| TopicPartition::new(topic, number)) {
            if let Some(next) = worker.committed(&at)? {
                progress.insert(at, next);
            }
        }
    }
    Ok(progress)
}

/// What `table` holds, beside what it should.
pub fn compare(table: &'static TableSpec, table_rows: &[Row], log_rows: &[Row]) -> Compared {
    let by_key = |rows| -> BTreeMap<Vec<&Value>, &Row> {
        let rows: &[Row] = rows;
        rows.iter().map(|row| (table.key_of(row), row)).collect()
    };
    let (here, there) = (by_key(table_rows), by_key(log_rows));
    let mut differences = Vec::new();
    for (key, row) in &there {
        match here.get(key) {
            None => differences.push(format!("{} is not in the table", name(table, row))),
            Some(found) if found == row => {}
            Some(found) => differences.push(columns(table, found, row)),
        }
    }
    for (key, row) in &here {
        if !there.contains_key(key) {
            differences.push(format!("{} does not come from the log", name(table, row)));
        }
    }
    Compared { rows: log_rows.len(), differences, hash: hash(here.values().copied()) }
}

/// Of rows in an order that every store can have: each as the JSON array of its values.
fn hash<'a>(rows: impl Iterator<Item = &'a Row>) -> Hash {
    let mut digest = Digest::default();
    for row in rows {
        let values: serde_json::Value = row.iter().map(Value::json).collect();
        digest.part(values.to_string().as_bytes());
    }
    digest.hash()
}

/// The key of a row, `subject=Market, measure=pm25`.
fn name(table: &TableSpec, row: &Row) -> String {
    let part = |column| format!("{column}={}", table.get(row, column).json());
    table.key().map(part).collect::<Vec<_>>().join(", ")
}

fn columns(table: &TableSpec, found: &Row, wanted: &Row) -> String {
    let part = |(column, _): &(&'static str, _)| {
        let (found, wanted) = (table.get(found, column), table.get(wanted, column));
        let text = || format!("{column} is {} and should be {}", found.json(), wanted.json());
        (found != wanted).then(text)
    };
    let parts: Vec<String> = table.columns.iter().filter_map(part).collect();
    format!("{}: {}", name(table, wanted), parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tocsin_project::tables::READINGS_LATEST;

    fn row(subject: &str, value: &str) -> Row {
        let text = |text: &str| Value::Text(text.to_owned());
        let of = |(name, kind): &(&str, tocsin_store::Type)| match (*name, kind) {
            ("subject", _) => text(subject),
            ("value", _) => text(value),
            (_, tocsin_store::Type::Time) => Value::Time(tocsin_domain::Micros(0)),
            _ => text("x"),
        };
        READINGS_LATEST.columns.iter().map(of).collect()
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let table = [row("a", "1"), row("b", "2"), row("c", "3")];
        let log = [row("a", "1"), row("b", "9"), row("d", "4")];
        let compared = compare(&READINGS_LATEST, &table, &log);
        assert_eq!(
            compared.differences,
            [
                r#"tenant="x", subject="b", measure="x": value is "2" and should be "9""#,
                r#"tenant="x", subject="d", measure="x" is not in the table"#,
                r#"tenant="x", subject="c", measure="x" does not come from the log"#,
            ]
        );
        let same = compare(&READINGS_LATEST, &log, &log);
        assert_eq!(same.differences.len(), 0);
        let [a, b, d] = log;
        assert_eq!(compare(&READINGS_LATEST, &[d, b, a], &[]).hash, same.hash, "in any order");
        assert_ne!(compared.hash, same.hash);
    }
}
