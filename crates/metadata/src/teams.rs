//! Teams of organizations: what their members may make, and who they are.

mod groups;
mod members;
mod name;

pub use groups::{Group, add_group, list_groups, remove_group};
pub use members::{MemberRow, add_member, list_members, list_of_account, remove_member};
pub use name::{TeamName, TeamNameError, TeamPath};

pub(crate) use groups::STATEMENTS as GROUP_STATEMENTS;
pub(crate) use members::STATEMENTS as MEMBER_STATEMENTS;

use crate::accounts::AccountName;
use crate::columns::{limit, parsed};
use crate::refused::{Noun, Refused};
use crate::statements::statement;
use crate::words::words;
use crate::{AccountId, Error, NamespaceId, TeamId};
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;
use tokio_postgres::Row;

words! {
    /// What a team's members may beside what permissions say.
    pub enum TeamRole {
        /// Nothing.
        Member = "member",
        /// Make repositories.
        Creator = "creator",
        /// Everything in the organization.
        Admin = "admin",
    }
}

/// A team.
#[derive(Debug, Clone)]
pub struct TeamRow {
    /// Its id.
    pub id: TeamId,
    /// Whose it is.
    pub organization: AccountId,
    /// The organization's namespace.
    pub namespace: Option<NamespaceId>,
    /// The organization's name and its own.
    pub path: TeamPath,
    /// What its members may.
    pub role: TeamRole,
    /// What is said about it.
    pub description: String,
    /// When it was made.
    pub created_at: SystemTime,
}

macro_rules! columns {
    () => {
        "SELECT team.id, team.organization_id,
             (SELECT min(namespace.id) FROM namespace WHERE namespace.owner_account_id = team.organization_id),
             organization.name || '/' || team.name, team.role, team.description, team.created_at
         FROM account AS organization
         JOIN team ON team.organization_id = organization.id "
    };
}

fn decode(row: &Row) -> Result<TeamRow, Error> {
    let read = || {
        Ok(TeamRow {
            id: row.try_get(0)?,
            organization: row.try_get(1)?,
            namespace: row.try_get(2)?,
            path: parsed(row, 3)?,
            role: parsed(row, 4)?,
            description: row.try_get(5)?,
            created_at: row.try_get(6)?,
        })
    };
    read().map_err(Error::decoding("team"))
}

fn found(row: Option<&Row>, path: &TeamPath) -> Result<TeamRow, Error> {
    row.map(decode)
        .transpose()?
        .ok_or_else(|| Refused::missing(Noun::Team, path).into())
}

static FIND: Statement = statement!(
    "teams.find",
    [TEXT, TEXT],
    concat!(
        columns!(),
        "WHERE organization.name = $1 AND team.name = $2"
    ),
);

/// The team of that name.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn find(db: &impl Read, path: &TeamPath) -> Result<TeamRow, Error> {
    let names = (path.organization().as_str(), path.team().as_str());
    let row = db.query_opt(&FIND, &[&names.0, &names.1]).await?;
    found(row.as_ref(), path)
}

static HOLD: Statement = statement!(
    "teams.hold",
    [TEXT, TEXT],
    concat!(
        columns!(),
        "WHERE organization.name = $1 AND team.name = $2 FOR KEY SHARE OF team"
    ),
);

/// The team of that name, which is not removed before the transaction ends: for whoever refers to it.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn hold(tx: &Tx, path: &TeamPath) -> Result<TeamRow, Error> {
    let names = (path.organization().as_str(), path.team().as_str());
    let row = tx.query_opt(&HOLD, &[&names.0, &names.1]).await?;
    found(row.as_ref(), path)
}

static LOCK: Statement = statement!(
    "teams.lock",
    [TEXT, TEXT],
    concat!(
        columns!(),
        "WHERE organization.name = $1 AND team.name = $2 FOR NO KEY UPDATE OF team"
    ),
);

/// The team of that name, which nobody else changes before the transaction ends.
///
/// # Errors
/// [`Refused::Missing`]
pub async fn lock(tx: &Tx, path: &TeamPath) -> Result<TeamRow, Error> {
    let names = (path.organization().as_str(), path.team().as_str());
    let row = tx.query_opt(&LOCK, &[&names.0, &names.1]).await?;
    found(row.as_ref(), path)
}

static LIST: Statement = statement!(
    "teams.list",
    [TEXT, TEXT, INT8],
    concat!(
        columns!(),
        "WHERE organization.name = $1 AND team.name > $2 ORDER BY team.name LIMIT $3"
    ),
);

/// The teams of an organization after `last`, by name.
pub async fn list(
    db: &impl Read,
    organization: &AccountName,
    last: Option<&TeamName>,
    rows: usize,
) -> Result<Vec<TeamRow>, Error> {
    let last = last.map_or("", TeamName::as_str);
    let found = db
        .query(&LIST, &[&organization.as_str(), &last, &limit(rows)])
        .await?;
    found.iter().map(decode).collect()
}

static INSERT: Statement = statement!(
    "teams.insert",
    [INT8, TEXT, TEXT, TEXT],
    "INSERT INTO team (organization_id, name, role, description) VALUES ($1, $2, $3, $4)
     ON CONFLICT (organization_id, name) DO NOTHING
     RETURNING id",
);

/// Makes a team of an organization that is held.
///
/// # Errors
/// [`Error::NameTaken`] where it has one of that name.
pub async fn create(
    tx: &Tx,
    organization: AccountId,
    name: &TeamName,
    role: TeamRole,
    description: &str,
) -> Result<TeamId, Error> {
    let made = tx
        .query_opt(
            &INSERT,
            &[&organization, &name.as_str(), &role.as_str(), &description],
        )
        .await?;
    let row = made.ok_or(Error::NameTaken)?;
    row.try_get(0).map_err(Error::decoding("team"))
}

static SET_ROLE: Statement = statement!(
    "teams.set_role",
    [INT8, TEXT],
    "UPDATE team SET role = $2 WHERE team.id = $1",
);

/// Sets what the members of a team that is locked may.
pub async fn set_role(tx: &Tx, team: TeamId, role: TeamRole) -> Result<(), Error> {
    tx.execute_one(&SET_ROLE, &[&team, &role.as_str()]).await?;
    Ok(())
}

static DESCRIBE: Statement = statement!(
    "teams.describe",
    [INT8, TEXT],
    "UPDATE team SET description = $2 WHERE team.id = $1",
);

/// Sets what is said about a team that is locked.
pub async fn describe(tx: &Tx, team: TeamId, description: &str) -> Result<(), Error> {
    tx.execute_one(&DESCRIBE, &[&team, &description]).await?;
    Ok(())
}

static DELETE: Statement = statement!(
    "teams.delete",
    [INT8],
    "DELETE FROM team WHERE team.id = $1",
);

/// Removes a team that is locked, with its members' rights through it.
pub async fn delete(tx: &Tx, team: TeamId) -> Result<(), Error> {
    tx.execute_one(&DELETE, &[&team]).await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &FIND, &HOLD, &LOCK, &LIST, &INSERT, &SET_ROLE, &DESCRIBE, &DELETE,
];
