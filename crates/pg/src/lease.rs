//! A borrowed connection, and how a statement runs on it.
//!
//! A lease comes back clean. If its borrower went away in the middle of a statement, the server is still at it, and the
//! next borrower would wait behind it: then a task waits for the server first, and the place stays taken meanwhile.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::Object;
use deadpool_postgres::ClientWrapper;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    connection::Supply,
    error::Error,
    metrics::{CloseReason, Role, Share, StatementLabels},
    pool::{Places, Shared},
    sqlstate,
    statement::Statement,
};

/// How much longer than its own limit the server is given to end what a borrower left behind.
const SETTLE_GRACE: Duration = Duration::from_secs(1);

/// A connection lent to one borrower.
pub(crate) struct Lease {
    /// Taken out by `drop` alone.
    held: Option<(Object<Supply>, Places)>,
    pool: Arc<Shared>,
    share: Share,
    /// Statements sent whose end nobody has seen.
    unfinished: AtomicUsize,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("server", &self.pool.role)
            .field("share", &self.share)
            .field("unfinished", &self.unfinished)
            .finish_non_exhaustive()
    }
}

impl Lease {
    pub(crate) fn new(
        object: Object<Supply>,
        places: Places,
        pool: Arc<Shared>,
        share: Share,
    ) -> Self {
        Self {
            held: Some((object, places)),
            pool,
            share,
            unfinished: AtomicUsize::new(0),
        }
    }

    pub(crate) fn client(&self) -> &ClientWrapper {
        let (object, _) = self.held.as_ref().expect("held until dropped");
        &object.client
    }

    pub(crate) fn pool(&self) -> &Shared {
        &self.pool
    }

    /// Runs a statement and returns its rows.
    ///
    /// Cancel safe: a statement already sent runs to its end; the lease is given back after that.
    pub(crate) async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let run = self.run(statement);
        let client = self.client();
        let result = if self.pool.policy.pooler {
            client
                .query_typed(statement.sql, &typed(statement, params))
                .await
        } else {
            match client
                .prepare_typed_cached(statement.sql, statement.types)
                .await
            {
                Ok(prepared) => client.query(&prepared, params).await,
                Err(error) => Err(error),
            }
        };
        run.ended(result)
    }

    /// Runs a statement and returns how many rows it changed. Cancel safety as for [`Lease::query`].
    pub(crate) async fn execute(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let run = self.run(statement);
        let client = self.client();
        let result = if self.pool.policy.pooler {
            client
                .execute_typed(statement.sql, &typed(statement, params))
                .await
        } else {
            match client
                .prepare_typed_cached(statement.sql, statement.types)
                .await
            {
                Ok(prepared) => client.execute(&prepared, params).await,
                Err(error) => Err(error),
            }
        };
        run.ended(result)
    }

    /// Makes sure that running `statement` needs one round trip. Cancel safety as for [`Lease::query`].
    pub(crate) async fn prepare(&self, statement: &'static Statement) -> Result<(), Error> {
        if self.pool.policy.pooler {
            return Ok(());
        }
        let unfinished = Unfinished::new(self);
        let (sql, types) = (statement.sql, statement.types);
        let result = self.client().prepare_typed_cached(sql, types).await;
        unfinished.seen();
        let name = statement.name;
        result
            .map(drop)
            .map_err(|source| Error::Statement { name, source })
    }

    /// Runs a command of the crate's own, such as BEGIN. Cancel safety as for [`Lease::query`].
    pub(crate) async fn command(&self, name: &'static str, sql: &str) -> Result<(), Error> {
        let unfinished = Unfinished::new(self);
        let result = self.client().batch_execute(sql).await;
        unfinished.seen();
        result.map_err(|source| Error::Statement { name, source })
    }

    fn run(&self, statement: &'static Statement) -> Run<'_> {
        Run {
            unfinished: Unfinished::new(self),
            statement,
            began: Instant::now(),
        }
    }

    pub(crate) fn server(&self) -> Role {
        self.pool.role
    }

    /// How long the server may be busy with one statement of this borrower.
    fn statement_limit(&self) -> Duration {
        let limits = &self.pool.policy.limits;
        match self.share {
            Share::Lanes | Share::Control => limits.lane,
            Share::Lists => limits.list,
            Share::Writes => limits.write,
            Share::Background => limits.background,
        }
    }
}

fn typed<'a>(
    statement: &Statement,
    params: &[&'a (dyn ToSql + Sync)],
) -> Vec<(&'a (dyn ToSql + Sync), tokio_postgres::types::Type)> {
    params
        .iter()
        .copied()
        .zip(statement.types.iter().cloned())
        .collect()
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((object, places)) = self.held.take() else {
            return;
        };
        if *self.unfinished.get_mut() == 0 || object.client.is_closed() {
            self.pool.give_back(object, places);
            return;
        }
        let limit = self.statement_limit() + SETTLE_GRACE;
        let settle = settle(Arc::clone(&self.pool), object, places, limit);
        self.pool.tracker.spawn_on(settle, &self.pool.runtime);
    }
}

/// Waits until the server has ended what was left behind, then gives the connection back.
async fn settle(pool: Arc<Shared>, object: Object<Supply>, places: Places, limit: Duration) {
    // Answers come in the order of the questions, so the answer to this one says that all before it have ended.
    match timeout(limit, object.client.batch_execute("")).await {
        Ok(Ok(())) => pool.give_back(object, places),
        Ok(Err(_)) => pool.discard(object, places, CloseReason::Lost),
        Err(_elapsed) => pool.discard(object, places, CloseReason::Stuck),
    }
}

/// A question whose answer has not been seen. Stays counted if dropped before [`Unfinished::seen`].
pub(crate) struct Unfinished<'a>(&'a Lease);

impl<'a> Unfinished<'a> {
    pub(crate) fn new(lease: &'a Lease) -> Self {
        lease.unfinished.fetch_add(1, Ordering::AcqRel);
        Self(lease)
    }

    pub(crate) fn seen(self) {
        self.0.unfinished.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A statement being run: measured, and its failure given a name.
struct Run<'a> {
    unfinished: Unfinished<'a>,
    statement: &'static Statement,
    began: Instant,
}

impl Run<'_> {
    fn ended<T>(self, result: Result<T, tokio_postgres::Error>) -> Result<T, Error> {
        let Self {
            unfinished,
            statement,
            began,
        } = self;
        let lease = unfinished.0;
        unfinished.seen();
        let labels = StatementLabels {
            server: lease.server(),
            statement: statement.name,
        };
        let metrics = &lease.pool.metrics;
        metrics
            .statement_seconds
            .get_or_create(&labels)
            .observe(began.elapsed().as_secs_f64());
        result.map_err(|source| {
            metrics.statement_failures.get_or_create(&labels).inc();
            if source.code().is_some_and(sqlstate::is_stale_plan) {
                // Prepared again next time: the server has forgotten it, or its columns have changed.
                let cache = &lease.client().statement_cache;
                drop(cache.remove(statement.sql, statement.types));
            }
            let name = statement.name;
            Error::Statement { name, source }
        })
    }
}
