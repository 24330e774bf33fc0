//! Which groups at providers of single sign-on a team follows. Who is in them is found out at their members' logins.

use crate::columns::limit;
use crate::statements::statement;
use crate::{Error, TeamId};
use portolan_pg::{Read, Statement, Tx};
use tokio_postgres::Row;

/// A group at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The provider, by its name in the configuration.
    pub provider: String,
    /// The group, as the provider calls it.
    pub name: String,
}

static INSERT: Statement = statement!(
    "teams.add_group",
    [INT8, TEXT, TEXT],
    "INSERT INTO team_group (team_id, provider, group_name) VALUES ($1, $2, $3)
     ON CONFLICT (provider, group_name, team_id) DO NOTHING",
);

/// Lets a team that is locked follow a group. False: it does already.
pub async fn add_group(tx: &Tx, team: TeamId, group: &Group) -> Result<bool, Error> {
    Ok(tx
        .execute(&INSERT, &[&team, &group.provider, &group.name])
        .await?
        == 1)
}

static DELETE: Statement = statement!(
    "teams.remove_group",
    [INT8, TEXT, TEXT],
    "DELETE FROM team_group
     WHERE team_group.team_id = $1 AND team_group.provider = $2 AND team_group.group_name = $3",
);

// A statement of its own, to see those who were coming while the group went.
static DELETE_MEMBERS: Statement = statement!(
    "teams.remove_group_members",
    [INT8, TEXT],
    "DELETE FROM membership
     WHERE membership.team_id = $1 AND membership.provider = $2
         AND NOT EXISTS (
             SELECT FROM team_group WHERE team_group.team_id = $1 AND team_group.provider = $2
         )",
);

/// Lets a team that is locked follow a group no longer; returns how many members went with it. `None`: it did not follow it.
///
/// They go where it was the last group of its provider: then nothing else has put them there. Where the team follows
/// another, who is in that one is known at their logins alone, and they stay until then.
pub async fn remove_group(tx: &Tx, team: TeamId, group: &Group) -> Result<Option<u64>, Error> {
    let gone = tx
        .execute(&DELETE, &[&team, &group.provider, &group.name])
        .await?;
    if gone == 0 {
        return Ok(None);
    }
    let members = tx
        .execute(&DELETE_MEMBERS, &[&team, &group.provider])
        .await?;
    Ok(Some(members))
}

static LIST: Statement = statement!(
    "teams.list_groups",
    [INT8, INT8],
    "SELECT team_group.provider, team_group.group_name FROM team_group
     WHERE team_group.team_id = $1
     ORDER BY team_group.provider, team_group.group_name
     LIMIT $2",
);

/// The groups that a team follows, no more than `rows` of them.
pub async fn list_groups(db: &impl Read, team: TeamId, rows: usize) -> Result<Vec<Group>, Error> {
    let found = db.query(&LIST, &[&team, &limit(rows)]).await?;
    let decode = |row: &Row| {
        Ok(Group {
            provider: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    };
    found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("team_group"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&INSERT, &DELETE, &DELETE_MEMBERS, &LIST];
