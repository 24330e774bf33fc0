//! What changes of repositories beside their content: mode, description, and their end.

use super::{RepositoryMode, RepositoryRow};
use crate::accounts::AccountName;
use crate::columns::{limit, parsed};
use crate::permissions;
use crate::statements::statement;
use crate::{AccountId, Error, NamespaceId, RepositoryId};
use portolan_oci::RepositoryName;
use portolan_pg::{Read as _, Statement, Tx};
use tokio_postgres::Row;

static SET_MODE: Statement = statement!(
    "repositories.set_mode",
    [INT8, TEXT, INT8],
    "UPDATE repository SET mode = $2, mirror_account_id = $3 WHERE repository.id = $1",
);

/// Sets whether a repository that is locked takes changes, and from whom a mirror does. Writes that have been let in
/// already are done.
///
/// # Errors
/// As [`permissions::set`], of the account that mirrors.
pub async fn set_mode(
    tx: &Tx,
    repository: &RepositoryRow,
    mode: RepositoryMode,
    mirror: Option<&AccountName>,
) -> Result<(), Error> {
    let account: Option<AccountId> = match mirror {
        Some(name) => Some(permissions::hold_account(tx, repository.owner, name).await?),
        None => None,
    };
    tx.execute_one(&SET_MODE, &[&repository.id, &mode.as_str(), &account])
        .await?;
    Ok(())
}

static DESCRIBE: Statement = statement!(
    "repositories.describe",
    [INT8, TEXT],
    "UPDATE repository SET description = $2 WHERE repository.id = $1",
);

/// Sets what is said about a repository that is locked.
pub async fn describe(tx: &Tx, repository: RepositoryId, description: &str) -> Result<(), Error> {
    tx.execute_one(&DESCRIBE, &[&repository, &description])
        .await?;
    Ok(())
}

static MARK_DELETED: Statement = statement!(
    "repositories.mark_deleted",
    [TEXT],
    "UPDATE repository
     SET state = 'removing', removed_at = now(), removed_path = path, path = '~' || id
     WHERE repository.path = $1 AND repository.state = 'active'
     RETURNING id",
);

// A statement of its own, to see the rights that were given by those who had the repository locked.
static FORGET_PERMISSIONS: Statement = statement!(
    "repositories.forget_permissions",
    [INT8_ARRAY],
    "DELETE FROM permission WHERE permission.repository_id = ANY ($1)",
);

/// Takes a repository out of use; its name is free at once, its rows go later, in bounded steps.
///
/// One UPDATE renames and marks. The path is a key, so it waits for every write transaction that has
/// locked the repository, and those that come after do not find it.
pub async fn mark_deleted(tx: &Tx, path: &RepositoryName) -> Result<Option<RepositoryId>, Error> {
    let Some(row) = tx.query_opt(&MARK_DELETED, &[&path.as_str()]).await? else {
        return Ok(None);
    };
    let id: RepositoryId = row.try_get(0).map_err(Error::decoding("repository"))?;
    tx.execute(&FORGET_PERMISSIONS, &[&vec![id]]).await?;
    Ok(Some(id))
}

static MARK_DELETED_IN: Statement = statement!(
    "repositories.mark_deleted_in",
    [INT8, INT8],
    "WITH next AS (
         SELECT repository.id FROM repository
         WHERE repository.namespace_id = $1 AND repository.path < '~' AND repository.state = 'active'
         ORDER BY repository.path
         LIMIT $2
         FOR UPDATE
     )
     UPDATE repository
     SET state = 'removing', removed_at = now(), removed_path = path, path = '~' || repository.id
     FROM next
     WHERE repository.id = next.id
     RETURNING repository.id, repository.removed_path",
);

/// As [`mark_deleted`], of the first repositories of a namespace; which they were.
pub async fn mark_deleted_in(
    tx: &Tx,
    namespace: NamespaceId,
    rows: usize,
) -> Result<Vec<(RepositoryId, RepositoryName)>, Error> {
    let found = tx
        .query(&MARK_DELETED_IN, &[&namespace, &limit(rows)])
        .await?;
    let decode = |row: &Row| Ok((row.try_get(0)?, parsed(row, 1)?));
    let marked: Vec<(RepositoryId, RepositoryName)> = found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("repository"))?;
    let ids: Vec<RepositoryId> = marked.iter().map(|(id, _)| *id).collect();
    tx.execute(&FORGET_PERMISSIONS, &[&ids]).await?;
    Ok(marked)
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &SET_MODE,
    &DESCRIBE,
    &MARK_DELETED,
    &FORGET_PERMISSIONS,
    &MARK_DELETED_IN,
];
