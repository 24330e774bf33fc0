//! Work to be done later, by whichever worker comes.
//!
//! A claim is a lease: it is committed, the worker holds no connection while it works, and somebody else takes the job
//! when the lease runs out. So a job may run twice, and must be such that it may. Two jobs of one kind and key are one;
//! asked for again while it runs, it runs once more afterwards.

mod lease;

pub use lease::{ClaimedJob, Lease, claim, complete, fail, renew};

use crate::Error;
use crate::columns::{limit, seconds};
pub use crate::ids::JobId;
use crate::statements::statement;
use portolan_pg::{Read, Statement, Tx};
use std::time::{Duration, SystemTime};
use tokio_postgres::Row;

/// A job to be done.
#[derive(Debug, Clone)]
pub struct NewJob<'a> {
    /// What is to be done.
    pub kind: &'a str,
    /// To what; empty where there is one of its kind.
    pub key: &'a str,
    /// What else the worker needs to know.
    pub payload: &'a serde_json::Value,
    /// When, from now.
    pub due_in: Duration,
}

static ENQUEUE: Statement = statement!(
    "jobs.enqueue",
    [TEXT, TEXT, TEXT, FLOAT8],
    "INSERT INTO job (kind, key, payload, due_at)
     VALUES ($1, $2, $3::json, now() + make_interval(secs => $4))
     ON CONFLICT (kind, key) DO UPDATE SET
         payload = excluded.payload,
         due_at = CASE
             WHEN job.claimed_at IS NULL THEN least(job.due_at, excluded.due_at)
             ELSE job.due_at
         END,
         again_at = CASE
             WHEN job.claimed_at IS NOT NULL THEN least(job.again_at, excluded.due_at)
         END",
);

/// Asks for a job, in the transaction that makes it necessary. One that waits already is done at the sooner time.
pub async fn enqueue(tx: &Tx, new: &NewJob<'_>) -> Result<(), Error> {
    let payload = new.payload.to_string();
    tx.execute_one(
        &ENQUEUE,
        &[&new.kind, &new.key, &payload, &seconds(new.due_in)],
    )
    .await?;
    Ok(())
}

static ENSURE: Statement = statement!(
    "jobs.ensure",
    [TEXT, TEXT, TEXT, FLOAT8],
    "INSERT INTO job (kind, key, payload, due_at)
     VALUES ($1, $2, $3::json, now() + make_interval(secs => $4))
     ON CONFLICT (kind, key) DO NOTHING",
);

/// Makes a recurring job at the first start; one that is there keeps its time. Returns whether it was made.
pub async fn ensure(tx: &Tx, new: &NewJob<'_>) -> Result<bool, Error> {
    let payload = new.payload.to_string();
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&new.kind, &new.key, &payload, &seconds(new.due_in)];
    Ok(tx.execute(&ENSURE, &parameters).await? == 1)
}

static NEXT_DUE: Statement = statement!(
    "jobs.next_due",
    [TEXT_ARRAY],
    "SELECT extract(epoch FROM job.due_at - now())::double precision
     FROM job
     WHERE job.kind = ANY ($1) AND NOT job.paused
     ORDER BY job.due_at
     LIMIT 1",
);

/// In how long the next job of these kinds is due, as the database's clock sees it: zero if one is. `None`: there is
/// none. A claimed job counts at the end of its lease, when it is due to others.
pub async fn next_due(db: &impl Read, kinds: &[&str]) -> Result<Option<Duration>, Error> {
    let Some(row) = db.query_opt(&NEXT_DUE, &[&kinds]).await? else {
        return Ok(None);
    };
    let due_in: f64 = row.try_get(0).map_err(Error::decoding("job"))?;
    Ok(Some(
        Duration::try_from_secs_f64(due_in).unwrap_or(Duration::ZERO),
    ))
}

/// A job as an administrator sees it.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// What is to be done.
    pub kind: String,
    /// To what.
    pub key: String,
    /// When it is due, or its lease ends.
    pub due_at: SystemTime,
    /// Since when a worker has it.
    pub claimed_at: Option<SystemTime>,
    /// How often it was begun since it last succeeded.
    pub attempts: u32,
    /// Whether nobody may claim it.
    pub paused: bool,
    /// Why it failed last.
    pub last_error: Option<String>,
}

static LIST: Statement = statement!(
    "jobs.list",
    [INT8, INT8],
    "SELECT job.id, job.kind, job.key, job.due_at, job.claimed_at, job.attempts, job.paused, job.last_error
     FROM job
     WHERE job.id > $1
     ORDER BY job.id
     LIMIT $2",
);

/// At most `rows` jobs after `after`, in the order they were made.
pub async fn list(db: &impl Read, after: Option<JobId>, rows: usize) -> Result<Vec<JobRow>, Error> {
    let after = after.map_or(0, JobId::get);
    let found = db.query(&LIST, &[&after, &limit(rows)]).await?;
    let decode = |row: &Row| {
        Ok(JobRow {
            id: row.try_get(0)?,
            kind: row.try_get(1)?,
            key: row.try_get(2)?,
            due_at: row.try_get(3)?,
            claimed_at: row.try_get(4)?,
            attempts: row.try_get::<_, i32>(5)?.unsigned_abs(),
            paused: row.try_get(6)?,
            last_error: row.try_get(7)?,
        })
    };
    found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("job"))
}

static SET_PAUSED: Statement = statement!(
    "jobs.set_paused",
    [TEXT, BOOL],
    "UPDATE job SET paused = $2 WHERE job.kind = $1",
);

/// Stops the jobs of one kind from being claimed, or lets them; what runs is finished. Returns how many there are.
pub async fn set_paused(tx: &Tx, kind: &str, paused: bool) -> Result<u64, Error> {
    Ok(tx.execute(&SET_PAUSED, &[&kind, &paused]).await?)
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &ENQUEUE,
    &ENSURE,
    &NEXT_DUE,
    &LIST,
    &SET_PAUSED,
    &lease::CLAIM,
    &lease::RENEW,
    &lease::LOCK,
    &lease::DELETE,
    &lease::RESCHEDULE,
    &lease::FAIL,
];
