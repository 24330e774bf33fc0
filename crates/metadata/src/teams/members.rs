//! Who is in a team.

use super::{TeamRole, TeamRow};
use crate::accounts::{AccountKind, AccountName, AccountRow};
use crate::columns::{limit, parsed};
use crate::refused::Refused;
use crate::statements::statement;
use crate::{AccountId, Error, TeamId};
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;
use tokio_postgres::Row;

static INSERT: Statement = statement!(
    "teams.add_member",
    [INT8, INT8],
    // A person's word counts more than a group's: from now on no group takes him out.
    "INSERT INTO membership (team_id, account_id) VALUES ($1, $2)
     ON CONFLICT (account_id, team_id) DO UPDATE SET provider = NULL WHERE membership.provider IS NOT NULL",
);

/// Puts an account that is held into a team that is held. False: it is there already.
///
/// # Errors
/// [`Refused::NotAMember`]
pub async fn add_member(tx: &Tx, team: &TeamRow, account: &AccountRow) -> Result<bool, Error> {
    let is_fit = match account.kind {
        AccountKind::User => true,
        AccountKind::Robot => account.owner == Some(team.organization),
        AccountKind::Organization => false,
    };
    if !is_fit {
        return Err(Refused::NotAMember.into());
    }
    Ok(tx.execute(&INSERT, &[&team.id, &account.id]).await? == 1)
}

static DELETE: Statement = statement!(
    "teams.remove_member",
    [INT8, INT8],
    "DELETE FROM membership WHERE membership.team_id = $1 AND membership.account_id = $2",
);

/// Takes an account out of a team. False: it was not in it.
pub async fn remove_member(tx: &Tx, team: TeamId, account: AccountId) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &[&team, &account]).await? == 1)
}

/// A member of a team.
#[derive(Debug, Clone)]
pub struct MemberRow {
    /// The account.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// Since when.
    pub since: SystemTime,
    /// Whose groups put it there; `None`: a person.
    pub provider: Option<String>,
}

static LIST: Statement = statement!(
    "teams.list_members",
    [INT8, INT8, INT8],
    "SELECT account.id, account.name, membership.created_at, membership.provider
     FROM membership
     JOIN account ON account.id = membership.account_id
     WHERE membership.team_id = $1 AND membership.account_id > $2
     ORDER BY membership.account_id
     LIMIT $3",
);

/// The members of a team after `last`, the oldest accounts first.
pub async fn list_members(
    db: &impl Read,
    team: TeamId,
    last: Option<AccountId>,
    rows: usize,
) -> Result<Vec<MemberRow>, Error> {
    let last = last.unwrap_or_else(|| 0.into());
    let found = db.query(&LIST, &[&team, &last, &limit(rows)]).await?;
    let decode = |row: &Row| {
        Ok(MemberRow {
            id: row.try_get(0)?,
            name: parsed(row, 1)?,
            since: row.try_get(2)?,
            provider: row.try_get(3)?,
        })
    };
    found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("membership"))
}

static LIST_OF_ACCOUNT: Statement = statement!(
    "teams.list_of_account",
    [INT8, INT8],
    "SELECT organization.name || '/' || team.name, team.role
     FROM membership
     JOIN team ON team.id = membership.team_id
     JOIN account AS organization ON organization.id = team.organization_id
     WHERE membership.account_id = $1
     ORDER BY membership.team_id
     LIMIT $2",
);

/// The teams that an account is in, the oldest first, and no more than `rows` of them.
pub async fn list_of_account(
    db: &impl Read,
    account: AccountId,
    rows: usize,
) -> Result<Vec<(super::TeamPath, TeamRole)>, Error> {
    let found = db
        .query(&LIST_OF_ACCOUNT, &[&account, &limit(rows)])
        .await?;
    found
        .iter()
        .map(|row| Ok((parsed(row, 0)?, parsed(row, 1)?)))
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("membership"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&INSERT, &DELETE, &LIST, &LIST_OF_ACCOUNT];
