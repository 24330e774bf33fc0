//! `portolan admin team`.

use super::desk::{Confirmation, Desk, PAGE, time};
use super::words::{description, user, word};
use clap::builder::NonEmptyStringValueParser;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::teams::{Group, MemberRow, TeamPath, TeamRole, TeamRow};
use serde::Serialize;
use std::fmt;

/// What to do with a team.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print every team of an organization, and what its members may.
    List {
        /// Whose.
        #[arg(value_parser = user)]
        organization: AccountName,
    },
    /// Print a team: what its members may, who they are, and which groups it follows.
    Show {
        /// Which, as `acme/developers`.
        team: TeamPath,
    },
    /// Make a team.
    Create {
        /// Which, as `acme/developers`.
        team: TeamPath,
        /// `member`: what permissions say; `creator`: also make repositories; `admin`: everything in the organization.
        #[arg(long, value_name = "member|creator|admin", value_parser = word::<TeamRole>, default_value = "member")]
        role: TeamRole,
        /// What to say about it.
        #[arg(long, value_name = "TEXT", value_parser = description, default_value = "")]
        description: String,
    },
    /// Set what a team's members may.
    SetRole {
        /// Which, as `acme/developers`.
        team: TeamPath,
        /// `member`: what permissions say; `creator`: also make repositories; `admin`: everything in the organization.
        #[arg(value_name = "member|creator|admin", value_parser = word::<TeamRole>)]
        role: TeamRole,
    },
    /// Set what is said about a team.
    Describe {
        /// Which, as `acme/developers`.
        team: TeamPath,
        /// What to say about it.
        #[arg(value_parser = description)]
        description: String,
    },
    /// Delete a team, and what its members had through it.
    Delete {
        /// Which, as `acme/developers`.
        team: TeamPath,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Put a user, or a robot of the organization, into a team.
    AddMember {
        /// Which, as `acme/developers`.
        team: TeamPath,
        /// Who.
        member: AccountName,
    },
    /// Take somebody out of a team.
    RemoveMember {
        /// Which, as `acme/developers`.
        team: TeamPath,
        /// Who.
        member: AccountName,
    },
    /// Let a team follow a group of a provider of single sign-on, or of the directory (`ldap`): who logs in and is in the group is in the team.
    AddGroup {
        /// Which, as `acme/developers`.
        team: TeamPath,
        #[command(flatten)]
        group: GroupArgs,
    },
    /// Let a team follow a group no longer. Who is in the team stays until he logs in again.
    RemoveGroup {
        /// Which, as `acme/developers`.
        team: TeamPath,
        #[command(flatten)]
        group: GroupArgs,
    },
}

/// A group at a provider.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupArgs {
    /// The provider, by its name in the configuration; `ldap` is the directory.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    provider: String,
    /// The group, as the provider calls it.
    #[arg(value_parser = group_name)]
    group: String,
}

/// Longest name of a group that is kept.
const GROUP_MAX: usize = 1024;

fn group_name(text: &str) -> Result<String, String> {
    if (1..=GROUP_MAX).contains(&text.len()) && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err(format!("must have 1 to {GROUP_MAX} bytes, and no NUL"))
    }
}

