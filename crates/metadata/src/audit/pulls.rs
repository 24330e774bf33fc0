//! How often what was pulled, by whom, in which hour.

use crate::columns::{self, limit, signed};
use crate::statements::statement;
use crate::{AccountId, CredentialId, Error, RepositoryId};
use portolan_oci::Digest;
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;
use tokio_postgres::Row;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pull {
    /// The beginning of the hour.
    pub hour: SystemTime,
    /// From where.
    pub repository: RepositoryId,
    /// Which manifest.
    pub digest: Digest,
    /// By whom; `None`: nobody in particular.
    pub account: Option<AccountId>,
    /// With which credential, where it has a row.
    pub credential: Option<CredentialId>,
}

pub(super) static COUNT: Statement = statement!(
    "audit.count_pulls",
    [TIMESTAMPTZ_ARRAY, INT8_ARRAY, BYTEA_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY],
    // In the order of the key, as processes count the same at the same time.
    "INSERT INTO pull_count (hour, repository_id, digest, account_id, credential_id, pulls)
     SELECT k.hour, k.repository_id, k.digest, k.account_id, k.credential_id, k.pulls
     FROM unnest($1, $2, $3, $4, $5, $6) AS k(hour, repository_id, digest, account_id, credential_id, pulls)
     ORDER BY k.hour, k.repository_id, k.digest, k.account_id, k.credential_id
     ON CONFLICT (hour, repository_id, digest, account_id, credential_id) DO UPDATE
         SET pulls = pull_count.pulls + excluded.pulls",
);

pub(super) static USED: Statement = statement!(
    "audit.credentials_used",
    [INT8_ARRAY, TIMESTAMPTZ_ARRAY],
    "UPDATE credential SET last_used_at = held.hour
     FROM (
         SELECT used.id, k.hour
         FROM unnest($1, $2) AS k(id, hour)
         JOIN credential AS used ON used.id = k.id
         WHERE used.last_used_at IS NULL OR used.last_used_at < k.hour
         ORDER BY used.id
         FOR NO KEY UPDATE OF used
     ) AS held
     WHERE credential.id = held.id",
);

/// Adds to the counts, and tells credentials when they were last used. Each pull and each credential once.
pub async fn count(
    tx: &Tx,
    pulls: &[(Pull, u64)],
    used: &[(CredentialId, SystemTime)],
) -> Result<(), Error> {
    if !pulls.is_empty() {
        let hours: Vec<SystemTime> = pulls.iter().map(|(pull, _)| pull.hour).collect();
        let repositories: Vec<RepositoryId> =
            pulls.iter().map(|(pull, _)| pull.repository).collect();
        let digests: Vec<&[u8]> = pulls
            .iter()
            .map(|(pull, _)| pull.digest.as_bytes())
            .collect();
        let accounts: Vec<i64> = pulls
            .iter()
            .map(|(pull, _)| pull.account.map_or(0, AccountId::get))
            .collect();
        let credentials: Vec<i64> = pulls
            .iter()
            .map(|(pull, _)| pull.credential.map_or(0, CredentialId::get))
            .collect();
        let counts: Vec<i64> = pulls.iter().map(|(_, count)| signed(*count)).collect();
        tx.execute(
            &COUNT,
            &[
                &hours,
                &repositories,
                &digests,
                &accounts,
                &credentials,
                &counts,
            ],
        )
        .await?;
    }
    if !used.is_empty() {
        let (ids, hours): (Vec<CredentialId>, Vec<SystemTime>) = used.iter().copied().unzip();
        tx.execute(&USED, &[&ids, &hours]).await?;
    }
    Ok(())
}

/// A transaction, as the server calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionId(String);

pub(super) static TRANSACTION: Statement =
    statement!("audit.transaction", [], "SELECT pg_current_xact_id()::text");

