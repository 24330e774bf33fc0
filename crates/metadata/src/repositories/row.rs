//! Repositories as an administrator sees them: found, listed, and locked to be changed.

use super::Visibility;
use crate::accounts::AccountName;
use crate::columns::{before_nul, limit, parsed, parsed_opt};
use crate::refused::{Noun, Refused};
use crate::statements::statement;
use crate::words::words;
use crate::{AccountId, Error, NamespaceId, RepositoryId};
use portolan_oci::RepositoryName;
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;
use tokio_postgres::Row;

words! {
    /// Whether a repository takes pushes and deletes.
    pub enum RepositoryMode {
        /// From those who have the right.
        Normal = "normal",
        /// From nobody.
        ReadOnly = "read_only",
        /// From the account that mirrors.
        Mirror = "mirror",
    }
}

/// A repository as an administrator sees it.
#[derive(Debug, Clone)]
pub struct RepositoryRow {
    /// Its id.
    pub id: RepositoryId,
    /// Its canonical name.
    pub name: RepositoryName,
    /// Who may read it.
    pub visibility: Visibility,
    /// Whether it takes changes.
    pub mode: RepositoryMode,
    /// Who writes to a mirror; nobody, where it is one and this is `None`.
    pub mirror: Option<AccountName>,
    /// What is said about it.
    pub description: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Who owns the namespace.
    pub owner: AccountId,
}

macro_rules! columns {
    () => {
        "SELECT repository.id, repository.path, repository.visibility = 'public', repository.mode,
             (SELECT account.name FROM account WHERE account.id = repository.mirror_account_id),
             repository.description, repository.created_at, repository.namespace_id,
             (SELECT namespace.owner_account_id FROM namespace WHERE namespace.id = repository.namespace_id)
         FROM repository "
    };
}

fn decode(row: &Row) -> Result<RepositoryRow, Error> {
    let read = || {
        Ok(RepositoryRow {
            id: row.try_get(0)?,
            name: parsed(row, 1)?,
            visibility: if row.try_get(2)? {
                Visibility::Public
            } else {
                Visibility::Private
            },
            mode: parsed(row, 3)?,
            mirror: parsed_opt(row, 4)?,
            description: row.try_get(5)?,
            created_at: row.try_get(6)?,
            namespace: row.try_get(7)?,
            owner: row.try_get(8)?,
        })
    };
    read().map_err(Error::decoding("repository"))
}

fn found(row: Option<&Row>, path: &RepositoryName) -> Result<RepositoryRow, Error> {
    row.map(decode)
        .transpose()?
        .ok_or_else(|| Refused::missing(Noun::Repository, path.as_str()).into())
}

static FIND: Statement = statement!(
    "repositories.find",
    [TEXT],
    concat!(
        columns!(),
        "WHERE repository.path = $1 AND repository.state = 'active'"
    ),
);

/// The repository of that name, whoever may read it.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn find(db: &impl Read, path: &RepositoryName) -> Result<RepositoryRow, Error> {
    let row = db.query_opt(&FIND, &[&path.as_str()]).await?;
    found(row.as_ref(), path)
}

static LOCK_FOR_CHANGE: Statement = statement!(
    "repositories.lock_for_change",
    [TEXT],
    concat!(
        columns!(),
        // Not against writers, who only hold it.
        "WHERE repository.path = $1 AND repository.state = 'active' FOR NO KEY UPDATE OF repository"
    ),
);

/// The repository of that name, of which nobody else changes anything but its content before the transaction ends.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn lock_for_change(tx: &Tx, path: &RepositoryName) -> Result<RepositoryRow, Error> {
    let row = tx.query_opt(&LOCK_FOR_CHANGE, &[&path.as_str()]).await?;
    found(row.as_ref(), path)
}

static LIST: Statement = statement!(
    "repositories.list",
    [TEXT, TEXT, INT8],
    concat!(
        columns!(),
        "WHERE repository.path > $1 AND repository.path < $2 AND repository.state = 'active'
         ORDER BY repository.path
         LIMIT $3"
    ),
);

/// Every repository after `last`, in the order of paths, whoever may read it.
pub async fn list(
    db: &impl Read,
    last: Option<&str>,
    rows: usize,
) -> Result<Vec<RepositoryRow>, Error> {
    // After every path there can be.
    range(db, last.unwrap_or_default(), "~", rows).await
}

/// The same of the repositories of one namespace.
pub async fn list_in(
    db: &impl Read,
    namespace: &AccountName,
    last: Option<&str>,
    rows: usize,
) -> Result<Vec<RepositoryRow>, Error> {
    let first = format!("{namespace}/");
    // `0` follows `/`.
    let end = format!("{namespace}0");
    range(db, last.unwrap_or(&first), &end, rows).await
}

async fn range(
    db: &impl Read,
    after: &str,
    before: &str,
    rows: usize,
) -> Result<Vec<RepositoryRow>, Error> {
    let found = db
        .query(&LIST, &[&before_nul(after), &before, &limit(rows)])
        .await?;
    found.iter().map(decode).collect()
}

pub(crate) static STATEMENTS: &[&Statement] = &[&FIND, &LOCK_FOR_CHANGE, &LIST];
