//! Wrong passwords: how many there were for an account from one network, and until when it is shut out there.
//!
//! The row is found in the same point read as the password's hash, so a login costs one look-up. Another network is another
//! row: nobody can shut out the owner.

use crate::accounts::{AccountName, StoredPassword};
use crate::columns::{limit, seconds};
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{PointRead, Statement, Tx, point_statement};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// A user's password by name, and how he stands in one network. A disabled account has none; one whose password is kept
/// elsewhere has no hash.
#[derive(Debug, Clone, Copy)]
pub struct PasswordByName;

/// Key of [`PasswordByName`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PasswordKey {
    /// Who.
    pub name: AccountName,
    /// The network's first address.
    pub network: IpAddr,
}

/// What a login is checked against.
#[derive(Debug, Clone)]
pub struct PasswordRow {
    /// Whose it is.
    pub account: AccountId,
    /// The account's generation, for the token.
    pub generation: i64,
    /// The password's hash, where it has a password here.
    pub password_hash: Option<StoredPassword>,
    /// How much longer no password is taken from this network.
    pub locked_for: Option<Duration>,
    /// Whether there were wrong passwords from this network since the last right one.
    pub failed_before: bool,
}

impl PointRead for PasswordByName {
    type Key = PasswordKey;
    type Row = PasswordRow;

    const STATEMENT: Statement = point_statement!(
        "lockouts.password_by_name",
        [TEXT_ARRAY, INET_ARRAY],
        "SELECT k.ord, a.id, a.generation, a.password_hash, l.locked_for, l.failures IS NOT NULL
         FROM unnest($1, $2) WITH ORDINALITY AS k(name, network, ord)
         CROSS JOIN LATERAL (
             SELECT account.id, account.generation, account.password_hash
             FROM account
             WHERE account.name = k.name AND account.state = 'active' AND account.kind = 'user'
             LIMIT 1
         ) a
         LEFT JOIN LATERAL (
             SELECT lockout.failures, extract(epoch FROM lockout.locked_until - now())::float8 AS locked_for
             FROM lockout
             WHERE lockout.account_id = a.id AND lockout.address = k.network
             LIMIT 1
         ) l ON true",
    );

    /// Nobody has proven to be anybody yet: each name is a party, and one that is tried from everywhere harms its own.
    fn party(key: &PasswordKey) -> u64 {
        let mut hasher = DefaultHasher::new();
        key.name.hash(&mut hasher);
        hasher.finish()
    }

    fn key_bytes(key: &PasswordKey) -> usize {
        size_of::<PasswordKey>() + key.name.as_str().len()
    }

    fn columns(keys: &[&PasswordKey]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let names: Vec<String> = keys
            .iter()
            .map(|key| key.name.as_str().to_owned())
            .collect();
        let networks: Vec<IpAddr> = keys.iter().map(|key| key.network).collect();
        vec![Box::new(names), Box::new(networks)]
    }

    fn decode(row: &Row) -> Result<PasswordRow, tokio_postgres::Error> {
        let locked_for: Option<f64> = row.try_get(4)?;
        Ok(PasswordRow {
            account: row.try_get(1)?,
            generation: row.try_get(2)?,
            password_hash: row
                .try_get::<_, Option<String>>(3)?
                .map(StoredPassword::new),
            // What lies in the past is no duration.
            locked_for: locked_for
                .and_then(|rest| Duration::try_from_secs_f64(rest).ok())
                .filter(|rest| !rest.is_zero()),
            failed_before: row.try_get(5)?,
        })
    }
}

/// When wrong passwords shut a network out of an account, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutRules {
    /// So many wrong passwords in a row.
    pub after: u32,
    /// The first time.
    pub first: Duration,
    /// The longest; each further wrong password doubles the time up to this.
    pub longest: Duration,
    /// After so long without a wrong password they are forgotten.
    pub forget: Duration,
}

static FAILED: Statement = statement!(
    "lockouts.failed",
    [INT8, INET, BYTEA, INT4, FLOAT8, FLOAT8, FLOAT8],
    "INSERT INTO lockout (account_id, address, last_attempt, locked_until)
     VALUES ($1, $2, $3, CASE WHEN $4 <= 1 THEN now() + make_interval(secs => $5) END)
     ON CONFLICT (account_id, address) DO UPDATE SET (failures, locked_until, failed_at, last_attempt) = (
         SELECT counted.failures,
             CASE
                 WHEN counted.failures < $4 THEN NULL
                 ELSE now() + make_interval(secs => least($6, $5 * power(2, least(counted.failures - $4, 30))))
             END,
             now(),
             excluded.last_attempt
         FROM (
             SELECT CASE
                 WHEN lockout.failed_at < now() - make_interval(secs => $7) THEN 1
                 -- Far beyond where the time stops growing.
                 ELSE least(lockout.failures + 1, 1000000)
             END
         ) AS counted(failures)
     )
     -- The same wrong password again, as clients try it that ask in two ways.
     WHERE lockout.last_attempt <> excluded.last_attempt",
);

/// Counts a wrong password, unless it is the one that was wrong before. `attempt` is a keyed digest of it.
pub async fn failed(
    tx: &Tx,
    account: AccountId,
    network: IpAddr,
    attempt: &[u8],
    rules: &LockoutRules,
) -> Result<(), Error> {
    tx.execute(
        &FAILED,
        &[
            &account,
            &network,
            &attempt,
            &i32::try_from(rules.after).unwrap_or(i32::MAX),
            &seconds(rules.first),
            &seconds(rules.longest),
            &seconds(rules.forget),
        ],
    )
    .await?;
    Ok(())
}

static CLEAR: Statement = statement!(
    "lockouts.clear",
    [INT8, INET],
    "DELETE FROM lockout WHERE lockout.account_id = $1 AND lockout.address = $2",
);

/// Forgets the wrong passwords: a right one came from there.
pub async fn clear(tx: &Tx, account: AccountId, network: IpAddr) -> Result<(), Error> {
    tx.execute(&CLEAR, &[&account, &network]).await?;
    Ok(())
}

// An ARRAY is found once; what is joined could be found again for each row, beyond the limit.
static SWEEP: Statement = statement!(
    "lockouts.sweep",
    [FLOAT8, INT8],
    "DELETE FROM lockout
     WHERE lockout.ctid = ANY (ARRAY(
         SELECT old.ctid FROM lockout AS old
         WHERE old.failed_at < now() - make_interval(secs => $1)
         ORDER BY old.failed_at
         LIMIT $2
         FOR UPDATE SKIP LOCKED
     ))",
);

/// Deletes rows without a wrong password for `forget`, at most `count`; returns how many.
pub async fn sweep(tx: &Tx, forget: Duration, count: usize) -> Result<u64, Error> {
    Ok(tx
        .execute(&SWEEP, &[&seconds(forget), &limit(count)])
        .await?)
}

pub(crate) static STATEMENTS: &[&Statement] =
    &[&PasswordByName::STATEMENT, &FAILED, &CLEAR, &SWEEP];
