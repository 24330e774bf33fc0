//! A borrowed connection, and how a statement runs on it.
//!
//! A lease comes back clean. If its borrower went away in the middle of a statement, the server is still at it, and the
//! next borrower would wait behind it: then a task waits for the server first, and the place stays taken meanwhile.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::Object;
use deadpool_postgres::ClientWrapper;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    connection::Supply,
    dashboards::NameLabels,
    error::Error,
    gates::Places,
    identify::Peer,
    metrics::{CloseReason, Share, StatementLabels},
    pool::Shared,
    sqlstate,
    statement::Statement,
};

/// How much longer than the limit it was told the server is given to say that a statement took too long. Past that
/// something between us swallows the answers: the server's own timer cannot help then.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// A connection lent to one borrower.
pub(crate) struct Lease {
    /// Taken out by `drop` alone.
    held: Option<(Object<Supply>, Places)>,
    pool: Arc<Shared>,
    share: Share,
    /// Statements sent whose end nobody has seen.
    unfinished: AtomicUsize,
    /// Why the line is no good any more, if it is not. The driver may not know yet: the server's last words arrive
    /// before the end of the line does.
    broken: OnceLock<CloseReason>,
    /// Whether COMMIT was sent: the server may take as long as it has to, see [`Lease::commit`].
    committing: AtomicBool,
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
            broken: OnceLock::new(),
            committing: AtomicBool::new(false),
        }
    }

    pub(crate) fn client(&self) -> &ClientWrapper {
        &self.object().client
    }

    /// The server at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.object().peer
    }

    /// Has the connection closed instead of given back.
    pub(crate) fn end(&self, reason: CloseReason) {
        let _ = self.broken.set(reason);
    }

    /// Whether it should go back: the line is no good, or old enough.
    pub(crate) fn is_worn(&self) -> bool {
        let object = self.object();
        self.broken.get().is_some() || object.client.is_closed() || object.is_expired()
    }

    fn object(&self) -> &Object<Supply> {
        let (object, _) = self.held.as_ref().expect("held until dropped");
        object
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
        let client = self.client();
        let (sql, types) = (statement.sql, statement.types);
        self.measured(statement, async {
            if self.pool.policy.pooler {
                return client.query_typed(sql, &typed(statement, params)).await;
            }
            let prepared = client.prepare_typed_cached(sql, types).await?;
            client.query(&prepared, params).await
        })
        .await
    }

    /// Runs a statement that yields exactly one row. Cancel safety as for [`Lease::query`].
    pub(crate) async fn query_one(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        let mut rows = self.query(statement, params).await?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (row, others) => Err(Error::RowCount {
                name: statement.name,
                actual: others + usize::from(row.is_some()),
            }),
        }
    }

    /// Runs a statement and returns how many rows it changed. Cancel safety as for [`Lease::query`].
    pub(crate) async fn execute(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let client = self.client();
        let (sql, types) = (statement.sql, statement.types);
        self.measured(statement, async {
            if self.pool.policy.pooler {
                return client.execute_typed(sql, &typed(statement, params)).await;
            }
            let prepared = client.prepare_typed_cached(sql, types).await?;
            client.execute(&prepared, params).await
        })
        .await
    }

    /// Makes sure that running `statement` needs one round trip. Cancel safety as for [`Lease::query`].
    pub(crate) async fn prepare(&self, statement: &'static Statement) -> Result<(), Error> {
        if self.pool.policy.pooler {
            return Ok(());
        }
        let client = self.client();
        let prepare = client.prepare_typed_cached(statement.sql, statement.types);
        self.answered(statement.name, prepare).await.map(drop)
    }

    /// Runs a command of the crate's own, such as BEGIN. Cancel safety as for [`Lease::query`].
    pub(crate) async fn command(&self, name: &'static str, sql: &str) -> Result<(), Error> {
        self.answered(name, self.client().batch_execute(sql)).await
    }

    /// Commits. The place stays taken until the server has answered, however long that takes.
    ///
    /// A statement timeout does not reach a COMMIT that waits for a synchronous standby: the server stops its clock
    /// first, or it would have to report success for a commit that is on one machine only. So while the standby is
    /// away each COMMIT keeps a session, and if we gave the place to somebody else, each attempt would cost another.
    ///
    /// Cancel safe in that the connection is given back when COMMIT has ended.
    pub(crate) async fn commit(&self) -> Result<(), Error> {
        self.committing.store(true, Ordering::Release);
        self.command("commit", "COMMIT").await
    }

    /// Waits for an answer, but not much longer than the server may take.
    ///
    /// Cancel safe: the answer counts as outstanding, so the connection is not lent again before it has come.
    pub(crate) async fn answered<T>(
        &self,
        name: &'static str,
        question: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let unfinished = Unfinished::new(self);
        let after = self.statement_limit() + ANSWER_GRACE;
        let Ok(answer) = timeout(after, question).await else {
            let _ = self.broken.set(CloseReason::Stuck);
            return Err(Error::Unanswered { name, after });
        };
        unfinished.seen();
        let answer = answer.map_err(|source| Error::Statement {
            name,
            source: Arc::new(source),
        });
        if answer.as_ref().is_err_and(Error::is_connection_lost) {
            let _ = self.broken.set(CloseReason::Lost);
        }
        answer
    }

    /// As [`Lease::answered`], and counts. Cancel safe as that; what nobody waited for is not counted.
    async fn measured<T>(
        &self,
        statement: &'static Statement,
        question: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let answer = self.answered(statement.name, question).await;
        let labels = StatementLabels {
            server: self.pool.role,
            statement: statement.name,
        };
        let metrics = &self.pool.metrics;
        let took = began.elapsed().as_secs_f64();
        metrics
            .statement_seconds
            .get_or_create(&labels)
            .observe(took);
        let labelled = NameLabels {
            name: statement.name,
        };
        let dashboards = &metrics.dashboards;
        dashboards.queries.get_or_create(&labelled).inc();
        dashboards
            .query_seconds
            .get_or_create(&labelled)
            .observe(took);
        if let Err(error) = &answer {
            metrics.statement_failures.get_or_create(&labels).inc();
            if error.sqlstate().is_some_and(sqlstate::is_stale_plan) {
                // Prepared again next time: the server has forgotten it, or its columns have changed.
                let cache = &self.client().statement_cache;
                drop(cache.remove(statement.sql, statement.types));
            }
        }
        answer
    }

    /// How long the server may be busy with one statement of this borrower.
    fn statement_limit(&self) -> Duration {
        let limits = &self.pool.policy.limits;
        match self.share {
            Share::Lanes | Share::SecondLane => limits.lane,
            Share::Lists | Share::Control => limits.list,
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
        let committing = *self.committing.get_mut();
        let finished = *self.unfinished.get_mut() == 0 || object.client.is_closed();
        // A COMMIT that hangs is waited for below, unless there is nobody left to answer.
        let broken = self.broken.get().filter(|_| finished || !committing);
        if let Some(reason) = broken {
            self.pool.discard(object, places, *reason);
        } else if finished {
            self.pool.give_back(object, places);
        } else {
            let limit = if committing {
                self.pool.policy.age.lifetime
            } else {
                self.statement_limit() + ANSWER_GRACE
            };
            let settle = settle(Arc::clone(&self.pool), object, places, limit);
            self.pool.tracker.spawn_on(settle, &self.pool.runtime);
        }
    }
}

/// Waits until the server has ended what was left behind, then gives the connection back; waits no longer than
/// `limit`, and not past the end of the pool. Owned by the pool's tracker: dropped only with the runtime, and the
/// connection then with it.
async fn settle(pool: Arc<Shared>, object: Object<Supply>, places: Places, limit: Duration) {
    // Answers come in the order of the questions, so the answer to this one says that all before it have ended.
    let answer = tokio::select! {
        answer = object.client.batch_execute("") => Some(answer),
        () = sleep(limit) => None,
        () = pool.closed() => None,
    };
    match answer {
        Some(Ok(())) => pool.give_back(object, places),
        Some(Err(_)) => pool.discard(object, places, CloseReason::Lost),
        None => pool.discard(object, places, CloseReason::Stuck),
    }
}

/// A question whose answer has not been seen. Stays counted if dropped before [`Unfinished::seen`].
struct Unfinished<'a>(&'a Lease);

impl<'a> Unfinished<'a> {
    fn new(lease: &'a Lease) -> Self {
        lease.unfinished.fetch_add(1, Ordering::AcqRel);
        Self(lease)
    }

    fn seen(self) {
        self.0.unfinished.fetch_sub(1, Ordering::AcqRel);
    }
}
