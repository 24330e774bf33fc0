//! Robots: accounts of programs, which belong to a user or an organization and show a secret.

use crate::accounts::{self, AccountName};
use crate::columns::{before_nul, limit, parsed};
use crate::credentials::SecretHash;
use crate::statements::statement;
use crate::{AccountId, Error, Noun, Refused};
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;
use tokio_postgres::Row;

/// A robot to make.
#[derive(Debug, Clone)]
pub struct NewRobot {
    /// Its owner's name, `+`, and its own.
    pub name: AccountName,
    /// What it is for.
    pub description: String,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// What is kept of its secret.
    pub secret: SecretHash,
}

static INSERT: Statement = statement!(
    "robots.insert",
    [INT8, TEXT, TEXT, TIMESTAMPTZ],
    "INSERT INTO account (kind, owner_id, name, description, expires_at) VALUES ('robot', $1, $2, $3, $4)
     ON CONFLICT (name) DO NOTHING
     RETURNING id",
);

/// Makes a robot.
///
/// # Errors
/// [`Refused::Missing`]: its owner does not exist. [`Error::NameTaken`] where there is one of that name, or the name is
/// no robot's.
pub async fn create(tx: &Tx, new: &NewRobot) -> Result<AccountId, Error> {
    let Some(owner) = new.name.robot_owner() else {
        return Err(Error::NameTaken);
    };
    let Some(held) = accounts::hold(tx, &owner).await? else {
        return Err(Refused::missing(Noun::Account, owner).into());
    };
    let description = before_nul(&new.description);
    let row = tx
        .query_opt(
            &INSERT,
            &[&held.id, &new.name.as_str(), &description, &new.expires_at],
        )
        .await?;
    let Some(row) = row else {
        return Err(Error::NameTaken);
    };
    let id: AccountId = row.try_get(0).map_err(Error::decoding("account"))?;
    set_secret(tx, id, &new.secret).await?;
    Ok(id)
}

static SET_SECRET: Statement = statement!(
    "robots.set_secret",
    [INT8, BYTEA],
    "INSERT INTO credential (account_id, kind, secret_hash) VALUES ($1, 'robot', $2)
     ON CONFLICT (account_id) WHERE kind = 'robot' DO UPDATE SET
         secret_hash = excluded.secret_hash, created_at = now(), last_used_at = NULL",
);

async fn set_secret(tx: &Tx, robot: AccountId, secret: &SecretHash) -> Result<(), Error> {
    tx.execute_one(&SET_SECRET, &[&robot, &secret.as_bytes()])
        .await?;
    Ok(())
}

static END_TOKENS: Statement = statement!(
    "robots.end_tokens",
    [TEXT],
    "UPDATE account SET generation = generation + 1
     WHERE account.name = $1 AND account.kind = 'robot' AND account.state <> 'removing'
     RETURNING id",
);

/// Gives a robot another secret; the old one and all its tokens end. False: there is no such robot.
pub async fn regenerate(tx: &Tx, name: &AccountName, secret: &SecretHash) -> Result<bool, Error> {
    let Some(row) = tx.query_opt(&END_TOKENS, &[&name.as_str()]).await? else {
        return Ok(false);
    };
    let id = row.try_get(0).map_err(Error::decoding("account"))?;
    set_secret(tx, id, secret).await?;
    Ok(true)
}

static SET_EXPIRY: Statement = statement!(
    "robots.set_expiry",
    [TEXT, TIMESTAMPTZ],
    "UPDATE account SET expires_at = $2
     WHERE account.name = $1 AND account.kind = 'robot' AND account.state <> 'removing'",
);

/// Sets when a robot stops working; `None`: never. False: there is no such robot.
pub async fn set_expiry(
    tx: &Tx,
    name: &AccountName,
    expires_at: Option<SystemTime>,
) -> Result<bool, Error> {
    Ok(tx
        .execute(&SET_EXPIRY, &[&name.as_str(), &expires_at])
        .await?
        == 1)
}

static DESCRIBE: Statement = statement!(
    "robots.describe",
    [TEXT, TEXT],
    "UPDATE account SET description = $2
     WHERE account.name = $1 AND account.kind = 'robot' AND account.state <> 'removing'",
);

