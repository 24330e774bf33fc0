//! Months come and go: their partitions are made ahead and dropped whole.
//!
//! What does it are two functions of the schema, which run as its owner: the role that serves needs to own nothing. A
//! lock that they do not get within a tenth of a second is an error, and they are called again: nobody waits behind them.

use crate::Error;
use crate::columns::{limit, seconds};
use crate::statements::statement;
use portolan_pg::{Read, Statement, Tx};
use std::time::Duration;

pub(super) static MAKE: Statement = statement!(
    "audit.make_partition",
    [INT4],
    "SELECT audit_partition_make((now() AT TIME ZONE 'UTC' + make_interval(months => $1))::date)",
);

/// Makes the partitions of the month that is `ahead` months from now, where they are missing; false: they were there.
pub async fn make_month(tx: &Tx, ahead: i32) -> Result<bool, Error> {
    let row = tx.query_one(&MAKE, &[&ahead]).await?;
    row.try_get(0).map_err(Error::decoding("audit_log"))
}

pub(super) static DUE: Statement = statement!(
    "audit.partitions_due",
    [FLOAT8],
    "SELECT DISTINCT replace(right(part.relname, 7), '_', '-') || '-01'
     FROM pg_catalog.pg_inherits AS link
     JOIN pg_catalog.pg_class AS part ON part.oid = link.inhrelid
     WHERE link.inhparent = ANY (ARRAY['audit_log'::regclass::oid, 'pull_count'::regclass::oid])
         AND part.relname ~ '_[0-9]{4}_[0-9]{2}$'
         AND to_date(right(part.relname, 7), 'YYYY_MM') + interval '1 month'
             <= now() AT TIME ZONE 'UTC' - make_interval(secs => $1)
     ORDER BY 1",
);

/// The months that ended longer than `retention` ago and still have partitions, the oldest first, as `2026-11-01`.
pub async fn due(db: &impl Read, retention: Duration) -> Result<Vec<String>, Error> {
    let rows = db.query(&DUE, &[&seconds(retention)]).await?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("audit_log"))
}

pub(super) static DROP: Statement = statement!(
    "audit.drop_partition",
    [TEXT],
    "SELECT audit_partition_drop($1::date)",
);

/// Drops the partitions of one of the months that [`due`] names.
pub async fn drop_month(tx: &Tx, month: &str) -> Result<bool, Error> {
    let row = tx.query_one(&DROP, &[&month]).await?;
    row.try_get(0).map_err(Error::decoding("audit_log"))
}

// What is older than the oldest month that is kept has no partition of its own any more: it lies in the default one.
pub(super) static FORGET_CHANGES: Statement = statement!(
    "audit.forget_changes",
    [FLOAT8, INT8],
    "DELETE FROM audit_log USING (
         SELECT old.at, old.id FROM audit_log AS old
         WHERE old.at < date_trunc('month', now() AT TIME ZONE 'UTC' - make_interval(secs => $1)) AT TIME ZONE 'UTC'
         ORDER BY old.at, old.id
         LIMIT $2
     ) AS held
     WHERE audit_log.at = held.at AND audit_log.id = held.id",
);

pub(super) static FORGET_PULLS: Statement = statement!(
    "audit.forget_pulls",
    [FLOAT8, INT8],
    "DELETE FROM pull_count USING (
         SELECT old.hour, old.repository_id, old.digest, old.account_id, old.credential_id FROM pull_count AS old
         WHERE old.hour < date_trunc('month', now() AT TIME ZONE 'UTC' - make_interval(secs => $1)) AT TIME ZONE 'UTC'
         ORDER BY old.hour, old.repository_id, old.digest, old.account_id, old.credential_id
         LIMIT $2
     ) AS held
     WHERE pull_count.hour = held.hour AND pull_count.repository_id = held.repository_id
         AND pull_count.digest = held.digest AND pull_count.account_id = held.account_id
         AND pull_count.credential_id = held.credential_id",
);

/// Deletes at most `rows` changes, and as many counts, of months that ended longer than `retention` ago; returns how many.
pub async fn forget(tx: &Tx, retention: Duration, rows: usize) -> Result<u64, Error> {
    let retention = seconds(retention);
    let changes = tx
        .execute(&FORGET_CHANGES, &[&retention, &limit(rows)])
        .await?;
    let pulls = tx
        .execute(&FORGET_PULLS, &[&retention, &limit(rows)])
        .await?;
    Ok(changes + pulls)
}
