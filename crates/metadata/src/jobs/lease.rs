//! Taking a job, keeping it, and giving it back.

use super::JobId;
use crate::Error;
use crate::columns::{FromJson, before_nul, limit, seconds};
use crate::statements::statement;
use portolan_pg::{Read as _, Statement, Tx};
use std::time::Duration;
use tokio_postgres::Row;

/// The longest error text kept with a job, in bytes: enough for a chain of causes, too little for a page of HTML.
const ERROR_MAX: usize = 1_000;

/// What the worker that has a job shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// Which claim of it.
    pub number: i64,
}

/// A job that the caller has for the length of its lease.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// To be shown when it ends.
    pub lease: Lease,
    /// What is to be done.
    pub kind: String,
    /// To what.
    pub key: String,
    /// What else there is to know.
    pub payload: serde_json::Value,
    /// How often it was begun since it last succeeded, this time included.
    pub attempt: u32,
}

pub(super) static CLAIM: Statement = statement!(
    "jobs.claim",
    [TEXT_ARRAY, FLOAT8, INT8],
    // MATERIALIZED: as a subquery of the UPDATE it could be evaluated again for each row, and each time lock others.
    "WITH free AS MATERIALIZED (
         SELECT due.id FROM job AS due
         WHERE due.kind = ANY ($1) AND NOT due.paused AND due.due_at <= now()
         ORDER BY due.due_at
         LIMIT $3
         FOR UPDATE SKIP LOCKED
     )
     UPDATE job
     SET lease = job.lease + 1, attempts = job.attempts + 1, claimed_at = now(),
         due_at = now() + make_interval(secs => $2)
     FROM free
     WHERE job.id = free.id
     RETURNING job.id, job.lease, job.kind, job.key, job.payload::text, job.attempts",
);

/// Takes at most `jobs` due jobs of these kinds for `length`. To be committed before any is begun.
pub async fn claim(
    tx: &Tx,
    kinds: &[&str],
    length: Duration,
    jobs: usize,
) -> Result<Vec<ClaimedJob>, Error> {
    let rows = tx
        .query(&CLAIM, &[&kinds, &seconds(length), &limit(jobs)])
        .await?;
    let decode = |row: &Row| {
        Ok(ClaimedJob {
            lease: Lease {
                id: row.try_get(0)?,
                number: row.try_get(1)?,
            },
            kind: row.try_get(2)?,
            key: row.try_get(3)?,
            payload: row.try_get::<_, FromJson<serde_json::Value>>(4)?.0,
            attempt: row.try_get::<_, i32>(5)?.unsigned_abs(),
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("job"))
}

pub(super) static RENEW: Statement = statement!(
    "jobs.renew",
    [INT8, INT8, FLOAT8],
    "UPDATE job SET due_at = now() + make_interval(secs => $3)
     WHERE job.id = $1 AND job.lease = $2 AND job.claimed_at IS NOT NULL",
);

/// Makes the lease last `length` from now; false: it is lost, and the work should stop.
pub async fn renew(tx: &Tx, lease: &Lease, length: Duration) -> Result<bool, Error> {
    Ok(tx
        .execute(&RENEW, &[&lease.id, &lease.number, &seconds(length)])
        .await?
        == 1)
}

pub(super) static LOCK: Statement = statement!(
    "jobs.lock",
    [INT8, INT8],
    "SELECT job.again_at IS NOT NULL FROM job
     WHERE job.id = $1 AND job.lease = $2 AND job.claimed_at IS NOT NULL
     FOR UPDATE",
);

pub(super) static DELETE: Statement =
    statement!("jobs.delete", [INT8], "DELETE FROM job WHERE job.id = $1");

pub(super) static RESCHEDULE: Statement = statement!(
    "jobs.reschedule",
    [INT8, FLOAT8],
    "UPDATE job
     SET due_at = least(job.again_at, now() + make_interval(secs => $2)),
         claimed_at = NULL, again_at = NULL, attempts = 0, last_error = NULL
     WHERE job.id = $1",
);

/// Ends a job that succeeded: it goes, or comes back in `again`, or when it was asked for while it ran. False: the lease
/// was lost; somebody else has the job, and what was done here is done twice.
pub async fn complete(tx: &Tx, lease: &Lease, again: Option<Duration>) -> Result<bool, Error> {
    let Some(row) = tx.query_opt(&LOCK, &[&lease.id, &lease.number]).await? else {
        return Ok(false);
    };
    let asked_again: bool = row.try_get(0).map_err(Error::decoding("job"))?;
    if asked_again || again.is_some() {
        tx.execute_one(&RESCHEDULE, &[&lease.id, &again.map(seconds)])
            .await?;
    } else {
        tx.execute_one(&DELETE, &[&lease.id]).await?;
    }
    Ok(true)
}

pub(super) static FAIL: Statement = statement!(
    "jobs.fail",
    [INT8, INT8, TEXT, FLOAT8],
    "UPDATE job
     SET due_at = now() + make_interval(secs => $4), claimed_at = NULL, again_at = NULL, last_error = $3
     WHERE job.id = $1 AND job.lease = $2 AND job.claimed_at IS NOT NULL",
);

/// Gives back a job that failed, to be tried again in `retry_in`; false: the lease was lost.
pub async fn fail(tx: &Tx, lease: &Lease, error: &str, retry_in: Duration) -> Result<bool, Error> {
    let error = before_nul(error);
    let error = &error[..error.floor_char_boundary(ERROR_MAX)];
    Ok(tx
        .execute(
            &FAIL,
            &[&lease.id, &lease.number, &error, &seconds(retry_in)],
        )
        .await?
        == 1)
}
