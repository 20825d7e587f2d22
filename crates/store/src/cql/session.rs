//! The connection to the cluster: statements that are prepared once, and trouble that is waited
//! out. Every statement may be made twice, because what it writes is absolute.

use super::bind::Asked;
use super::options::CqlOptions;
use super::tls::{Doubt, Tls};
use crate::store::StoreError;
use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session as Driver;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::policies::timestamp_generator::MonotonicTimestampGenerator;
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, Statement};
use scylla::value::CqlValue;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one request may take before it is made again, if the patience allows it.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a read is tried again: somebody looks at a page.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries: the first pause, doubled each time, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Rows that one answer holds.
const PAGE: i32 = 1000;
/// Connections to each node of Cassandra; to ScyllaDB it is one for each shard.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// The columns of an answer's row.
pub(super) type Columns = Vec<Option<CqlValue>>;

/// What the driver said, and whether it may pass.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) reason: String,
    pub(super) passing: bool,
}

impl Trouble {
    pub(super) fn lasting(reason: impl ToString) -> Trouble {
        Trouble { reason: reason.to_string(), passing: false }
    }

    pub(super) fn while_doing(self, doing: &'static str) -> StoreError {
        StoreError::Failed { doing, reason: self.reason }
    }
}

/// What is not called otherwise was a read.
impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> StoreError {
        trouble.while_doing("read")
    }
}

impl From<ExecutionError> for Trouble {
    fn from(error: ExecutionError) -> Trouble {
        let passing = match &error {
            ExecutionError::LastAttemptError(attempt) => may_pass(attempt),
            ExecutionError::PrepareError(error) => preparing_may_pass(error),
            ExecutionError::BadQuery(_) | ExecutionError::UseKeyspaceError(_) => false,
            _ => true,
        };
        Trouble { reason: error.to_string(), passing }
    }
}

impl From<PrepareError> for Trouble {
    fn from(error: PrepareError) -> Trouble {
        Trouble { passing: preparing_may_pass(&error), reason: error.to_string() }
    }
}

fn preparing_may_pass(error: &PrepareError) -> bool {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => may_pass(first_attempt),
        _ => true,
    }
}

/// A busy or broken cluster may recover; a statement that it refuses will be refused again.
fn may_pass(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::DbError(error, _) => matches!(
            error,
            DbError::Unavailable { .. }
                | DbError::Overloaded
                | DbError::IsBootstrapping
                | DbError::ReadTimeout { .. }
                | DbError::WriteTimeout { .. }
                | DbError::ReadFailure { .. }
                | DbError::WriteFailure { .. }
                | DbError::ServerError
                | DbError::RateLimitReached { .. }
        ),
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => false,
        _ => true,
    }
}

/// What to do about a cluster that does not let us in, by what the driver says.
fn advice(options: &CqlOptions, doubt: Option<&str>, said: &str) -> String {
    if said.contains("username") || said.contains("uthentication") {
        let login = match options.user {
            Some(_) => "see `username` and `password_file` in [store]",
            None => "no login was shown: say `username` and `password_file` in [store]",
        };
        return format!("; {login}");
    }
    match (&options.tls, doubt) {
        // A node that wants TLS only hangs up on whoever speaks without.
        (None, _) => "; it was spoken to without TLS: if it wants TLS, say `tls = true`".into(),
        (Some(_), Some(doubt)) => format!("; the node's certificate: {doubt}"),
        // So does one that wants a certificate, or it says so, whichever is quicker.
        (Some(Tls { identity: None, .. }), None) => {
            "; no certificate was shown: if it wants one, say `certificate_file` and `key_file`"
                .into()
        }
        (Some(_), None) => String::new(),
    }
}

/// A session with its prepared statements, by their text.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) driver: Driver,
    pub(super) patience: Duration,
    prepared: Mutex<HashMap<String, Arc<PreparedStatement>>>,
}

impl Session {
    pub(super) async fn connect(options: &CqlOptions) -> Result<Session, StoreError> {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .request_timeout(Some(REQUEST.min(options.patience)))
            .build();
        // What has no timestamp of its own gets one that grows, even if the clock is put back.
        let clock = MonotonicTimestampGenerator::new();
        let mut builder = SessionBuilder::new()
            .known_nodes(&options.contact_points)
            .default_execution_profile_handle(profile.into_handle())
            .timestamp_generator(Arc::new(clock))
            .keyspaces_to_fetch([&options.keyspace]);
        if options.dialect == super::Dialect::Cassandra {
            builder = builder.pool_size(PoolSize::PerHost(CONNECTIONS));
        }
        if let (Some(user), Some(password)) = (&options.user, &options.password) {
            builder = builder.user(user, password);
        }
        let doubt = Doubt::default();
        if let Some(tls) = &options.tls {
            builder = builder.tls_context(Some(tls.context(doubt.clone())?));
        }
        if let Some(datacenter) = &options.datacenter {
            builder = builder.prefer_datacenter(datacenter.clone());
        }
        let driver = builder.build().await.map_err(|error| {
            let hint = advice(options, doubt.get().copied(), &error.to_string());
            let reason = format!("{}: {error}{hint}", options.contact_points.join(", "));
            StoreError::Failed { doing: "open", reason }
        })?;
        Ok(Session { driver, patience: options.patience, prepared: Mutex::default() })
    }