/// Says what a robot is for. False: there is no such robot.
pub async fn describe(tx: &Tx, name: &AccountName, description: &str) -> Result<bool, Error> {
    let description = before_nul(description);
    Ok(tx
        .execute(&DESCRIBE, &[&name.as_str(), &description])
        .await?
        == 1)
}

static SET_ACTIVE: Statement = statement!(
    "robots.set_active",
    [TEXT, BOOL],
    "UPDATE account
     SET state = CASE WHEN $2 THEN 'active' ELSE 'disabled' END, generation = generation + 1
     WHERE account.name = $1 AND account.kind = 'robot' AND account.state <> 'removing'",
);

/// Lets a robot log in, or shuts it out; either ends its tokens. False: there is no such robot.
pub async fn set_active(tx: &Tx, name: &AccountName, active: bool) -> Result<bool, Error> {
    Ok(tx.execute(&SET_ACTIVE, &[&name.as_str(), &active]).await? == 1)
}

// What a robot began may still name it, as an upload whose keys must be swept first. So the row stays, under a name that
// nobody can have.
static REMOVE: Statement = statement!(
    "robots.remove",
    [TEXT],
    "UPDATE account
     SET state = 'removing', name = '~' || id, generation = generation + 1, description = ''
     WHERE account.name = $1 AND account.kind = 'robot' AND account.state <> 'removing'
     RETURNING id",
);

/// Deletes a robot, its secret and its rights; its name is free. False: there is no such robot.
pub async fn delete(tx: &Tx, name: &AccountName) -> Result<bool, Error> {
    let Some(row) = tx.query_opt(&REMOVE, &[&name.as_str()]).await? else {
        return Ok(false);
    };
    let id = row.try_get(0).map_err(Error::decoding("account"))?;
    accounts::forget(tx, &[id]).await?;
    Ok(true)
}

/// A robot as its owner sees it.
#[derive(Debug, Clone)]
pub struct RobotRow {
    /// Its name.
    pub name: AccountName,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// When its secret was last used, to the hour.
    pub last_used_at: Option<SystemTime>,
    /// Whether it may log in, apart from its expiry and its owner.
    pub active: bool,
}

fn decode(row: &Row) -> Result<RobotRow, tokio_postgres::Error> {
    Ok(RobotRow {
        name: parsed(row, 0)?,
        description: row.try_get(1)?,
        created_at: row.try_get(2)?,
        expires_at: row.try_get(3)?,
        last_used_at: row.try_get(4)?,
        active: row.try_get(5)?,
    })
}

static FIND: Statement = statement!(
    "robots.find",
    [TEXT],
    "SELECT account.name, account.description, account.created_at, account.expires_at,
         credential.last_used_at, account.state = 'active'
     FROM account
     LEFT JOIN credential ON credential.account_id = account.id AND credential.kind = 'robot'
     WHERE account.name = $1 AND account.kind = 'robot'",
);

/// The robot of that name.
pub async fn find(db: &impl Read, name: &AccountName) -> Result<Option<RobotRow>, Error> {
    let row = db.query_opt(&FIND, &[&name.as_str()]).await?;
    row.as_ref()
        .map(decode)
        .transpose()
        .map_err(Error::decoding("account"))
}

static LIST: Statement = statement!(
    "robots.list",
    [TEXT, TEXT, INT8],
    "SELECT account.name, account.description, account.created_at, account.expires_at,
         credential.last_used_at, account.state = 'active'
     FROM account
     LEFT JOIN credential ON credential.account_id = account.id AND credential.kind = 'robot'
     WHERE account.owner_id = (SELECT owner.id FROM account AS owner WHERE owner.name = $1)
         AND account.state <> 'removing' AND account.name > $2
     ORDER BY account.name
     LIMIT $3",
);

/// Robots of a user or an organization, by name, after `last`.
pub async fn list(
    db: &impl Read,
    owner: &AccountName,
    last: Option<&AccountName>,
    count: usize,
) -> Result<Vec<RobotRow>, Error> {
    let after = last.map_or("", AccountName::as_str);
    let rows = db
        .query(&LIST, &[&owner.as_str(), &after, &limit(count)])
        .await?;
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("account"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &INSERT,
    &SET_SECRET,
    &END_TOKENS,
    &SET_EXPIRY,
    &DESCRIBE,
    &SET_ACTIVE,
    &REMOVE,
    &FIND,
    &LIST,
];
