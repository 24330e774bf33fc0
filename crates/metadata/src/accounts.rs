//! Accounts: who can prove to be somebody, and which namespace is theirs.

mod name;

pub use name::{AccountName, AccountNameError};

use crate::columns::parsed;
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read, Statement, Tx};
use std::fmt;
use std::time::SystemTime;
use tokio_postgres::Row;

/// A password's hash as stored, in PHC string form. Never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoredPassword(String);

impl StoredPassword {
    /// Wraps a hash; what it must look like is the hasher's affair.
    pub fn new(hash: impl Into<String>) -> Self {
        Self(hash.into())
    }

    /// The hash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(..)")
    }
}

/// A user to make.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Their login, and the name of their namespace.
    pub name: AccountName,
    /// Their password's hash.
    pub password_hash: StoredPassword,
    /// Whether they may everything.
    pub superuser: bool,
}

static INSERT_USER: Statement = statement!(
    "accounts.insert_user",
    [TEXT, TEXT, BOOL],
    "INSERT INTO account (kind, name, password_hash, superuser) VALUES ('user', $1, $2, $3)
     ON CONFLICT (name) DO NOTHING
     RETURNING id",
);

static INSERT_NAMESPACE: Statement = statement!(
    "accounts.insert_namespace",
    [TEXT, INT8],
    "INSERT INTO namespace (name, owner_account_id) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
);

/// Makes a user, and the namespace of the same name.
///
/// # Errors
/// [`Error::NameTaken`] where either is somebody's already, or the name is a robot's.
pub async fn create_user(tx: &Tx, new: &NewUser) -> Result<AccountId, Error> {
    if new.name.is_robot() {
        return Err(Error::NameTaken);
    }
    let name = new.name.as_str();
    let made = tx
        .query_opt(
            &INSERT_USER,
            &[&name, &new.password_hash.as_str(), &new.superuser],
        )
        .await?;
    let Some(row) = made else {
        return Err(Error::NameTaken);
    };
    let id: AccountId = row.try_get(0).map_err(Error::decoding("account"))?;
    if tx.execute(&INSERT_NAMESPACE, &[&name, &id]).await? == 0 {
        return Err(Error::NameTaken);
    }
    Ok(id)
}

/// Makes the administrator's account if nobody has that name; false: somebody has, and nothing of it was changed,
/// its password least of all.
pub async fn ensure_admin(
    tx: &Tx,
    name: &AccountName,
    password_hash: &StoredPassword,
) -> Result<bool, Error> {
    if find(tx, name).await?.is_some() {
        return Ok(false);
    }
    let new = NewUser {
        name: name.clone(),
        password_hash: password_hash.clone(),
        superuser: true,
    };
    match create_user(tx, &new).await {
        Ok(_) => Ok(true),
        // Another process of the same start was first.
        Err(Error::NameTaken) if find(tx, name).await?.is_some() => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// An account as an administrator sees it.
#[derive(Debug, Clone)]
pub struct AccountRow {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// Whether it may everything.
    pub superuser: bool,
    /// Whether it may log in.
    pub active: bool,
    /// When it was made.
    pub created_at: SystemTime,
}

static FIND: Statement = statement!(
    "accounts.find",
    [TEXT],
    "SELECT account.id, account.name, account.superuser, account.state = 'active', account.created_at
     FROM account
     WHERE account.name = $1",
);

/// The account of that name.
pub async fn find(db: &impl Read, name: &AccountName) -> Result<Option<AccountRow>, Error> {
    let row = db.query_opt(&FIND, &[&name.as_str()]).await?;
    let decode = |row: Row| {
        Ok(AccountRow {
            id: row.try_get(0)?,
            name: parsed(&row, 1)?,
            superuser: row.try_get(2)?,
            active: row.try_get(3)?,
            created_at: row.try_get(4)?,
        })
    };
    row.map(decode)
        .transpose()
        .map_err(Error::decoding("account"))
}

static SET_PASSWORD: Statement = statement!(
    "accounts.set_password",
    [TEXT, TEXT],
    "UPDATE account SET password_hash = $2, generation = generation + 1
     WHERE account.name = $1 AND account.kind = 'user'",
);

/// Sets a user's password and ends all their tokens; false: there is no such user.
pub async fn set_password(
    tx: &Tx,
    name: &AccountName,
    password_hash: &StoredPassword,
) -> Result<bool, Error> {
    Ok(tx
        .execute(&SET_PASSWORD, &[&name.as_str(), &password_hash.as_str()])
        .await?
        == 1)
}

static SET_ACTIVE: Statement = statement!(
    "accounts.set_active",
    [TEXT, BOOL],
    "UPDATE account
     SET state = CASE WHEN $2 THEN 'active' ELSE 'disabled' END, generation = generation + 1
     WHERE account.name = $1 AND account.state <> 'removing'",
);

/// Lets an account log in, or shuts it out; either ends all its tokens. False: there is no such account.
pub async fn set_active(tx: &Tx, name: &AccountName, active: bool) -> Result<bool, Error> {
    Ok(tx.execute(&SET_ACTIVE, &[&name.as_str(), &active]).await? == 1)
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &INSERT_USER,
    &INSERT_NAMESPACE,
    &FIND,
    &SET_PASSWORD,
    &SET_ACTIVE,
];
