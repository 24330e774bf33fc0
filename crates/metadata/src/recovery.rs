//! Mails that let their readers choose a new password.

use crate::accounts::{AccountName, StoredPassword};
use crate::columns::{limit, parsed, seconds};
use crate::credentials::SecretHash;
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read, Statement, Tx};
use std::time::Duration;

/// A mail to be sent.
#[derive(Debug, Clone)]
pub struct Addressee {
    /// Whose password it is about.
    pub account: AccountName,
    /// Where it goes: as the account has it, which may be written otherwise than it was asked for.
    pub address: String,
}

static BEGIN: Statement = statement!(
    "recovery.begin",
    [TEXT, BYTEA, FLOAT8, INT8],
    "WITH addressee AS (
         SELECT account.id, account.generation, account.name, account.email
         FROM account
         WHERE lower(account.email) = lower($1 COLLATE \"C\") AND account.email IS NOT NULL AND account.kind = 'user'
             AND account.state = 'active' AND account.password_hash IS NOT NULL
             AND (
                 SELECT count(*) FROM recovery
                 WHERE recovery.account_id = account.id AND recovery.expires_at > now()
             ) < $4
         -- Whoever changes the address ends what went to the old one: not before this is there.
         FOR SHARE OF account
     ), begun AS (
         INSERT INTO recovery (account_id, generation, expires_at, secret_hash)
         SELECT addressee.id, addressee.generation, now() + make_interval(secs => $3), $2 FROM addressee
     )
     SELECT addressee.name, addressee.email FROM addressee",
);

/// Lets whoever has the secret choose a password for the account of that address, for a time. `None`: no user who logs in
/// with a password has it, or he has been sent `at_most` mails that are still good.
pub async fn begin(
    tx: &Tx,
    address: &str,
    secret: &SecretHash,
    lifetime: Duration,
    at_most: usize,
) -> Result<Option<Addressee>, Error> {
    let row = tx
        .query_opt(
            &BEGIN,
            &[
                &address,
                &secret.as_bytes(),
                &seconds(lifetime),
                &limit(at_most),
            ],
        )
        .await?;
    row.map(|row| {
        Ok(Addressee {
            account: parsed(&row, 0)?,
            address: row.try_get(1)?,
        })
    })
    .transpose()
    .map_err(Error::decoding("account"))
}

static IS_OPEN: Statement = statement!(
    "recovery.is_open",
    [BYTEA],
    "SELECT 1 FROM recovery WHERE recovery.secret_hash = $1 AND recovery.expires_at > now()",
);

/// Whether there is a mail with that secret: worth hashing a password for.
pub async fn is_open(db: &impl Read, secret: &SecretHash) -> Result<bool, Error> {
    let row = db.query_opt(&IS_OPEN, &[&secret.as_bytes()]).await?;
    Ok(row.is_some())
}

// A password that was changed meanwhile ends it: it is of that generation. The account is locked before its mails, as by
// everybody, so that it is of that generation still when the new password is set.
static LOCK: Statement = statement!(
    "recovery.lock",
    [BYTEA],
    "SELECT account.id, account.name
     FROM recovery
     JOIN account ON account.id = recovery.account_id
     WHERE recovery.secret_hash = $1 AND recovery.expires_at > now()
         AND account.generation = recovery.generation AND account.state = 'active'
     FOR NO KEY UPDATE OF account",
);

// A secret is good once.
static TAKE: Statement = statement!(
    "recovery.take",
    [BYTEA],
    "DELETE FROM recovery WHERE recovery.secret_hash = $1",
);

static CHANGE: Statement = statement!(
    "recovery.change",
    [INT8, TEXT],
    "UPDATE account SET password_hash = $2, generation = generation + 1, email_verified = true
     WHERE account.id = $1",
);

static FORGET: Statement = statement!(
    "recovery.forget",
    [INT8],
    "WITH failures AS (DELETE FROM lockout WHERE lockout.account_id = $1)
     DELETE FROM recovery WHERE recovery.account_id = $1",
);

/// Gives the account whose mail had that secret another password, ends its tokens and its lock-outs, and returns its
/// name. `None`: there is no such mail, or it is good no more.
pub async fn finish(
    tx: &Tx,
    secret: &SecretHash,
    new: &StoredPassword,
) -> Result<Option<AccountName>, Error> {
    let Some(row) = tx.query_opt(&LOCK, &[&secret.as_bytes()]).await? else {
        return Ok(None);
    };
    if tx.execute(&TAKE, &[&secret.as_bytes()]).await? == 0 {
        return Ok(None);
    }
    let decode = || Ok((row.try_get::<_, AccountId>(0)?, parsed(&row, 1)?));
    let (account, name) = decode().map_err(Error::decoding("account"))?;
    tx.execute_one(&CHANGE, &[&account, &new.as_str()]).await?;
    tx.execute(&FORGET, &[&account]).await?;
    Ok(Some(name))
}

// An ARRAY is found once; what is joined could be found again for each row, beyond the limit.
static SWEEP: Statement = statement!(
    "recovery.sweep",
    [INT8],
    "DELETE FROM recovery
     WHERE recovery.secret_hash = ANY (ARRAY(
         SELECT old.secret_hash FROM recovery AS old
         WHERE old.expires_at < now()
         ORDER BY old.expires_at
         LIMIT $1
         FOR UPDATE SKIP LOCKED
     ))",
);

/// Deletes what is good no more, at most `count` rows; returns how many.
pub async fn sweep(tx: &Tx, count: usize) -> Result<u64, Error> {
    Ok(tx.execute(&SWEEP, &[&limit(count)]).await?)
}

pub(crate) static STATEMENTS: &[&Statement] =
    &[&BEGIN, &IS_OPEN, &LOCK, &TAKE, &CHANGE, &FORGET, &SWEEP];
