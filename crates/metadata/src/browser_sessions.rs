//! Sessions of people at browsers: a secret of 256 random bits, of which the hash is kept.

use crate::accounts::AccountName;
use crate::columns::{parsed, seconds};
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read, Statement, Tx};
use std::time::{Duration, SystemTime};
use tokio_postgres::Row;

/// What finds a session.
pub type SessionHash = [u8; 32];

/// Most sessions that one account has; the oldest ends where another begins.
const SESSIONS_MAX: i64 = 32;

/// Ended sessions that one login sweeps away: more than it adds, so that they do not gather.
const SWEEP: i64 = 16;

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The account.
    pub account: AccountId,
    /// The account's generation.
    pub generation: i64,
    /// Its name.
    pub name: AccountName,
    /// When it ends.
    pub expires_at: SystemTime,
}

static INSERT: Statement = statement!(
    "browser_sessions.insert",
    [INT8, INT8, FLOAT8, BYTEA],
    "INSERT INTO session (account_id, generation, expires_at, secret_hash)
     VALUES ($1, $2, now() + make_interval(secs => $3), $4)",
);

static END_OLDEST: Statement = statement!(
    "browser_sessions.end_oldest",
    [INT8, INT8],
    "DELETE FROM session
     WHERE session.secret_hash IN (
         SELECT mine.secret_hash FROM session AS mine
         WHERE mine.account_id = $1
         ORDER BY mine.created_at DESC
         OFFSET $2
     )",
);

// An ARRAY is found once; an IN could be found again for each row, beyond the limit.
static SWEEP_ENDED: Statement = statement!(
    "browser_sessions.sweep_ended",
    [INT8],
    "DELETE FROM session
     WHERE session.secret_hash = ANY (ARRAY(
         SELECT ended.secret_hash FROM session AS ended
         WHERE ended.expires_at < now()
         ORDER BY ended.expires_at
         LIMIT $1
         FOR UPDATE SKIP LOCKED
     ))",
);

/// Begins a session, and sweeps away what has ended.
pub async fn insert(
    tx: &Tx,
    account: AccountId,
    generation: i64,
    lifetime: Duration,
    hash: &SessionHash,
) -> Result<(), Error> {
    tx.execute(&SWEEP_ENDED, &[&SWEEP]).await?;
    tx.execute_one(
        &INSERT,
        &[&account, &generation, &seconds(lifetime), &hash.as_slice()],
    )
    .await?;
    tx.execute(&END_OLDEST, &[&account, &SESSIONS_MAX]).await?;
    Ok(())
}

static FIND: Statement = statement!(
    "browser_sessions.find",
    [BYTEA],
    "SELECT account.id, account.generation, account.name, session.expires_at
     FROM session
     JOIN account ON account.id = session.account_id
     WHERE session.secret_hash = $1 AND session.expires_at > now()
         AND account.generation = session.generation AND account.state = 'active'",
);

/// Whose session it is; `None` where it has ended, by time or with the account's tokens.
pub async fn find(db: &impl Read, hash: &SessionHash) -> Result<Option<SessionRow>, Error> {
    let row = db.query_opt(&FIND, &[&hash.as_slice()]).await?;
    let decode = |row: Row| {
        Ok(SessionRow {
            account: row.try_get(0)?,
            generation: row.try_get(1)?,
            name: parsed(&row, 2)?,
            expires_at: row.try_get(3)?,
        })
    };
    row.map(decode)
        .transpose()
        .map_err(Error::decoding("session"))
}

static DELETE: Statement = statement!(
    "browser_sessions.delete",
    [BYTEA],
    "DELETE FROM session WHERE session.secret_hash = $1",
);

/// Ends a session; false: there is none.
pub async fn delete(tx: &Tx, hash: &SessionHash) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &[&hash.as_slice()]).await? == 1)
}

pub(crate) static STATEMENTS: &[&Statement] = &[&INSERT, &END_OLDEST, &SWEEP_ENDED, &FIND, &DELETE];
