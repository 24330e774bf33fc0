//! Rights beyond the owner's: which account or team may what in which repository.
//!
//! What cannot be anybody's right is refused: teams and robots have rights in the repositories of their own organization,
//! or owner, and no others.

use crate::accounts::{self, AccountKind, AccountName};
use crate::columns::{limit, parsed_opt};
use crate::refused::{Noun, Refused};
use crate::repositories::RepositoryRow;
use crate::statements::statement;
use crate::teams::{self, TeamPath};
use crate::words::words;
use crate::{AccountId, Error, RepositoryId, Role, TeamId};
use portolan_pg::{Read, Statement, Tx};
use std::fmt;
use tokio_postgres::Row;

words! {
    /// What a permission lets do; each includes those before it.
    pub enum Granted {
        /// Pull.
        Read = "read",
        /// Push and delete.
        Write = "write",
        /// Change who may.
        Admin = "admin",
    }
}

impl Granted {
    /// Its number in the database.
    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Admin => 3,
        }
    }

    pub(crate) const fn from_number(number: i16) -> Self {
        match number {
            3 => Self::Admin,
            2 => Self::Write,
            // A CHECK has no others.
            _ => Self::Read,
        }
    }
}

impl From<Granted> for Role {
    fn from(granted: Granted) -> Self {
        match granted {
            Granted::Read => Self::Read,
            Granted::Write => Self::Write,
            Granted::Admin => Self::Admin,
        }
    }
}

/// Whose a right is, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A user's or a robot's.
    Account(AccountName),
    /// A team's, and so all its members'.
    Team(TeamPath),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => name.fmt(f),
            Self::Team(path) => path.fmt(f),
        }
    }
}

/// Whose a right is, held until the transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Account(AccountId),
    Team(TeamId),
}

impl Held {
    pub(crate) const fn ids(self) -> (Option<AccountId>, Option<TeamId>) {
        match self {
            Self::Account(id) => (Some(id), None),
            Self::Team(id) => (None, Some(id)),
        }
    }
}

/// Holds whoever shall have, or has, a right in what `owner` owns. The repository or namespace is locked before.
///
/// # Errors
/// [`Refused::Missing`], [`Refused::ForeignTeam`], [`Refused::ForeignRobot`], [`Refused::NotAPrincipal`]
pub(crate) async fn hold(tx: &Tx, owner: AccountId, holder: &Holder) -> Result<Held, Error> {
    match holder {
        Holder::Team(path) => {
            let team = teams::hold(tx, path).await?;
            if team.organization != owner {
                return Err(Refused::ForeignTeam.into());
            }
            Ok(Held::Team(team.id))
        }
        Holder::Account(name) => Ok(Held::Account(hold_account(tx, owner, name).await?)),
    }
}

/// The same of an account.
pub(crate) async fn hold_account(
    tx: &Tx,
    owner: AccountId,
    name: &AccountName,
) -> Result<AccountId, Error> {
    let kind = if name.is_robot() {
        Noun::Robot
    } else {
        Noun::User
    };
    let account = accounts::hold(tx, name)
        .await?
        .ok_or_else(|| Refused::missing(kind, name))?;
    match account.kind {
        AccountKind::User => Ok(account.id),
        AccountKind::Robot if account.owner == Some(owner) => Ok(account.id),
        AccountKind::Robot => Err(Refused::ForeignRobot.into()),
        AccountKind::Organization => Err(Refused::NotAPrincipal.into()),
    }
}

static FIND: Statement = statement!(
    "permissions.find",
    [INT8, INT8, INT8],
    "SELECT permission.role FROM permission
     WHERE permission.account_id = $2 AND permission.repository_id = $1
     UNION ALL
     SELECT permission.role FROM permission
     WHERE permission.team_id = $3 AND permission.repository_id = $1",
);

async fn find(tx: &Tx, repository: RepositoryId, held: Held) -> Result<Option<Granted>, Error> {
    let (account, team) = held.ids();
    let row = tx.query_opt(&FIND, &[&repository, &account, &team]).await?;
    row.map(|row| row.try_get(0).map(Granted::from_number))
        .transpose()
        .map_err(Error::decoding("permission"))
}

static SET_ACCOUNT: Statement = statement!(
    "permissions.set_account",
    [INT8, INT8, INT2],
    "INSERT INTO permission (repository_id, account_id, role) VALUES ($1, $2, $3)
     ON CONFLICT (account_id, repository_id) WHERE account_id IS NOT NULL DO UPDATE SET role = excluded.role",
);

