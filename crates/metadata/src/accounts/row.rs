//! Accounts as an administrator sees them: found, listed, and locked to be changed.

use super::AccountName;
use crate::columns::{limit, parsed};
use crate::refused::{Noun, Refused};
use crate::statements::statement;
use crate::words::words;
use crate::{AccountId, Error, NamespaceId};
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;
use tokio_postgres::Row;

words! {
    /// What an account is.
    pub enum AccountKind {
        /// Somebody who logs in with a password or through a provider.
        User = "user",
        /// A name that repositories and teams belong to, and nobody logs in with.
        Organization = "organization",
        /// A program, which belongs to a user or an organization.
        Robot = "robot",
    }
}

impl AccountKind {
    pub(crate) const fn noun(self) -> Noun {
        match self {
            Self::User => Noun::User,
            Self::Organization => Noun::Organization,
            Self::Robot => Noun::Robot,
        }
    }
}

words! {
    /// What a user may everywhere.
    pub enum Superuser {
        /// What others may.
        Off = "off",
        /// Read everything.
        ReadOnly = "read_only",
        /// Everything.
        On = "on",
    }
}

impl Superuser {
    const fn from_flags(superuser: bool, read_only: bool) -> Self {
        match (superuser, read_only) {
            (true, _) => Self::On,
            (false, true) => Self::ReadOnly,
            (false, false) => Self::Off,
        }
    }
}

/// An account as an administrator sees it.
#[derive(Debug, Clone)]
pub struct AccountRow {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// What it is.
    pub kind: AccountKind,
    /// Whether it may log in.
    pub active: bool,
    /// What it may everywhere.
    pub superuser: Superuser,
    /// A user's address.
    pub email: Option<String>,
    /// What its owner says about it.
    pub description: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// Whose robot it is.
    pub owner: Option<AccountId>,
    /// Its namespace, or its owner's.
    pub namespace: Option<NamespaceId>,
}

macro_rules! columns {
    () => {
        "SELECT account.id, account.name, account.kind, account.state = 'active', account.superuser,
             account.read_only_superuser, account.email, account.description, account.created_at, account.owner_id,
             (
                 SELECT min(namespace.id) FROM namespace
                 WHERE namespace.owner_account_id = coalesce(account.owner_id, account.id)
             )
         FROM account "
    };
}

fn decode(row: &Row) -> Result<AccountRow, Error> {
    let read = || {
        Ok(AccountRow {
            id: row.try_get(0)?,
            name: parsed(row, 1)?,
            kind: parsed(row, 2)?,
            active: row.try_get(3)?,
            superuser: Superuser::from_flags(row.try_get(4)?, row.try_get(5)?),
            email: row.try_get(6)?,
            description: row.try_get(7)?,
            created_at: row.try_get(8)?,
            owner: row.try_get(9)?,
            namespace: row.try_get(10)?,
        })
    };
    read().map_err(Error::decoding("account"))
}

static FIND: Statement = statement!(
    "accounts.find",
    [TEXT],
    concat!(columns!(), "WHERE account.name = $1"),
);

/// The account of that name.
pub async fn find(db: &impl Read, name: &AccountName) -> Result<Option<AccountRow>, Error> {
    let row = db.query_opt(&FIND, &[&name.as_str()]).await?;
    row.as_ref().map(decode).transpose()
}

static HOLD: Statement = statement!(
    "accounts.hold",
    [TEXT],
    concat!(
        columns!(),
        "WHERE account.name = $1 FOR KEY SHARE OF account"
    ),
);

/// The account of that name, which is not removed before the transaction ends: for whoever refers to it.
pub async fn hold(tx: &Tx, name: &AccountName) -> Result<Option<AccountRow>, Error> {
    let row = tx.query_opt(&HOLD, &[&name.as_str()]).await?;
    row.as_ref().map(decode).transpose()
}

static LOCK: Statement = statement!(
    "accounts.lock",
    [TEXT],
    // Not against those who refer to it: a push must not wait for a change of an address.
    concat!(
        columns!(),
        "WHERE account.name = $1 FOR NO KEY UPDATE OF account"
    ),
);

/// The account of that name and kind, which nobody else changes before the transaction ends.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn lock(tx: &Tx, name: &AccountName, kind: AccountKind) -> Result<AccountRow, Error> {
    let row = tx.query_opt(&LOCK, &[&name.as_str()]).await?;
    let found = row.as_ref().map(decode).transpose()?;
    of_kind(found, name, kind)
}

/// What was found, if it is of that kind.
///
/// # Errors
/// [`Refused::Missing`]
pub fn of_kind(
    found: Option<AccountRow>,
    name: &AccountName,
    kind: AccountKind,
) -> Result<AccountRow, Error> {
    found
        .filter(|account| account.kind == kind)
        .ok_or_else(|| Refused::missing(kind.noun(), name).into())
}

static LIST: Statement = statement!(
    "accounts.list",
    [TEXT, TEXT, INT8],
    concat!(
        columns!(),
        // What is being removed is called `~` and its id.
        "WHERE account.name > $1 AND account.name < '~' AND account.kind = $2
         ORDER BY account.name
         LIMIT $3"
    ),
);

/// The accounts of a kind after `last`, by name.
pub async fn list(
    db: &impl Read,
    kind: AccountKind,
    last: Option<&AccountName>,
    rows: usize,
) -> Result<Vec<AccountRow>, Error> {
    let last = last.map_or("", AccountName::as_str);
    let found = db
        .query(&LIST, &[&last, &kind.as_str(), &limit(rows)])
        .await?;
    found.iter().map(decode).collect()
}

static DESCRIBE: Statement = statement!(
    "accounts.describe",
    [INT8, TEXT],
    "UPDATE account SET description = $2 WHERE account.id = $1",
);

/// Sets what is said about an account that is locked.
pub async fn describe(tx: &Tx, account: AccountId, description: &str) -> Result<(), Error> {
    tx.execute_one(&DESCRIBE, &[&account, &description]).await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[&FIND, &HOLD, &LOCK, &LIST, &DESCRIBE];
