//! What a caller reads from: a replica, the primary, or whichever of them served.
//!
//! The types differ so that a write cannot be sent to a replica: there is no function for it.

use tokio_postgres::{Row, types::ToSql};

use crate::{
    error::Error,
    lease::Lease,
    statement::{Read, Statement},
};

/// A borrowed connection to a replica. It goes back when this is dropped.
#[derive(Debug)]
pub struct Replica(pub(crate) Outside);

/// A borrowed connection to the primary, outside a transaction. It goes back when this is dropped.
#[derive(Debug)]
pub struct Primary(pub(crate) Outside);

/// Whoever serves a list: a replica that is fresh enough, else the primary.
#[derive(Debug)]
pub enum Reader {
    /// A replica that has replayed everything acknowledged before the request.
    Replica(Replica),
    /// The primary.
    Primary(Primary),
}

impl Read for Replica {
    async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.0.query(statement, params).await
    }
}

impl Read for Primary {
    async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.0.query(statement, params).await
    }
}

impl Read for Reader {
    async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Replica(replica) => replica.query(statement, params).await,
            Self::Primary(primary) => primary.query(statement, params).await,
        }
    }
}

/// A connection whose statements each run in a transaction of their own, with the limits of a list.
///
/// The session's settings are those of a lane: half a second, and plans pinned for keys. A list needs more time and
/// plans made for its values, and behind a pooler only `SET LOCAL` is ours; so each statement travels between BEGIN and
/// COMMIT, all sent at once. It is one round trip, and READ COMMITTED: each statement has its own snapshot.
#[derive(Debug)]
pub(crate) struct Outside {
    lease: Lease,
    begin: String,
}

impl Outside {
    pub(crate) fn new(lease: Lease) -> Self {
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL plan_cache_mode = auto",
            lease.pool().policy.limits.list.as_millis()
        );
        Self { lease, begin }
    }

    /// Cancel safe: COMMIT is sent together with the statement, so the transaction ends without us.
    async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        // Whatever needs an answer before the statement can be sent must be done before BEGIN is.
        self.lease.prepare(statement).await?;
        let client = self.lease.client();
        // Each is sent when first asked for its result, and `join` asks in this order.
        let (begun, rows, ended) = futures::join!(
            self.lease
                .answered(statement.name, client.batch_execute(&self.begin)),
            self.lease.query(statement, params),
            self.lease
                .answered(statement.name, client.batch_execute("COMMIT")),
        );
        begun?;
        let rows = rows?;
        ended?;
        Ok(rows)
    }
}
