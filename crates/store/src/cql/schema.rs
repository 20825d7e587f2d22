//! Making and changing what is in the keyspace, forwards only. The tables of the store itself are
//! made by numbered migrations; the tables that values describe are compared with what is there.
//! One process at a time does this. It never drops what it does not understand unless asked to.

use super::Dialect;
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
/// So long after its last step a runner that died is forgotten; a step may take a session's patience
/// more, and the nodes then a minute to agree.
const RUNNER_GRACE: Duration = Duration::from_secs(90);
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
    pub(super) async fn migrate(&self, dialect: Dialect) -> Result<(), StoreError> {
        if !self.has_table(MIGRATIONS_DONE).await? {
            // Nobody can be alone yet: that is noted in this table.
            self.session.change(&first_table(self.keyspace, dialect)).await.map_err(failed)?;
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
        self.alone(async |runner| {
            let from = pending(&self.done().await.map_err(failed)?)?;
            for (at, migration) in MIGRATIONS.iter().enumerate().skip(from) {
                runner.change(&migration.replace("{keyspace}", self.keyspace)).await?;
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
        self.alone(async |runner| {
            // Whoever was at work before may have done it.
            for cql in changes(self.keyspace, &self.existing().await?, tables)? {
                runner.change(&cql).await?;
            }
            Ok(())
        })
        .await
    }

    /// Drops all but the store's own tables.
    pub(super) async fn drop_all(&self) -> Result<(), StoreError> {
        self.alone(async |runner| {
            let existing = self.existing().await?;
            let tables = existing.tables.keys().filter(|name| !is_own(name));
            let tables = tables.map(|name| ("TABLE", name));
            for (what, name) in tables.chain(existing.types.keys().map(|name| ("TYPE", name))) {
                let cql = format!("DROP {what} IF EXISTS \"{}\".\"{name}\"", self.keyspace);
                runner.change(&cql).await?;
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
        work: impl AsyncFnOnce(&Runner<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let own = self.session.driver.session_id().to_string();
        let runner = Runner { session: self.session, keyspace: self.keyspace, own };
        runner.claim().await?;
        let outcome = work(&runner).await;
        runner.release().await;
        self.session.forget();
        outcome
    }
}

/// That this process is at work, under a name of its own. It is noted beside the migrations, and the
/// note ends by itself: so it is made again before each step.
struct Runner<'s> {
    session: &'s Session,
    keyspace: &'s str,
    own: String,
}

impl Runner<'_> {
    /// How long the note stands.
    fn seconds(&self) -> u64 {
        (RUNNER_GRACE + self.session.patience).as_secs()
    }

    /// Waits until nobody else is at work.
    async fn claim(&self) -> Result<(), StoreError> {
        let (keyspace, seconds) = (self.keyspace, self.seconds());
        let cql = format!(
            "INSERT INTO \"{keyspace}\".\"{MIGRATIONS_DONE}\" (version, checksum) \
             VALUES ({RUNNER}, ?) IF NOT EXISTS USING TTL {seconds}"
        );
        let until = Instant::now() + Duration::from_secs(seconds + 5);
        while !self.ask(&cql, 1).await? {
            if Instant::now() > until {
                return Err(self.stopped(&format!(
                    "another process has been changing the tables of {keyspace} for more than \
                     {seconds} s; stop it, then start this one again"
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// A step: the note is made again first, and whoever has lost it goes no further.
    async fn change(&self, cql: &str) -> Result<(), StoreError> {
        let (keyspace, seconds) = (self.keyspace, self.seconds());
        let again = format!(
            "UPDATE \"{keyspace}\".\"{MIGRATIONS_DONE}\" USING TTL {seconds} SET checksum = ? \
             WHERE version = {RUNNER} IF checksum = ?"
        );
        if !self.ask(&again, 2).await? {
            return Err(self.stopped(&format!(
                "this process was changing the tables of {keyspace} and stood still for more than \
                 {seconds} s, so that another one may be at work by now; start it again"
            )));
        }
        self.session.change(cql).await.map_err(failed)
    }

    /// If this fails, the note ends by itself.
    async fn release(&self) {
        let cql = format!(
            "DELETE FROM \"{}\".\"{MIGRATIONS_DONE}\" WHERE version = {RUNNER} IF checksum = ?",
            self.keyspace
        );
        let _ = self.ask(&cql, 1).await;
    }

    /// Asks with the own name in so many places; whether the note is ours then.
    async fn ask(&self, cql: &str, places: usize) -> Result<bool, StoreError> {
        let names: Vec<Asked> = (0..places).map(|_| Asked(self.own.as_str().into())).collect();
        let answer = self.session.rows(cql, &names).await.map_err(failed)?;
        // Whether it was written; else what stands there, which is ours if an answer was lost.
        let row = answer.first().map(Vec::as_slice).unwrap_or_default();
        let applied = matches!(row.first(), Some(Some(CqlValue::Boolean(true))));
        let ours = |value: &Option<CqlValue>| {
            value.as_ref().and_then(CqlValue::as_text).is_some_and(|text| *text == self.own)
        };
        Ok(applied || row.iter().any(ours))
    }

    fn stopped(&self, reason: &str) -> StoreError {
        StoreError::Failed { doing: "create", reason: reason.to_owned() }
    }
}

/// Makes the table of the migrations. Several processes may do so at once, over different nodes, and
/// without Raft each node would give it an id of its own: what was written to one of the tables is
/// lost when the nodes agree on the other. So the id is the same whoever makes it.
fn first_table(keyspace: &str, dialect: Dialect) -> String {
    let table = format!(
        "CREATE TABLE IF NOT EXISTS \"{keyspace}\".\"{MIGRATIONS_DONE}\" \
         (version int PRIMARY KEY, checksum text, applied_at timestamp)"
    );
    match dialect {
        Dialect::Cassandra => {
            let id = Id::of("table", &[keyspace.as_bytes(), MIGRATIONS_DONE.as_bytes()]);
            format!("{table} WITH ID = '{id}'")
        }
        Dialect::Scylla => table,
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
    use super::super::CqlOptions;
    use super::*;
    use tocsin_testkit::servers;

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

    #[test]
    fn the_first_table_has_the_same_id_whoever_makes_it() {
        let made = first_table("a", Dialect::Cassandra);
        assert_eq!(made, first_table("a", Dialect::Cassandra));
        assert_ne!(
            made[made.len() - 38..],
            first_table("b", Dialect::Cassandra)[made.len() - 38..]
        );
        assert!(!first_table("a", Dialect::Scylla).contains("ID"), "Raft sees to it");
    }

    /// A session with a keyspace of its own, on a real server.
    async fn session(keyspace: &str) -> Session {
        let options = CqlOptions::new(servers::cql(), keyspace);
        let session = Session::connect(&options).await.unwrap();
        session.change(&statements::create_keyspace(&options)).await.unwrap();
        Schema { session: &session, keyspace }.migrate(options.dialect).await.unwrap();
        session
    }

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn each_step_notes_again_that_it_is_at_work() {
        let keyspace = servers::unique("steps");
        wait(async {
            let session = session(&keyspace).await;
            let schema = Schema { session: &session, keyspace: &keyspace };
            let left = format!(
                "SELECT TTL(checksum) FROM \"{keyspace}\".\"{MIGRATIONS_DONE}\" WHERE version = {RUNNER}"
            );
            let left = async || {
                let rows = session.rows(&left, &[]).await.unwrap();
                rows.first().and_then(|row| int(row, 0)).unwrap_or_default() as u64
            };
            let work = async |runner: &Runner<'_>| {
                let whole = runner.seconds();
                tokio::time::sleep(Duration::from_secs(3)).await;
                assert!(left().await < whole - 1, "it runs out");
                runner
                    .change(&format!("CREATE TABLE \"{keyspace}\".a (b int PRIMARY KEY)"))
                    .await?;
                assert!(left().await >= whole - 1, "it is as it was");
                Ok(())
            };
            schema.alone(work).await.unwrap();
            assert_eq!(left().await, 0, "nobody is at work");
        });
    }

    #[test]
    fn whoever_was_still_for_too_long_changes_nothing_more() {
        let keyspace = servers::unique("still");
        wait(async {
            let session = session(&keyspace).await;
            let schema = Schema { session: &session, keyspace: &keyspace };
            let make = |name| format!("CREATE TABLE \"{keyspace}\".{name} (b int PRIMARY KEY)");
            let taken = format!(
                "INSERT INTO \"{keyspace}\".\"{MIGRATIONS_DONE}\" (version, checksum) \
                 VALUES ({RUNNER}, 'another') IF NOT EXISTS USING TTL 5"
            );
            let outcome = schema.alone(async |runner| {
                runner.change(&make("first")).await?;
                // As if it had ended by itself.
                runner.release().await;
                session.rows(&taken, &[]).await.unwrap();
                runner.change(&make("second")).await
            });
            let refused = outcome.await.unwrap_err().to_string();
            assert!(refused.contains("another one may be at work"), "{refused}");
            let found = schema.existing().await.unwrap().tables;
            assert!(found.contains_key("first") && !found.contains_key("second"), "{found:?}");
            // What is noted of the other one stays, and is waited for.
            let begun = Instant::now();
            schema.alone(async |runner| runner.change(&make("second")).await).await.unwrap();
            assert!(begun.elapsed() > Duration::from_secs(2));
        });
    }
}