    /// The statement, prepared. Only texts that come from the program, so there are not many.
    pub(super) async fn prepare(&self, cql: &str) -> Result<Arc<PreparedStatement>, Trouble> {
        if let Some(known) = self.prepared().get(cql) {
            return Ok(known.clone());
        }
        let mut prepared = self.driver.prepare(Statement::new(cql)).await?;
        prepared.set_is_idempotent(true);
        prepared.set_page_size(PAGE);
        let prepared = Arc::new(prepared);
        self.prepared().insert(cql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    /// Forgets what is prepared: the tables have changed.
    pub(super) fn forget(&self) {
        self.prepared().clear();
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<PreparedStatement>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All rows of an answer, page by page.
    pub(super) async fn rows(&self, cql: &str, values: &[Asked]) -> Result<Vec<Columns>, Trouble> {
        let (mut rows, mut from) = (Vec::new(), PagingState::start());
        loop {
            let page = async || self.page(cql, values, from.clone()).await;
            let (found, next) = patiently(READ_PATIENCE.min(self.patience), page).await?;
            rows.extend(found);
            match next {
                ControlFlow::Continue(next) => from = next,
                ControlFlow::Break(()) => return Ok(rows),
            }
        }
    }

    async fn page(
        &self,
        cql: &str,
        values: &[Asked],
        from: PagingState,
    ) -> Result<(Vec<Columns>, ControlFlow<(), PagingState>), Trouble> {
        let prepared = self.prepare(cql).await?;
        let (page, next) = self.driver.execute_single_page(&prepared, values, from).await?;
        let page = page.into_rows_result().map_err(Trouble::lasting)?;
        let rows = page.rows::<scylla::value::Row>().map_err(Trouble::lasting)?;
        let rows: Result<Vec<Columns>, _> = rows.map(|row| row.map(|row| row.columns)).collect();
        Ok((rows.map_err(Trouble::lasting)?, next.into_paging_control_flow()))
    }

    /// A statement without an answer.
    pub(super) async fn run(&self, cql: &str, values: &[Asked]) -> Result<(), Trouble> {
        let run = async || {
            let prepared = self.prepare(cql).await?;
            self.driver.execute_unpaged(&prepared, values).await?;
            Ok(())
        };
        patiently(self.patience, run).await
    }

    /// Changes the tables, and waits until all nodes agree about them.
    pub(super) async fn change(&self, cql: &str) -> Result<(), Trouble> {
        let mut statement = Statement::new(cql);
        statement.set_request_timeout(Some(self.patience.max(REQUEST)));
        self.driver.query_unpaged(statement, &[]).await?;
        Ok(())
    }
}

/// Tries until it works, the trouble lasts, or the patience is at its end.
pub(super) async fn patiently<T>(
    patience: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let (started, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        match attempt().await {
            Err(trouble) if trouble.passing && started.elapsed() + pause < patience => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it was tried, and how it ended.
    fn tries(passing: bool, patience: Duration, works_at: u32) -> (u32, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut count = 0;
        let attempt = async || {
            count += 1;
            let trouble = Trouble { reason: String::new(), passing };
            if count == works_at { Ok(()) } else { Err(trouble) }
        };
        let works = runtime.block_on(patiently(patience, attempt)).is_ok();
        (count, works)
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        assert_eq!(tries(true, Duration::from_secs(60), 3), (3, true));
        assert_eq!(tries(false, Duration::from_secs(60), 3), (1, false));
        assert_eq!(tries(true, Duration::ZERO, 3), (1, false));
    }

    #[test]
    fn what_the_cluster_refuses_does_not_pass() {
        let said = |error| RequestAttemptError::DbError(error, String::new());
        assert!(may_pass(&said(DbError::Overloaded)));
        assert!(may_pass(&RequestAttemptError::UnableToAllocStreamId));
        assert!(!may_pass(&said(DbError::SyntaxError)));
        assert!(!may_pass(&said(DbError::Unauthorized)));
        assert!(!may_pass(&said(DbError::Invalid)));
    }
}
