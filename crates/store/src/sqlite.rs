//! The embedded store: one SQLite file beside the log. One connection writes, a few read; a reader
//! sees the last whole transaction. Not for several processes that write.

mod statements;

use crate::newest::newest;
use crate::store::{Query, Store, StoreError, Write};
use crate::table::TableSpec;
use crate::value::{Row, Type, Value};
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tocsin_domain::Micros;

/// The file's name in the data directory.
pub const FILE: &str = "projections.db";
/// Readers that are kept open for the next question.
const READERS: usize = 4;
/// Every connection: small caches, patient with the writer, WAL. The writer syncs each commit,
/// because the log's progress is committed after it and must never be ahead.
const SETUP: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;";
const MARKS: &str =
    "CREATE TABLE IF NOT EXISTS marks_ (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID";

/// Tables in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl SqliteStore {
    /// Opens or creates `projections.db` in a data directory that exists.
    pub fn open(directory: &Path) -> Result<SqliteStore, StoreError> {
        let path = directory.join(FILE);
        let writer = connect(&path)?;
        writer.execute(MARKS, []).map_err(failed("open"))?;
        Ok(SqliteStore { path, writer: Mutex::new(writer), readers: Mutex::default() })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left open was rolled back when it was dropped.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        let answer = read(&connection);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(connection);
        }
        answer
    }
}

impl Store for SqliteStore {
    fn create(&self, tables: &[&'static TableSpec]) -> Result<(), StoreError> {
        let mut writer = self.writer();
        let transaction = writer.transaction().map_err(failed("create"))?;
        for table in tables {
            transaction.execute(&statements::create(table), []).map_err(failed("create"))?;
        }
        transaction.commit().map_err(failed("create"))
    }

    fn drop_all(&self) -> Result<(), StoreError> {
        let mut writer = self.writer();
        let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'marks_'";
        let drop_all = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            let tables: Vec<String> = transaction
                .prepare(names)?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for table in tables {
                transaction.execute(&format!("DROP TABLE \"{table}\""), [])?;
            }
            transaction.execute("DELETE FROM marks_", [])?;
            transaction.commit()
        };
        drop_all(&mut writer).map_err(failed("drop"))
    }

    fn apply(&self, writes: &[Write]) -> Result<(), StoreError> {
        let rows = newest(writes)?;
        let mut writer = self.writer();
        let transaction = writer.transaction().map_err(failed("write"))?;
        for (layout, rows) in rows {
            let sql = statements::upsert(layout.table);
            let mut statement = transaction.prepare_cached(&sql).map_err(failed("write"))?;
            for write in rows {
                let version = [write.version.first, write.version.then].map(Sql::Integer);
                let values = write.row.iter().map(to_sql).chain(version);
                statement.execute(params_from_iter(values)).map_err(failed("write"))?;
            }
        }
        transaction.commit().map_err(failed("write"))
    }

    fn select(&self, query: &Query<'_>) -> Result<Vec<Row>, StoreError> {
        let (sql, values) = statements::select(query)?;
        self.reading(|connection| rows(connection, &sql, values.iter().map(to_sql), query.table))
    }

    fn dump(&self, table: &'static TableSpec) -> Result<Vec<Row>, StoreError> {
        let sql = statements::dump(table);
        self.reading(|connection| rows(connection, &sql, std::iter::empty(), table))
    }

    fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT text FROM marks_ WHERE name = ?";
        let found = self.writer().query_row(sql, [name], |row| row.get(0)).optional();
        found.map_err(failed("read"))
    }

    fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO marks_ (name, text) VALUES (?, ?)";
        self.writer().execute(sql, [name, text]).map(|_| ()).map_err(failed("write"))
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute_batch(SETUP)?;
        Ok(connection)
    };
    open().map_err(|error| StoreError::Failed {
        doing: "open",
        reason: format!("{}: {error}; it must be a file that Tocsin may write", path.display()),
    })
}

fn rows(
    connection: &Connection,
    sql: &str,
    values: impl Iterator<Item = Sql>,
    table: &'static TableSpec,
) -> Result<Vec<Row>, StoreError> {
    let read = || -> rusqlite::Result<Vec<Row>> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query(params_from_iter(values))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let value = |(at, (_, kind)): (usize, &(&str, Type))| {
                row.get_ref(at).map(|value| from_sql(value, *kind))
            };
            rows.push(table.columns.iter().enumerate().map(value).collect::<Result<_, _>>()?);
        }
        Ok(rows)
    };
    read().map_err(failed("read"))
}

fn to_sql(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::Null,
        Value::Text(text) => Sql::Text(text.clone()),
        Value::Int(number) => Sql::Integer(*number),
        Value::Bool(truth) => Sql::Integer(i64::from(*truth)),
        Value::Time(time) => Sql::Integer(time.0),
    }
}

/// The tables are `STRICT`: a column holds its type or null.
fn from_sql(value: ValueRef<'_>, kind: Type) -> Value {
    match (value, kind) {
        (ValueRef::Text(text), _) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        (ValueRef::Integer(number), Type::Bool) => Value::Bool(number != 0),
        (ValueRef::Integer(number), Type::Time) => Value::Time(Micros(number)),
        (ValueRef::Integer(number), _) => Value::Int(number),
        _ => Value::Null,
    }
}

fn failed(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::Failed { doing, reason: error.to_string() }
}

fn refused<T>(table: &'static str, reason: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Refused { table, reason: reason.into() })
}

#[cfg(test)]
mod tests;