static SET_TEAM: Statement = statement!(
    "permissions.set_team",
    [INT8, INT8, INT2],
    "INSERT INTO permission (repository_id, team_id, role) VALUES ($1, $2, $3)
     ON CONFLICT (team_id, repository_id) WHERE team_id IS NOT NULL DO UPDATE SET role = excluded.role",
);

/// Gives a right in a repository, in place of the one that the holder had; returns that one.
///
/// # Errors
/// [`Refused::Missing`], [`Refused::ForeignTeam`], [`Refused::ForeignRobot`], [`Refused::NotAPrincipal`]
pub async fn set(
    tx: &Tx,
    repository: &RepositoryRow,
    holder: &Holder,
    role: Granted,
) -> Result<Option<Granted>, Error> {
    let held = hold(tx, repository.owner, holder).await?;
    let before = find(tx, repository.id, held).await?;
    match held {
        Held::Account(id) => {
            tx.execute_one(&SET_ACCOUNT, &[&repository.id, &id, &role.number()])
                .await?;
        }
        Held::Team(id) => {
            tx.execute_one(&SET_TEAM, &[&repository.id, &id, &role.number()])
                .await?;
        }
    }
    Ok(before)
}

static REMOVE: Statement = statement!(
    "permissions.remove",
    [INT8, TEXT, TEXT, TEXT],
    "WITH whose AS (
         SELECT account.id AS account_id, NULL::bigint AS team_id FROM account WHERE account.name = $2
         UNION ALL
         SELECT NULL, team.id
         FROM account AS organization
         JOIN team ON team.organization_id = organization.id
         WHERE organization.name = $3 AND team.name = $4
     )
     DELETE FROM permission
     USING whose
     WHERE permission.repository_id = $1
         AND (permission.account_id = whose.account_id OR permission.team_id = whose.team_id)
     RETURNING permission.role",
);

/// Takes a right in a repository away; returns it, if there was one.
pub async fn remove(
    tx: &Tx,
    repository: &RepositoryRow,
    holder: &Holder,
) -> Result<Option<Granted>, Error> {
    let (account, organization, team) = match holder {
        Holder::Account(name) => (Some(name.as_str()), None, None),
        Holder::Team(path) => (
            None,
            Some(path.organization().as_str()),
            Some(path.team().as_str()),
        ),
    };
    let row = tx
        .query_opt(&REMOVE, &[&repository.id, &account, &organization, &team])
        .await?;
    row.map(|row| row.try_get(0).map(Granted::from_number))
        .transpose()
        .map_err(Error::decoding("permission"))
}

/// A right, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRow {
    /// Whose.
    pub holder: Holder,
    /// What it lets do.
    pub role: Granted,
}

/// Whose a row is, from the columns of an account's and of a team's name.
pub(crate) fn holder(row: &Row, first: usize) -> Result<Holder, tokio_postgres::Error> {
    match parsed_opt(row, first)? {
        Some(name) => Ok(Holder::Account(name)),
        None => crate::columns::parsed(row, first + 1).map(Holder::Team),
    }
}

static LIST: Statement = statement!(
    "permissions.list",
    [TEXT, INT8],
    "SELECT account.name, organization.name || '/' || team.name, permission.role
     FROM repository
     JOIN permission ON permission.repository_id = repository.id
     LEFT JOIN account ON account.id = permission.account_id
     LEFT JOIN team ON team.id = permission.team_id
     LEFT JOIN account AS organization ON organization.id = team.organization_id
     WHERE repository.path = $1 AND repository.state = 'active'
         -- One that was given by default while its holder was being removed is nobody's.
         AND account.state IS DISTINCT FROM 'removing'
     ORDER BY permission.account_id NULLS LAST, permission.team_id
     LIMIT $2",
);

/// The rights in a repository beyond its owner's: accounts' first, no more than `rows`.
pub async fn list(
    db: &impl Read,
    repository: &portolan_oci::RepositoryName,
    rows: usize,
) -> Result<Vec<PermissionRow>, Error> {
    let found = db
        .query(&LIST, &[&repository.as_str(), &limit(rows)])
        .await?;
    let decode = |row: &Row| {
        Ok(PermissionRow {
            holder: holder(row, 0)?,
            role: Granted::from_number(row.try_get(2)?),
        })
    };
    found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("permission"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&FIND, &SET_ACCOUNT, &SET_TEAM, &REMOVE, &LIST];
