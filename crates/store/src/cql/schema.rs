//! Making and changing what is in the keyspace, forwards only. The tables of the store itself are
//! made by numbered migrations; the tables that values describe are compared with what is there.
//! One process at a time does this. It never drops what it does not understand unless asked to.

use super::bind::Asked;
use super::session::{Columns, Session, Trouble, patiently};
use super::statements::{self, row_type};
use crate::store::StoreError;
use crate::table::{Order, TableSpec};
use scylla::value::CqlValue;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tocsin_domain::Id;

/// Tables of the store itself, which stay when all others are dropped.
pub(super) const MARKS: &str = "marks_";
const MIGRATIONS_DONE: &str = "schema_migrations";
/// What was ever done to the store's own tables, in order; `{keyspace}` is filled in. An entry is
/// never changed and never removed: its checksum is in the keyspace.
const MIGRATIONS: &[&str] =
    &["CREATE TABLE IF NOT EXISTS \"{keyspace}\".\"marks_\" (name text PRIMARY KEY, text text)"];
/// The row of [`MIGRATIONS_DONE`] that says who is at work.
const RUNNER: i32 = 0;
/// After so many seconds a runner that died is forgotten.
const RUNNER_SECONDS: u64 = 120;
/// How long a table that was just made may need until it can be read.
const SETTLING: Duration = Duration::from_secs(10);

/// What is in the keyspace.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// The key columns of each table, as [`wanted_key`] writes them.
    tables: BTreeMap<String, BTreeSet<String>>,
    /// The fields of each type, with their types.
    types: BTreeMap<String, Vec<(String, String)>>,
}

/// The schema of one keyspace.
pub(super) struct Schema<'s> {
    pub(super) session: &'s Session,
    pub(super) keyspace: &'s str,
}