impl From<GroupArgs> for Group {
    fn from(args: GroupArgs) -> Self {
        Self {
            provider: args.provider,
            name: args.group,
        }
    }
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List { organization } => {
            let fetch = async |last: Option<&TeamRow>| {
                let last = last.map(|row| row.path.team());
                identity.teams(&organization, last, PAGE).await
            };
            desk.pages(fetch, |row| Team::from(row)).await
        }
        Task::Show { team } => show(desk, &team).await,
        Task::Create {
            team,
            role,
            description,
        } => {
            let made = identity.create_team(actor, &team, role, &description).await;
            made.map_err(|error| {
                anyhow::Error::new(error).context(format!("cannot make team `{team}`"))
            })?;
            desk.done(format!("made team `{team}` of role `{role}`"))
        }
        Task::SetRole { team, role } => {
            identity.set_team_role(actor, &team, role).await?;
            desk.done(format!("team `{team}` has role `{role}`"))
        }
        Task::Describe { team, description } => {
            identity.describe_team(actor, &team, &description).await?;
            desk.done(format!("described team `{team}`"))
        }
        Task::Delete { team, confirmation } => {
            confirmation.ask(&format!("delete team `{team}`?"))?;
            identity.delete_team(actor, &team).await?;
            desk.done(format!("deleted team `{team}`"))
        }
        Task::AddMember { team, member } => {
            let is_new = identity.add_member(actor, &team, &member).await?;
            let already = if is_new { "" } else { " already" };
            desk.done(format!("`{member}` is in team `{team}`{already}"))
        }
        Task::RemoveMember { team, member } => {
            identity.remove_member(actor, &team, &member).await?;
            desk.done(format!("`{member}` is no longer in team `{team}`"))
        }
        Task::AddGroup { team, group } => {
            let group = Group::from(group);
            let is_new = identity.add_group(actor, &team, &group).await?;
            let already = if is_new { "" } else { " already" };
            let Group { provider, name } = group;
            desk.done(format!(
                "team `{team}` follows group `{name}` of `{provider}`{already}"
            ))
        }
        Task::RemoveGroup { team, group } => {
            let group = Group::from(group);
            identity.remove_group(actor, &team, &group).await?;
            let Group { provider, name } = group;
            desk.done(format!(
                "team `{team}` no longer follows group `{name}` of `{provider}`"
            ))
        }
    }
}

/// A team in a list.
#[derive(Debug, Serialize)]
struct Team {
    name: String,
    role: &'static str,
    description: String,
}

impl From<&TeamRow> for Team {
    fn from(row: &TeamRow) -> Self {
        Self {
            name: row.path.to_string(),
            role: row.role.as_str(),
            description: row.description.clone(),
        }
    }
}

impl fmt::Display for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.description.lines().next().unwrap_or_default();
        write!(f, "{}\t{}\t{line}", self.name, self.role)
    }
}

/// A team by itself.
#[derive(Debug, Serialize)]
struct Detail {
    #[serde(flatten)]
    team: Team,
    created_at: String,
    members: Vec<Member>,
    groups: Vec<Followed>,
}

#[derive(Debug, Serialize)]
struct Member {
    name: String,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
}

#[derive(Debug, Serialize)]
struct Followed {
    provider: String,
    group: String,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name:        {}", self.team.name)?;
        writeln!(f, "role:        {}", self.team.role)?;
        writeln!(f, "created:     {}", self.created_at)?;
        writeln!(f, "description: {}", self.team.description)?;
        for Member { name, provider, .. } in &self.members {
            match provider {
                Some(provider) => writeln!(f, "member:      {name} (by `{provider}`)")?,
                None => writeln!(f, "member:      {name}")?,
            }
        }
        for Followed { provider, group } in &self.groups {
            writeln!(f, "group:       {group} (of `{provider}`)")?;
        }
        Ok(())
    }
}

async fn show(desk: &Desk, path: &TeamPath) -> anyhow::Result<()> {
    let identity = &desk.identity;
    let team = identity.team(path).await?;
    let mut members = Vec::new();
    let mut last = None;
    loop {
        let page = identity.members(team.id, last, PAGE).await?;
        last = page.last().map(|row| row.id);
        let is_full = page.len() == PAGE;
        members.extend(page.into_iter().map(member));
        if !is_full {
            break;
        }
    }
    let groups = identity.groups(team.id).await?;
    let groups = groups.into_iter().map(|group| Followed {
        provider: group.provider,
        group: group.name,
    });
    desk.show(&Detail {
        team: Team::from(&team),
        created_at: time(team.created_at),
        members,
        groups: groups.collect(),
    })
}

fn member(row: MemberRow) -> Member {
    Member {
        name: row.name.to_string(),
        since: time(row.since),
        provider: row.provider,
    }
}
