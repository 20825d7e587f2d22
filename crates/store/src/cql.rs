//! The store of a cluster: ScyllaDB, or Apache Cassandra, which speaks the same CQL. Blocks its
//! caller, wherever it is called from; the driver works on threads of its own. There is no
//! transaction over several rows, so a reader may see a part of what is being written.

mod bind;
mod options;
mod schema;
mod session;
mod slices;
mod statements;
mod tls;
mod write;

pub use options::{CqlOptions, Dialect, Replication};
pub use tls::Tls;

use crate::newest::newest;
use crate::store::{Query, Store, StoreError, Write};
use crate::table::TableSpec;
use crate::value::{Row, Value};
use bind::Asked;
use schema::{MARKS, Schema};
use session::Session;
use std::future::Future;
use tokio::runtime::{Builder, Runtime};

/// Tables in one keyspace.
pub struct CqlStore {
    session: Session,
    writer: write::Writer,
    keyspace: String,
    /// Taken when the store is dropped.
    runtime: Option<Runtime>,
}

impl CqlStore {
    /// Connects, and makes the keyspace and the store's own tables if they do not exist.
    ///
    /// # Errors
    /// No node answers, the login is refused, the options are wrong, or the keyspace was made by a
    /// newer version of the program.
    pub fn open(options: &CqlOptions) -> Result<CqlStore, StoreError> {
        options.check()?;
        let failed = |error: std::io::Error| StoreError::Failed {
            doing: "open",
            reason: format!("no thread for the driver: {error}"),
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("cql")
            .enable_all()
            .build()
            .map_err(failed)?;
        let session = block_on(&runtime, connect(options))?;
        Ok(CqlStore {
            session,
            writer: write::Writer::new(&options.keyspace, options.concurrency),
            keyspace: options.keyspace.clone(),
            runtime: Some(runtime),
        })
    }

    fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match &self.runtime {
            Some(runtime) => block_on(runtime, work),
            None => futures::executor::block_on(work),
        }
    }

    fn schema(&self) -> Schema<'_> {
        Schema { session: &self.session, keyspace: &self.keyspace }
    }

    async fn changing(
        &self,
        work: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let outcome = work.await;
        self.writer.forget();
        outcome
    }

    async fn read(&self, query: &Query<'_>) -> Result<Vec<Row>, StoreError> {
        let table = query.table;
        let mut rows = Vec::new();
        for slice in slices::slices(query) {
            let left = query.limit - rows.len();
            if left == 0 {
                break;
            }
            let limit = Value::Int(i64::try_from(left).unwrap_or(i64::MAX));
            let values = query.partition.iter().chain(slice.values()).chain([&limit]);
            let values: Vec<Asked> = values.cloned().map(Asked).collect();
            let cql = statements::select(&self.keyspace, table, &slice, query.reversed);
            let found = self.session.rows(&cql, &values).await?;
            rows.extend(found.into_iter().map(|columns| bind::row(table, columns)));
        }
        Ok(rows)
    }

    async fn forget_marks(&self) -> Result<(), StoreError> {
        let names = format!("SELECT name FROM \"{}\".\"{MARKS}\"", self.keyspace);
        let delete = format!("DELETE FROM \"{}\".\"{MARKS}\" WHERE name = ?", self.keyspace);
        for row in self.session.rows(&names, &[]).await? {
            let name = bind::row(&MARK, row);
            let names: Vec<Asked> = name.into_iter().map(Asked).collect();
            self.session.run(&delete, &names).await.map_err(|t| t.while_doing("drop"))?;
        }
        Ok(())
    }
}

/// What a mark's name is read as.
static MARK: TableSpec = TableSpec {
    name: MARKS,
    columns: &[("name", crate::value::Type::Text)],
    partition_key: &["name"],
    clustering_key: &[],
};

async fn connect(options: &CqlOptions) -> Result<Session, StoreError> {
    let session = Session::connect(options).await?;
    let known = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let asked = [Asked(options.keyspace.as_str().into())];
    let open = |trouble: session::Trouble| trouble.while_doing("open");
    // Whoever may use a keyspace need not be allowed to make one.
    if session.rows(known, &asked).await.map_err(open)?.is_empty() {
        session.change(&statements::create_keyspace(options)).await.map_err(open)?;
    }
    Schema { session: &session, keyspace: &options.keyspace }.migrate(options.dialect).await?;
    Ok(session)
}

/// Not the runtime's own way to wait, which a caller on a thread of another runtime may not use.
fn block_on<T>(runtime: &Runtime, work: impl Future<Output = T>) -> T {
    let _inside = runtime.enter();
    futures::executor::block_on(work)
}

impl Drop for CqlStore {
    fn drop(&mut self) {
        // To wait for the driver's thread is not allowed everywhere either.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for CqlStore {
    fn create(&self, tables: &[&'static TableSpec]) -> Result<(), StoreError> {
        self.block_on(self.changing(self.schema().create(tables)))
    }

    fn drop_all(&self) -> Result<(), StoreError> {
        self.block_on(self.changing(async {
            // First: what is dropped halfway must not be marked as complete.
            self.forget_marks().await?;
            self.schema().drop_all().await
        }))
    }

    fn apply(&self, writes: &[Write]) -> Result<(), StoreError> {
        let tables = newest(writes)?;
        self.block_on(async {
            let written = self.writer.write(&self.session, &tables).await;
            written.map_err(|trouble| trouble.while_doing("write"))
        })
    }

    fn select(&self, query: &Query<'_>) -> Result<Vec<Row>, StoreError> {
        if let Some(reason) = query.fault() {
            return Err(StoreError::Refused { table: query.table.name, reason });
        }
        if query.table.key_fault(query.partition).is_some() {
            return Ok(Vec::new());
        }
        self.block_on(self.read(query))
    }

    fn dump(&self, table: &'static TableSpec) -> Result<Vec<Row>, StoreError> {
        let cql = statements::dump(&self.keyspace, table);
        let found = self.block_on(async { Ok(self.session.rows(&cql, &[]).await?) })?;
        let rows = found.into_iter().map(|columns| bind::row(table, columns));
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_by(|one, other| table.key_of(one).cmp(&table.key_of(other)));
        Ok(rows)
    }

    fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
        let cql = format!("SELECT text FROM \"{}\".\"{MARKS}\" WHERE name = ?", self.keyspace);
        let asked = [Asked(name.into())];
        let rows = self.block_on(async { Ok(self.session.rows(&cql, &asked).await?) })?;
        Ok(rows.into_iter().next().map(|row| bind::row(&MARK, row)[0].text().to_owned()))
    }

    fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let cql =
            format!("INSERT INTO \"{}\".\"{MARKS}\" (name, text) VALUES (?, ?)", self.keyspace);
        let values = [name, text].map(|value| Asked(value.into()));
        self.block_on(async {
            self.session.run(&cql, &values).await.map_err(|trouble| trouble.while_doing("write"))
        })
    }
}