impl Schema<'_> {
    /// Makes the store's own tables or brings them up to date.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        if !self.has_table(MIGRATIONS_DONE).await? {
            let cql = format!(
                "CREATE TABLE IF NOT EXISTS \"{}\".\"{MIGRATIONS_DONE}\" \
                 (version int PRIMARY KEY, checksum text, applied_at timestamp)",
                self.keyspace
            );
            self.session.change(&cql).await.map_err(failed)?;
        }
        // Where another process has just made the table, it may be known before it can be read.
        let done = async || {
            let passing = |trouble: Trouble| Trouble { passing: true, ..trouble };
            self.done().await.map_err(passing)
        };
        let done = patiently(SETTLING, done).await.map_err(failed)?;
        if pending(&done)? == MIGRATIONS.len() {
            return Ok(());
        }
        self.alone(async || {
            let from = pending(&self.done().await.map_err(failed)?)?;
            for (at, migration) in MIGRATIONS.iter().enumerate().skip(from) {
                let cql = migration.replace("{keyspace}", self.keyspace);
                self.session.change(&cql).await.map_err(failed)?;
                let note = format!(
                    "INSERT INTO \"{}\".\"{MIGRATIONS_DONE}\" (version, checksum, applied_at) \
                     VALUES ({}, '{}', toTimestamp(now()))",
                    self.keyspace,
                    at + 1,
                    checksum(migration)
                );
                self.session.run(&note, &[]).await.map_err(failed)?;
            }
            Ok(())
        })
        .await
    }

    /// Makes the tables that do not exist, and adds the columns that are new at the end.
    pub(super) async fn create(&self, tables: &[&'static TableSpec]) -> Result<(), StoreError> {
        if changes(self.keyspace, &self.existing().await?, tables)?.is_empty() {
            return Ok(());
        }
        self.alone(async || {
            // Whoever was at work before may have done it.
            for cql in changes(self.keyspace, &self.existing().await?, tables)? {
                self.session.change(&cql).await.map_err(failed)?;
            }
            Ok(())
        })
        .await
    }

    /// Drops all but the store's own tables.
    pub(super) async fn drop_all(&self) -> Result<(), StoreError> {
        self.alone(async || {
            let existing = self.existing().await?;
            let tables = existing.tables.keys().filter(|name| !is_own(name));
            let tables = tables.map(|name| ("TABLE", name));
            for (what, name) in tables.chain(existing.types.keys().map(|name| ("TYPE", name))) {
                let cql = format!("DROP {what} IF EXISTS \"{}\".\"{name}\"", self.keyspace);
                self.session.change(&cql).await.map_err(failed)?;
            }
            Ok(())
        })
        .await
    }

    /// What was done to the store's own tables: number and checksum.
    async fn done(&self) -> Result<BTreeMap<i32, String>, Trouble> {
        let keyspace = self.keyspace;
        let cql = format!("SELECT version, checksum FROM \"{keyspace}\".\"{MIGRATIONS_DONE}\"");
        let rows = self.session.rows(&cql, &[]).await?;
        let done = rows.into_iter().filter_map(|row| Some((int(&row, 0)?, text(&row, 1))));
        Ok(done.filter(|(version, _)| *version != RUNNER).collect())
    }

    async fn has_table(&self, name: &str) -> Result<bool, StoreError> {
        let cql = "SELECT table_name FROM system_schema.tables \
                   WHERE keyspace_name = ? AND table_name = ?";
        let asked = [self.keyspace, name].map(|name| Asked(name.into()));
        Ok(!self.session.rows(cql, &asked).await.map_err(failed)?.is_empty())
    }

    async fn existing(&self) -> Result<Existing, StoreError> {
        let keyspace = || [Asked(self.keyspace.into())];
        let mut existing = Existing::default();
        let cql = "SELECT table_name, column_name, kind, position, clustering_order, type \
                   FROM system_schema.columns WHERE keyspace_name = ?";
        for row in self.session.rows(cql, &keyspace()).await.map_err(failed)? {
            let key = existing.tables.entry(text(&row, 0)).or_default();
            if ["partition_key", "clustering"].contains(&text(&row, 2).as_str()) {
                let at = int(&row, 3).unwrap_or(0);
                let [name, kind, order, ty] = [1, 2, 4, 5].map(|column| text(&row, column));
                key.insert(format!("{kind} {at} {name} {ty} {order}"));
            }
        }
        let cql = "SELECT type_name, field_names, field_types FROM system_schema.types \
                   WHERE keyspace_name = ?";
        for row in self.session.rows(cql, &keyspace()).await.map_err(failed)? {
            let fields = texts(&row, 1).into_iter().zip(texts(&row, 2)).collect();
            existing.types.insert(text(&row, 0), fields);
        }
        Ok(existing)
    }

    /// Does something while no other process changes the tables: not every server survives that
    /// two do.
    async fn alone(
        &self,
        work: impl AsyncFnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let own = self.claim().await?;
        let outcome = work().await;
        let release = format!(
            "DELETE FROM \"{}\".\"{MIGRATIONS_DONE}\" WHERE version = {RUNNER} IF checksum = ?",
            self.keyspace
        );
        // If this fails, the claim ends by itself.
        let _ = self.session.rows(&release, &[Asked(own.into())]).await;
        self.session.forget();
        outcome
    }

    /// Waits until nobody else is at work; gives the name under which this process is.
    async fn claim(&self) -> Result<String, StoreError> {
        let own = self.session.driver.session_id().to_string();
        let cql = format!(
            "INSERT INTO \"{}\".\"{MIGRATIONS_DONE}\" (version, checksum) VALUES ({RUNNER}, ?) \
             IF NOT EXISTS USING TTL {RUNNER_SECONDS}",
            self.keyspace
        );
        let until = Instant::now() + Duration::from_secs(RUNNER_SECONDS + 5);
        loop {
            let asked = [Asked(own.as_str().into())];
            let answer = self.session.rows(&cql, &asked).await.map_err(failed)?;
            // Whether it was written; else what stands there, which is ours if an answer was lost.
            let row = answer.first().map(Vec::as_slice).unwrap_or_default();
            let applied = matches!(row.first(), Some(Some(CqlValue::Boolean(true))));
            let ours = |value: &Option<CqlValue>| {
                value.as_ref().and_then(CqlValue::as_text).is_some_and(|text| *text == own)
            };
            if applied || row.iter().any(ours) {
                return Ok(own);
            }
            if Instant::now() > until {
                let reason = format!(
                    "another process has been changing the tables of {} for more than \
                     {RUNNER_SECONDS} s; stop it, then start this one again",
                    self.keyspace
                );
                return Err(StoreError::Failed { doing: "create", reason });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn is_own(table: &str) -> bool {
    [MARKS, MIGRATIONS_DONE].contains(&table)
}

/// The first migration that is still to be done. Refuses what this program does not know.
fn pending(done: &BTreeMap<i32, String>) -> Result<usize, StoreError> {
    for (version, found) in done {
        let known = usize::try_from(version - 1).ok().and_then(|at| MIGRATIONS.get(at));
        if known.map(|migration| checksum(migration)).as_ref() != Some(found) {
            let reason = format!(
                "the keyspace has the migration {version} ({found}), but this program knows {} \
                 and none like it; use the program that made it, or a newer one",
                MIGRATIONS.len()
            );
            return Err(StoreError::Failed { doing: "open", reason });
        }
    }
    Ok(done.len())
}

fn checksum(migration: &str) -> String {
    Id::of("migration", &[migration.as_bytes()]).to_string()
}

/// The statements that bring the tables to what they should be.
fn changes(
    keyspace: &str,
    existing: &Existing,
    tables: &[&'static TableSpec],
) -> Result<Vec<String>, StoreError> {
    let mut changes = Vec::new();
    for table in tables {
        let wanted: Vec<(&str, &str)> = statements::fields(table).collect();
        match existing.types.get(&row_type(table)) {
            None => changes.push(statements::create_type(keyspace, table)),
            Some(found) => {
                let found: Vec<(&str, &str)> =
                    found.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
                let Some(new) = wanted.strip_prefix(&found[..]) else {
                    return refused(table, "columns", &found, &wanted);
                };
                let add = |(name, kind): &(&str, &str)| {
                    statements::add_field(keyspace, table, name, kind)
                };
                changes.extend(new.iter().map(add));
            }
        }
        match existing.tables.get(table.name) {
            None => changes.push(statements::create_table(keyspace, table)),
            Some(found) if *found != wanted_key(table) => {
                return refused(table, "key", found, &wanted_key(table));
            }
            Some(_) => {}
        }
    }
    Ok(changes)
}

/// The columns of the key as the cluster describes them: kind, place, name, type and order.
fn wanted_key(table: &TableSpec) -> BTreeSet<String> {
    let kind = |name: &str| {
        let column = table.columns.iter().find(|(column, _)| *column == name);
        column.map_or("", |(_, kind)| statements::type_name(*kind))
    };
    let partition = table.partition_key.iter().enumerate();
    let partition =
        partition.map(|(at, name)| format!("partition_key {at} {name} {} none", kind(name)));
    let clustering = table.clustering_key.iter().enumerate();
    let clustering = clustering.map(|(at, (name, order)): (usize, &(&str, Order))| {
        format!("clustering {at} {name} {} {}", kind(name), statements::order_name(*order))
    });
    partition.chain(clustering).collect()
}

fn refused<T>(
    table: &'static TableSpec,
    what: &str,
    found: &dyn std::fmt::Debug,
    wanted: &dyn std::fmt::Debug,
) -> Result<T, StoreError> {
    let reason = format!(
        "has the {what} {found:?}, but should have {wanted:?}, and that cannot be changed in place; \
         make the tables anew: tocsin projections rebuild"
    );
    Err(StoreError::Refused { table: table.name, reason })
}

fn failed(trouble: Trouble) -> StoreError {
    trouble.while_doing("create")
}

fn text(row: &Columns, at: usize) -> String {
    let value = row.get(at).and_then(Option::as_ref).and_then(CqlValue::as_text);
    value.cloned().unwrap_or_default()
}

fn texts(row: &Columns, at: usize) -> Vec<String> {
    let list = row.get(at).and_then(Option::as_ref).and_then(CqlValue::as_list);
    list.into_iter().flatten().filter_map(CqlValue::as_text).cloned().collect()
}

fn int(row: &Columns, at: usize) -> Option<i32> {
    row.get(at)?.as_ref()?.as_int()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_done_once_and_unknown_ones_are_refused() {
        let own: BTreeMap<i32, String> =
            (1..).zip(MIGRATIONS.iter().map(|migration| checksum(migration))).collect();
        assert_eq!(pending(&BTreeMap::new()).unwrap(), 0);
        assert_eq!(pending(&own).unwrap(), MIGRATIONS.len());
        let newer = MIGRATIONS.len() as i32 + 1;
        for (version, found) in [(newer, checksum(MIGRATIONS[0])), (1, "changed".to_owned())] {
            let mut done = own.clone();
            done.insert(version, found);
            let refused = pending(&done).unwrap_err().to_string();
            assert!(refused.contains(&format!("migration {version}")), "{refused}");
        }
    }
}