/// Which transaction this is: to ask for its fate where nobody learned of its end.
pub async fn transaction(tx: &Tx) -> Result<TransactionId, Error> {
    let row = tx.query_one(&TRANSACTION, &[]).await?;
    let id = row.try_get(0).map_err(Error::decoding("pull_count"))?;
    Ok(TransactionId(id))
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It took effect.
    Committed,
    /// It did not.
    Aborted,
    /// Nobody knows yet.
    Open,
    /// Nobody knows any more.
    Forgotten,
}

pub(super) static FATE: Statement = statement!(
    "audit.fate",
    [TEXT],
    // One that lies ahead was the old primary's, and this one never saw it.
    "SELECT CASE
         WHEN $1::xid8 >= pg_current_xact_id() THEN 'aborted'
         ELSE pg_xact_status($1::xid8)
     END",
);

/// The fate of a transaction, as the primary knows it.
pub async fn fate(tx: &Tx, transaction: &TransactionId) -> Result<Fate, Error> {
    let row = tx.query_one(&FATE, &[&transaction.0]).await?;
    let word: Option<&str> = row.try_get(0).map_err(Error::decoding("pull_count"))?;
    Ok(match word {
        Some("committed") => Fate::Committed,
        Some("aborted") => Fate::Aborted,
        Some(_) => Fate::Open,
        None => Fate::Forgotten,
    })
}

/// A count, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRow {
    /// What was counted.
    pub pull: Pull,
    /// Its hour, as RFC 3339 has it, in UTC.
    pub hour: String,
    /// The account's name, while there is one.
    pub account: Option<String>,
    /// How often.
    pub pulls: u64,
}

/// Where a page of counts went so far.
pub type PullsAfter = Pull;

pub(super) static LIST: Statement = statement!(
    "audit.pulls",
    [INT8, TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, BYTEA, INT8, INT8, INT8],
    "SELECT pull_count.hour, to_char(pull_count.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
         pull_count.digest, pull_count.account_id, pull_count.credential_id, pull_count.pulls,
         (SELECT account.name FROM account WHERE account.id = pull_count.account_id)
     FROM pull_count
     WHERE pull_count.repository_id = $1 AND pull_count.hour >= $2 AND pull_count.hour < $3
         AND pull_count.hour >= $4
         AND (pull_count.hour, pull_count.digest, pull_count.account_id, pull_count.credential_id)
             > ($4, $5, $6, $7)
     ORDER BY pull_count.hour, pull_count.digest, pull_count.account_id, pull_count.credential_id
     LIMIT $8",
);

/// At most `rows` counts of a repository from `since` to `until`, in the order of time, after `after`.
pub async fn pulls(
    db: &impl Read,
    repository: RepositoryId,
    (since, until): (SystemTime, SystemTime),
    after: Option<&PullsAfter>,
    rows: usize,
) -> Result<Vec<PullRow>, Error> {
    let hour = after.map_or(since, |pull| pull.hour);
    let digest = after.map_or(&[][..], |pull| pull.digest.as_bytes());
    let account = after
        .and_then(|pull| pull.account)
        .map_or(0, AccountId::get);
    let credential = after
        .and_then(|pull| pull.credential)
        .map_or(0, CredentialId::get);
    let found = db
        .query(
            &LIST,
            &[
                &repository,
                &since,
                &until,
                &hour,
                &digest,
                &account,
                &credential,
                &limit(rows),
            ],
        )
        .await?;
    let named = |id: i64| (id != 0).then_some(id);
    let decode = |row: &Row| {
        Ok(PullRow {
            pull: Pull {
                hour: row.try_get(0)?,
                repository,
                digest: columns::digest(row, 2)?,
                account: named(row.try_get(3)?).map(AccountId::from),
                credential: named(row.try_get(4)?).map(CredentialId::from),
            },
            hour: row.try_get(1)?,
            pulls: columns::count(row, 5)?,
            account: row.try_get(6)?,
        })
    };
    found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("pull_count"))
}
