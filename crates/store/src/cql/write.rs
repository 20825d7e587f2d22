//! Writing many rows at once. Rows of one partition go together in an unlogged batch, which is one
//! write for the node that holds it; all else goes alone, so many at a time as is allowed.

use super::bind::Bound;
use super::session::{Session, Trouble, patiently};
use super::statements;
use crate::newest::Layout;
use crate::store::Write;
use futures::StreamExt;
use scylla::statement::batch::{Batch, BatchType};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The most rows of a batch.
const ROWS: usize = 50;
/// The most bytes of a batch of several rows: servers warn and then refuse what is much larger.
const BYTES: usize = 16 << 10;

/// For each size, the batch of so many INSERTs into one table; made when it is first needed.
type Batches = Arc<[OnceLock<Batch>]>;

/// The writer of one store.
pub(super) struct Writer {
    keyspace: String,
    concurrency: usize,
    batches: Mutex<HashMap<&'static str, Batches>>,
}

impl Writer {
    pub(super) fn new(keyspace: &str, concurrency: usize) -> Writer {
        let concurrency = concurrency.max(1);
        Writer { keyspace: keyspace.to_owned(), concurrency, batches: Mutex::default() }
    }

    /// Forgets what is prepared: the tables have changed.
    pub(super) fn forget(&self) {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Writes the rows that stand, all of them or says why not.
    pub(super) async fn write(
        &self,
        session: &Session,
        tables: &[(Layout, Vec<&Write>)],
    ) -> Result<(), Trouble> {
        let failed: Cell<Option<Trouble>> = Cell::new(None);
        let groups = tables.iter().flat_map(|(layout, rows)| groups(layout, rows));
        let write = async |group: Vec<Bound<'_>>| {
            let trouble = failed.take();
            if trouble.is_some() {
                // What has begun is waited for, but nothing more is begun.
                failed.set(trouble);
            } else if let Err(trouble) = self.write_group(session, &group).await {
                failed.set(Some(trouble));
            }
        };
        futures::stream::iter(groups).for_each_concurrent(self.concurrency, write).await;
        failed.take().map_or(Ok(()), Err)
    }

    async fn write_group(&self, session: &Session, group: &[Bound<'_>]) -> Result<(), Trouble> {
        let Some(first) = group.first() else { return Ok(()) };
        let cql = statements::insert(&self.keyspace, first.layout.table);
        let send = async || {
            let insert = session.prepare(&cql).await?;
            if group.len() == 1 {
                session.driver.execute_unpaged(&insert, first).await?;
            } else {
                let batches = self.batches(first.layout.table.name);
                let batch = batches[group.len()].get_or_init(|| {
                    let statements = vec![(*insert).clone().into(); group.len()];
                    let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
                    batch.set_is_idempotent(true);
                    batch
                });
                session.driver.batch(batch, group).await?;
            }
            Ok(())
        };
        patiently(session.patience, send).await
    }

    fn batches(&self, table: &'static str) -> Batches {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = || (0..=ROWS).map(|_| OnceLock::new()).collect();
        batches.entry(table).or_insert_with(empty).clone()
    }
}

/// Rows that go together: of one partition, and not too many. The rows are in the order of the key.
fn groups<'w>(
    layout: &'w Layout,
    rows: &'w [&'w Write],
) -> impl Iterator<Item = Vec<Bound<'w>>> + 'w {
    let mut left = rows;
    std::iter::from_fn(move || {
        let first = left.first()?;
        let mut bytes = 0;
        let fits = |write: &&&Write| {
            bytes += Bound { layout, write }.size();
            layout.together(first, write) && bytes <= BYTES
        };
        let count = left.iter().take(ROWS).take_while(fits).count().max(1);
        let (group, rest) = left.split_at(count);
        left = rest;
        Some(group.iter().map(|write| Bound { layout, write }).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::newest::newest;
    use crate::table::{Order, TableSpec};
    use crate::value::Type;

    static T: TableSpec = TableSpec {
        name: "t",
        columns: &[("k", Type::Int), ("at", Type::Int), ("text", Type::Text)],
        partition_key: &["k"],
        clustering_key: &[("at", Order::Asc)],
    };

    #[test]
    fn rows_of_one_partition_go_together_in_bounded_groups() {
        let write = |k: i64, at: i64, size: usize| {
            Write::new(&T, 0, [k.into(), at.into(), "x".repeat(size).into()])
        };
        let small = (0..120).map(|at| write(1, at, 1));
        let large =
            [(2, 0, 10_000), (2, 1, 10_000), (2, 2, 40_000), (2, 3, 1), (2, 4, 1), (3, 0, 1)];
        let large = large.into_iter().map(|(k, at, size)| write(k, at, size));
        let writes: Vec<Write> = small.chain(large).collect();
        let tables = newest(&writes).unwrap();
        let (layout, rows) = &tables[0];
        let sizes: Vec<usize> = groups(layout, rows).map(|group| group.len()).collect();
        assert_eq!(sizes, [50, 50, 20, 1, 1, 1, 2, 1]);
    }
}
