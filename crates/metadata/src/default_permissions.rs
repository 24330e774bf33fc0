//! What new repositories of a namespace are given beside their owner's rights. Those that are there do not change.

use crate::Error;
use crate::accounts::AccountName;
use crate::columns::{limit, parsed_opt};
use crate::namespaces::NamespaceRow;
use crate::permissions::{Granted, Holder, hold, hold_account, holder};
use crate::statements::statement;
use portolan_pg::{Read, Statement, Tx};
use tokio_postgres::Row;

/// A right that new repositories of a namespace give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultPermission {
    /// Only to those that this account makes; `None`: whoever makes them.
    pub creator: Option<AccountName>,
    /// Whose right.
    pub holder: Holder,
    /// What it lets do.
    pub role: Granted,
}

static SET: Statement = statement!(
    "default_permissions.set",
    [INT8, INT8, INT8, INT8, INT2],
    "INSERT INTO default_permission (namespace_id, creator_id, account_id, team_id, role)
     VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (namespace_id, creator_id, account_id, team_id) DO UPDATE SET role = excluded.role",
);

/// Adds a default permission, or gives one that is there another role.
///
/// # Errors
/// As [`crate::permissions::set`].
pub async fn set(tx: &Tx, namespace: &NamespaceRow, new: &DefaultPermission) -> Result<(), Error> {
    let creator = match &new.creator {
        Some(name) => Some(hold_account(tx, namespace.owner, name).await?),
        None => None,
    };
    let (account, team) = hold(tx, namespace.owner, &new.holder).await?.ids();
    tx.execute_one(
        &SET,
        &[&namespace.id, &creator, &account, &team, &new.role.number()],
    )
    .await?;
    Ok(())
}

static REMOVE: Statement = statement!(
    "default_permissions.remove",
    [INT8, TEXT, TEXT, TEXT, TEXT],
    "DELETE FROM default_permission
     WHERE default_permission.namespace_id = $1
         AND default_permission.creator_id IS NOT DISTINCT FROM
             (SELECT account.id FROM account WHERE account.name = $2)
         AND ($2 IS NULL) = (default_permission.creator_id IS NULL)
         AND (
             default_permission.account_id = (SELECT account.id FROM account WHERE account.name = $3)
             OR default_permission.team_id = (
                 SELECT team.id
                 FROM account AS organization
                 JOIN team ON team.organization_id = organization.id
                 WHERE organization.name = $4 AND team.name = $5
             )
         )",
);

/// Removes a default permission; false: there is none for this creator and holder.
pub async fn remove(
    tx: &Tx,
    namespace: &NamespaceRow,
    creator: Option<&AccountName>,
    holder: &Holder,
) -> Result<bool, Error> {
    let (account, organization, team) = match holder {
        Holder::Account(name) => (Some(name.as_str()), None, None),
        Holder::Team(path) => (
            None,
            Some(path.organization().as_str()),
            Some(path.team().as_str()),
        ),
    };
    let creator = creator.map(AccountName::as_str);
    Ok(tx
        .execute(
            &REMOVE,
            &[&namespace.id, &creator, &account, &organization, &team],
        )
        .await?
        == 1)
}

static LIST: Statement = statement!(
    "default_permissions.list",
    [TEXT, INT8],
    "SELECT creator.name, account.name, organization.name || '/' || team.name, default_permission.role
     FROM namespace
     JOIN default_permission ON default_permission.namespace_id = namespace.id
     LEFT JOIN account AS creator ON creator.id = default_permission.creator_id
     LEFT JOIN account ON account.id = default_permission.account_id
     LEFT JOIN team ON team.id = default_permission.team_id
     LEFT JOIN account AS organization ON organization.id = team.organization_id
     WHERE namespace.name = $1
     ORDER BY default_permission.id
     LIMIT $2",
);

/// The default permissions of a namespace, the oldest first, no more than `rows`.
pub async fn list(
    db: &impl Read,
    namespace: &AccountName,
    rows: usize,
) -> Result<Vec<DefaultPermission>, Error> {
    let found = db
        .query(&LIST, &[&namespace.as_str(), &limit(rows)])
        .await?;
    let decode = |row: &Row| {
        Ok(DefaultPermission {
            creator: parsed_opt(row, 0)?,
            holder: holder(row, 1)?,
            role: Granted::from_number(row.try_get(3)?),
        })
    };
    found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("default_permission"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&SET, &REMOVE, &LIST];
