//! Accounts: who can prove to be somebody, and which namespace is theirs.

mod email;
mod name;
mod organizations;
mod removal;
mod row;
mod users;

pub use email::{EmailAddress, EmailAddressError};
pub use name::{AccountName, AccountNameError};
pub use organizations::create_organization;
pub use removal::{Removal, remove};
pub use row::{AccountKind, AccountRow, Superuser, describe, find, hold, list, lock, of_kind};
pub use users::{keep_a_superuser, set_active, set_email, set_superuser};

pub(crate) use organizations::STATEMENTS as ORGANIZATION_STATEMENTS;
pub(crate) use removal::{STATEMENTS as REMOVAL_STATEMENTS, forget};
pub(crate) use row::STATEMENTS as ROW_STATEMENTS;
pub(crate) use users::STATEMENTS as USER_STATEMENTS;

use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read as _, Statement, Tx};
use std::fmt;

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

pub(crate) static STATEMENTS: &[&Statement] = &[&INSERT_USER, &INSERT_NAMESPACE, &SET_PASSWORD];
