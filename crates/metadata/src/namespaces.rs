//! Namespaces: the first segment of repositories' paths, and whether anything in it may change.

use crate::accounts::AccountName;
use crate::columns::parsed;
use crate::refused::{Noun, Refused};
use crate::statements::statement;
use crate::words::words;
use crate::{AccountId, Error, NamespaceId};
use portolan_pg::{Read, Statement, Tx};
use tokio_postgres::Row;

words! {
    /// Whether a namespace's repositories take pushes and deletes.
    pub enum NamespaceMode {
        /// As each of them says.
        Normal = "normal",
        /// None of them does.
        ReadOnly = "read_only",
    }
}

/// A namespace.
#[derive(Debug, Clone)]
pub struct NamespaceRow {
    /// Its id.
    pub id: NamespaceId,
    /// Whose it is.
    pub owner: AccountId,
    /// Whether anything in it may change.
    pub mode: NamespaceMode,
}

fn decode(row: Option<Row>, name: &AccountName) -> Result<NamespaceRow, Error> {
    let row = row.ok_or_else(|| Refused::missing(Noun::Namespace, name))?;
    let read = || {
        Ok(NamespaceRow {
            id: row.try_get(0)?,
            owner: row.try_get(1)?,
            mode: parsed(&row, 2)?,
        })
    };
    read().map_err(Error::decoding("namespace"))
}

static FIND: Statement = statement!(
    "namespaces.find",
    [TEXT],
    "SELECT namespace.id, namespace.owner_account_id, namespace.mode FROM namespace WHERE namespace.name = $1",
);

/// The namespace of that name.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn find(db: &impl Read, name: &AccountName) -> Result<NamespaceRow, Error> {
    decode(db.query_opt(&FIND, &[&name.as_str()]).await?, name)
}

static LOCK: Statement = statement!(
    "namespaces.lock",
    [TEXT],
    // Not against first pushes, which only refer to it.
    "SELECT namespace.id, namespace.owner_account_id, namespace.mode FROM namespace
     WHERE namespace.name = $1
     FOR NO KEY UPDATE",
);

/// The namespace of that name, which nobody else changes before the transaction ends.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn lock(tx: &Tx, name: &AccountName) -> Result<NamespaceRow, Error> {
    decode(tx.query_opt(&LOCK, &[&name.as_str()]).await?, name)
}

static SET_MODE: Statement = statement!(
    "namespaces.set_mode",
    [INT8, TEXT],
    "UPDATE namespace SET mode = $2 WHERE namespace.id = $1",
);

/// Sets whether anything in a namespace that is locked may change. Writes that have been let in already are done.
pub async fn set_mode(tx: &Tx, namespace: NamespaceId, mode: NamespaceMode) -> Result<(), Error> {
    tx.execute_one(&SET_MODE, &[&namespace, &mode.as_str()])
        .await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[&FIND, &LOCK, &SET_MODE];
