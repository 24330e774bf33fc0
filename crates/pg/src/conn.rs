//! A borrowed connection outside a transaction, and how a list runs on it.

use tokio_postgres::{Row, types::ToSql};

use crate::{
    error::Error,
    lane::guard::Standing,
    lease::Lease,
    protocol::{STANDING, undecodable},
    statement::{Read, Statement},
};

/// A borrowed connection to the primary, outside a transaction. It goes back when this is dropped.
#[derive(Debug)]
pub struct Primary(pub(crate) Outside);

impl Read for Primary {
    async fn query(
        &self,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.0.query(statement, params).await
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
            "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
             SET LOCAL statement_timeout = {}; SET LOCAL plan_cache_mode = auto",
            lease.pool().policy.limits.list.as_millis()
        );
        Self { lease, begin }
    }

    /// Runs a statement and takes the server for what it should be.
    ///
    /// Cancel safe: COMMIT is sent together with the statement, so the transaction ends without us.
    pub(crate) async fn query(
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

    /// Runs a statement between a proof, if one is asked for, and the server's standing: what the rows are worth.
    ///
    /// The proof ends before the statement's snapshot is taken. The standing is taken after it: an epoch that is the
    /// expected one then was so before, because epochs are drawn and never come back. Cancel safe as
    /// [`Outside::query`].
    pub(crate) async fn query_vouched(
        &self,
        proof: Option<&'static Statement>,
        statement: &'static Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vouched, Error> {
        self.lease.prepare(statement).await?;
        self.lease.prepare(&STANDING).await?;
        if let Some(proof) = proof {
            self.lease.prepare(proof).await?;
        }
        let client = self.lease.client();
        let proven = async {
            match proof {
                Some(proof) => self.lease.query_one(proof, &[]).await.map(Some),
                None => Ok(None),
            }
        };
        let (begun, proof, rows, standing, ended) = futures::join!(
            self.lease
                .answered(statement.name, client.batch_execute(&self.begin)),
            proven,
            self.lease.query(statement, params),
            self.lease.query_one(&STANDING, &[]),
            self.lease
                .answered(statement.name, client.batch_execute("COMMIT")),
        );
        begun?;
        // The statement's own failure first: those after it only say that the transaction has failed.
        let (proof, rows) = (proof?, rows?);
        let standing = standing?;
        ended?;
        Ok(Vouched {
            proof,
            rows,
            standing: Standing::decode(&standing, 0).map_err(undecodable(STANDING.name))?,
        })
    }

    /// The connection.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }
}

/// Rows, and what vouches for them.
#[derive(Debug)]
pub(crate) struct Vouched {
    /// From before the rows' snapshot.
    pub(crate) proof: Option<Row>,
    /// The answer.
    pub(crate) rows: Vec<Row>,
    /// From after.
    pub(crate) standing: Standing,
}
