//! Teams, as they are made and changed, and who is in them.

use super::{Actor, Identity, replaced};
use crate::Error;
use portolan_metadata::accounts::{self, AccountKind, AccountName};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::teams::{self, Group, MemberRow, TeamName, TeamPath, TeamRole, TeamRow};
use portolan_metadata::{AccountId, Noun, Refused, TeamId};
use portolan_pg::Tx;
use serde_json::{Value, json};

/// Most groups that are shown of one team.
const GROUPS: usize = 1_000;

impl Identity {
    /// Makes a team.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::NameTaken`]
    pub async fn create_team(
        &self,
        actor: &Actor,
        path: &TeamPath,
        role: TeamRole,
        description: &str,
    ) -> Result<TeamId, Error> {
        self.change(|tx| async move {
            let name = path.organization();
            let organization = accounts::of_kind(
                accounts::hold(&tx, name).await?,
                name,
                AccountKind::Organization,
            )?;
            let id = teams::create(&tx, organization.id, path.team(), role, description).await?;
            let target = path.to_string();
            let change = Change {
                namespace: organization.namespace,
                detail: json!({ "role": role.as_str() }),
                ..Change::of("team.create", &target)
            };
            audit::record(&tx, actor, &change).await?;
            Ok(id)
        })
        .await
    }

    /// Sets what a team's members may.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn set_team_role(
        &self,
        actor: &Actor,
        path: &TeamPath,
        role: TeamRole,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let team = teams::lock(&tx, path).await?;
            teams::set_role(&tx, team.id, role).await?;
            let detail = replaced(team.role.as_str(), role.as_str());
            record(&tx, actor, "team.set_role", &team, detail).await
        })
        .await
    }

    /// Sets what is said about a team.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn describe_team(
        &self,
        actor: &Actor,
        path: &TeamPath,
        description: &str,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let team = teams::lock(&tx, path).await?;
            teams::describe(&tx, team.id, description).await?;
            record(&tx, actor, "team.describe", &team, json!({})).await
        })
        .await
    }

    /// Removes a team, and with it what its members had through it.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn delete_team(&self, actor: &Actor, path: &TeamPath) -> Result<(), Error> {
        self.change(|tx| async move {
            let team = teams::lock(&tx, path).await?;
            teams::delete(&tx, team.id).await?;
            record(&tx, actor, "team.delete", &team, json!({})).await
        })
        .await
    }

    /// Puts a user, or a robot of the organization, into a team. False: he is in it already.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::NotAMember`]
    pub async fn add_member(
        &self,
        actor: &Actor,
        path: &TeamPath,
        member: &AccountName,
    ) -> Result<bool, Error> {
        self.change(|tx| async move {
            let team = teams::hold(&tx, path).await?;
            let account = accounts::hold(&tx, member).await?;
            let account = account.ok_or_else(|| missing(Noun::Account, member))?;
            if !teams::add_member(&tx, &team, &account).await? {
                return Ok(false);
            }
            let detail = json!({ "member": member.as_str() });
            record(&tx, actor, "team.add_member", &team, detail).await?;
            Ok(true)
        })
        .await
    }

    /// Takes an account out of a team.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn remove_member(
        &self,
        actor: &Actor,
        path: &TeamPath,
        member: &AccountName,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let team = teams::hold(&tx, path).await?;
            let account = accounts::find(&*tx, member).await?;
            let removed = match account {
                Some(account) => teams::remove_member(&tx, team.id, account.id).await?,
                None => false,
            };
            if !removed {
                return Err(missing(Noun::Member, member));
            }
            let detail = json!({ "member": member.as_str() });
            record(&tx, actor, "team.remove_member", &team, detail).await
        })
        .await
    }

    /// Lets a team follow a group of a provider. False: it does already.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn add_group(
        &self,
        actor: &Actor,
        path: &TeamPath,
        group: &Group,
    ) -> Result<bool, Error> {
        self.change(|tx| async move {
            let team = teams::lock(&tx, path).await?;
            if !teams::add_group(&tx, team.id, group).await? {
                return Ok(false);
            }
            record(&tx, actor, "team.add_group", &team, in_words(group)).await?;
            Ok(true)
        })
        .await
    }

    /// Lets a team follow a group of a provider no longer. With the last one of that provider go those whom its groups put
    /// there.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn remove_group(
        &self,
        actor: &Actor,
        path: &TeamPath,
        group: &Group,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let team = teams::lock(&tx, path).await?;
            let Some(members) = teams::remove_group(&tx, team.id, group).await? else {
                return Err(missing(Noun::Group, &group.name));
            };
            let mut detail = in_words(group);
            detail["members"] = json!(members);
            record(&tx, actor, "team.remove_group", &team, detail).await
        })
        .await
    }

    /// The team of that name.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn team(&self, path: &TeamPath) -> Result<TeamRow, Error> {
        Ok(teams::find(&self.reader(), path).await?)
    }

    /// The teams of an organization after `last`, by name, no more than `rows`.
    ///
    /// # Errors
    /// [`Refused::Missing`] where there is no such organization.
    pub async fn teams(
        &self,
        organization: &AccountName,
        last: Option<&TeamName>,
        rows: usize,
    ) -> Result<Vec<TeamRow>, Error> {
        let reader = self.reader();
        let found = accounts::find(&reader, organization).await?;
        accounts::of_kind(found, organization, AccountKind::Organization)?;
        Ok(teams::list(&reader, organization, last, rows).await?)
    }

    /// The members of a team after `last`, no more than `rows`.
    pub async fn members(
        &self,
        team: TeamId,
        last: Option<AccountId>,
        rows: usize,
    ) -> Result<Vec<MemberRow>, Error> {
        Ok(teams::list_members(&self.reader(), team, last, rows).await?)
    }

    /// The first thousand groups that a team follows.
    pub async fn groups(&self, team: TeamId) -> Result<Vec<Group>, Error> {
        Ok(teams::list_groups(&self.reader(), team, GROUPS).await?)
    }
}

fn in_words(group: &Group) -> Value {
    json!({ "provider": group.provider, "group": group.name })
}

fn missing(what: Noun, name: impl std::fmt::Display) -> Error {
    Error::Refused(Refused::missing(what, name))
}

async fn record(
    tx: &Tx,
    actor: &Actor,
    action: &'static str,
    team: &TeamRow,
    detail: Value,
) -> Result<(), Error> {
    let target = team.path.to_string();
    let change = Change {
        namespace: team.namespace,
        detail,
        ..Change::of(action, &target)
    };
    Ok(audit::record(tx, actor, &change).await?)
}
