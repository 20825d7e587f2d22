//! `tocsin projections verify`: the log is folded once more, up to where the service is, and every
//! row compared. Of what retention has deleted nothing can be said: rows that may come from it are
//! counted and are no difference. Changes nothing, and the service may run meanwhile.

use super::fill;
use crate::backend;
use crate::cli::Whereabouts;
use crate::exit::{Exit, Kind};
use crate::facts;
use crate::schema_ids;
use crate::settings::Settings;
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tocsin_domain::TopicPartition;
use tocsin_project::projections::all_tables;
use tocsin_project::tables::DAYS;
use tocsin_project::{PROJECTIONS, ProjectStep, StoreSink};
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
    /// Rows that can only come from facts that retention has deleted.
    pub older: usize,
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
    let (mut text, mut wrong, mut gone) = (String::new(), 0, 0);
    for (table, compared) in &found {
        let Compared { rows, older, hash, .. } = compared;
        let differ = compared.differences.len();
        wrong += differ;
        gone += older;
        text.push_str(&format!(
            "{table}: {rows} rows, {differ} differ, {older} older than the log, {hash}\n"
        ));
        for line in compared.differences.iter().take(NAMED) {
            text.push_str(&format!("  {line}\n"));
        }
        if differ > NAMED {
            text.push_str(&format!("  and {} more\n", differ - NAMED));
        }
    }
    super::print(&text)?;
    if wrong > 0 {
        let mut text = format!(
            "{wrong} rows are not as the log says; `tocsin projections rebuild` makes the tables anew"
        );
        if gone > 0 {
            text.push_str(&format!(", without the {gone} that are older than the log"));
        }
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
        let (cut, mut found) = (cut(&**log)?, Vec::new());
        for table in all_tables() {
            let rows = (&*store.dump(table)?, &*fresh.dump(table)?);
            found.push((table.name, compare(table, rows, is_cut(table, &cut))));
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

/// The topics whose beginning retention has deleted.
///
/// # Errors
/// If the log does not answer.
pub fn cut(log: &dyn Log) -> Result<BTreeSet<&'static str>, LogError> {
    let mut cut = BTreeSet::new();
    for topic in tocsin_project::topology().inputs {
        for partition in 0..log.partitions(topic)? {
            if log.span(&TopicPartition::new(topic, partition))?.start > 0 {
                cut.insert(topic);
            }
        }
    }
    Ok(cut)
}

/// Whether rows of the table may come from what is deleted.
fn is_cut(table: &'static TableSpec, cut: &BTreeSet<&str>) -> bool {
    let shared = *table == DAYS;
    PROJECTIONS.iter().any(|projection| {
        cut.contains(projection.topic()) && (shared || projection.tables().contains(&table))
    })
}

/// What `table` holds, beside what it should. If the log is cut, it may hold more.
pub fn compare(
    table: &'static TableSpec,
    (table_rows, log_rows): (&[Row], &[Row]),
    cut: bool,
) -> Compared {
    let by_key = |rows| -> BTreeMap<Vec<&Value>, &Row> {
        let rows: &[Row] = rows;
        rows.iter().map(|row| (table.key_of(row), row)).collect()
    };
    let (here, there) = (by_key(table_rows), by_key(log_rows));
    let (mut differences, mut older) = (Vec::new(), 0);
    for (key, row) in &there {
        match here.get(key) {
            None => differences.push(format!("{} is not in the table", name(table, row))),
            Some(found) if found == row => {}
            Some(found) if cut && has_more(table, found, row) => older += 1,
            Some(found) => differences.push(columns(table, found, row)),
        }
    }
    for (key, row) in &here {
        if cut && !there.contains_key(key) {
            older += 1;
        } else if !there.contains_key(key) {
            differences.push(format!("{} does not come from the log", name(table, row)));
        }
    }
    Compared { rows: log_rows.len(), differences, older, hash: hash(here.values().copied()) }
}

/// Whether a row has taken in what the log does not give: it is a sum of more rows, or shows a later
/// event, as events need not come in the order of their time.
fn has_more(table: &TableSpec, found: &Row, wanted: &Row) -> bool {
    let columns = ["rows", "event_time"].into_iter();
    columns.filter_map(|name| table.column(name)).any(|at| found[at] > wanted[at])
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
    use tocsin_project::tables::{READINGS_LATEST, SALES_BY_DAY};

    fn row(subject: &str, value: &str) -> Row {
        row_at(subject, value, 0)
    }

    fn row_at(subject: &str, value: &str, time: i64) -> Row {
        let text = |text: &str| Value::Text(text.to_owned());
        let of = |(name, kind): &(&str, tocsin_store::Type)| match (*name, kind) {
            ("subject", _) => text(subject),
            ("value", _) => text(value),
            (_, tocsin_store::Type::Time) => Value::Time(tocsin_domain::Micros(time)),
            _ => text("x"),
        };
        READINGS_LATEST.columns.iter().map(of).collect()
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let table = [row("a", "1"), row("b", "2"), row("c", "3")];
        let log = [row("a", "1"), row("b", "9"), row("d", "4")];
        let compared = compare(&READINGS_LATEST, (&table, &log), false);
        assert_eq!(
            compared.differences,
            [
                r#"tenant="x", subject="b", measure="x": value is "2" and should be "9""#,
                r#"tenant="x", subject="d", measure="x" is not in the table"#,
                r#"tenant="x", subject="c", measure="x" does not come from the log"#,
            ]
        );
        let same = compare(&READINGS_LATEST, (&log, &log), false);
        assert_eq!(same.differences.len(), 0);
        let [a, b, d] = log;
        assert_eq!(compare(&READINGS_LATEST, (&[d, b, a], &[]), false).hash, same.hash);
        assert_ne!(compared.hash, same.hash);
    }

    #[test]
    fn what_may_come_from_deleted_facts_is_no_difference() {
        let log = [row_at("a", "1", 5), row_at("b", "2", 5), row_at("c", "3", 5)];
        for (table, cut, differ, older) in [
            // A subject of which nothing is left.
            ([&log[..], &[row("d", "4")]].concat(), true, 0, 1),
            ([&log[..], &[row("d", "4")]].concat(), false, 1, 0),
            // A later event came earlier.
            (vec![row_at("a", "9", 6), log[1].clone(), log[2].clone()], true, 0, 1),
            (vec![row_at("a", "9", 6), log[1].clone(), log[2].clone()], false, 1, 0),
            // What the log does give must stand.
            (vec![row_at("a", "9", 5), row_at("b", "2", 4)], true, 3, 0),
        ] {
            let found = compare(&READINGS_LATEST, (&table, &log), cut);
            assert_eq!((found.differences.len(), found.older), (differ, older), "{found:?}");
        }
    }

    #[test]
    fn a_sum_of_more_rows_has_more() {
        let sum = |rows: i64| -> Row {
            let of = |(name, _): &(&str, tocsin_store::Type)| match *name {
                "units" | "rows" => rows.into(),
                _ => "x".into(),
            };
            SALES_BY_DAY.columns.iter().map(of).collect()
        };
        assert!(has_more(&SALES_BY_DAY, &sum(3), &sum(2)));
        assert!(!has_more(&SALES_BY_DAY, &sum(2), &sum(3)), "a row is not in the sum");
    }

    #[test]
    fn a_table_is_cut_with_the_topics_that_it_comes_from() {
        let cut = BTreeSet::from([tocsin_domain::topics::ALERTS]);
        assert!(is_cut(&DAYS, &cut) && is_cut(&tocsin_project::tables::ALERTS_BY_DAY, &cut));
        assert!(!is_cut(&READINGS_LATEST, &cut) && !is_cut(&DAYS, &BTreeSet::new()));
    }
}
