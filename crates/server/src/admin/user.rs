//! `portolan admin user`.

use super::desk::{Confirmation, Desk, PAGE, time};
use super::password::Password;
use super::words::{user, word};
use anyhow::anyhow;
use portolan_metadata::accounts::{
    AccountKind, AccountName, AccountRow, EmailAddress, NewUser, Superuser,
};
use portolan_registry::identity::Repositories;
use serde::Serialize;
use std::fmt;

/// What to do with a user.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print every user: the name, whether he may log in, and what he may everywhere.
    List,
    /// Print what is known of a user, and the teams he is in.
    Show {
        /// Who.
        #[arg(value_parser = user)]
        name: AccountName,
    },
    /// Make a user, and the namespace of the same name, in which they may push.
    Create {
        /// Login and namespace: lower-case letters and digits, with single `.`, `_` or dashes between them.
        name: AccountName,
        #[command(flatten)]
        password: Password,
        /// May everything, everywhere.
        #[arg(long)]
        superuser: bool,
        /// Where mail for the user goes.
        #[arg(long)]
        email: Option<EmailAddress>,
    },
    /// Set a user's password, and end all their tokens.
    SetPassword {
        /// Who.
        name: AccountName,
        #[command(flatten)]
        password: Password,
    },
    /// Set where mail for a user goes.
    SetEmail {
        /// Who.
        #[arg(value_parser = user)]
        name: AccountName,
        /// The address; nobody else has it.
        #[arg(required_unless_present = "none")]
        email: Option<EmailAddress>,
        /// Take the address away.
        #[arg(long, conflicts_with = "email")]
        none: bool,
    },
    /// Shut a user out, at once and with all their tokens.
    Disable {
        /// Who.
        name: AccountName,
    },
    /// Let a user in again.
    Enable {
        /// Who.
        name: AccountName,
    },
    /// Set what a user may everywhere.
    Superuser {
        /// Who.
        #[arg(value_parser = user)]
        name: AccountName,
        /// `on`: everything; `read-only`: read everything; `off`: what others may.
        #[arg(value_name = "on|off|read-only", value_parser = word::<Superuser>)]
        superuser: Superuser,
    },
    /// Delete a user with his robots and rights; his tokens end, and his name is free.
    Delete {
        /// Who.
        #[arg(value_parser = user)]
        name: AccountName,
        /// Delete what is in his namespace as well; without this a user who has repositories stays.
        #[arg(long)]
        with_repositories: bool,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List => list(desk).await,
        Task::Show { name } => show(desk, &name).await,
        Task::Create {
            name,
            password,
            superuser,
            email,
        } => create(desk, name, &password, superuser, email.as_ref()).await,
        Task::SetPassword { name, password } => {
            let chosen = password.choose().await?;
            identity.set_password(actor, &name, &chosen.hash).await?;
            let what = format!("set the password of `{name}`; all its tokens have ended");
            desk.done_with(what, chosen.made_up.as_ref())
        }
        Task::SetEmail { name, email, .. } => {
            identity.set_email(actor, &name, email.as_ref()).await?;
            desk.done(match email {
                Some(email) => format!("mail for `{name}` goes to `{email}`"),
                None => format!("`{name}` has no address"),
            })
        }
        Task::Disable { name } => {
            identity.set_user_active(actor, &name, false).await?;
            desk.done(format!("disabled `{name}`; all its tokens have ended"))
        }
        Task::Enable { name } => {
            identity.set_user_active(actor, &name, true).await?;
            desk.done(format!("enabled `{name}`; all its tokens have ended"))
        }
        Task::Superuser { name, superuser } => {
            identity.set_superuser(actor, &name, superuser).await?;
            desk.done(match superuser {
                Superuser::On => format!("`{name}` may everything, everywhere"),
                Superuser::ReadOnly => format!("`{name}` may read everything"),
                Superuser::Off => format!("`{name}` is no superuser"),
            })
        }
        Task::Delete {
            name,
            with_repositories,
            confirmation,
        } => {
            confirmation.ask(&question("user", &name, with_repositories))?;
            let repositories = chosen(with_repositories);
            let gone = identity.delete_user(actor, &name, repositories).await?;
            desk.done(format!(
                "deleted user `{name}`, {} repositories and {} robots",
                gone.repositories, gone.robots
            ))
        }
    }
}

/// What is asked before an account goes.
pub(super) fn question(kind: &str, name: &AccountName, with_repositories: bool) -> String {
    if with_repositories {
        format!("delete {kind} `{name}` and every repository of it?")
    } else {
        format!("delete {kind} `{name}`?")
    }
}

/// What `--with-repositories` means.
pub(super) fn chosen(with_repositories: bool) -> Repositories {
    if with_repositories {
        Repositories::Delete
    } else {
        Repositories::Keep
    }
}

async fn create(
    desk: &Desk,
    name: AccountName,
    password: &Password,
    superuser: bool,
    email: Option<&EmailAddress>,
) -> anyhow::Result<()> {
    let chosen = password.choose().await?;
    let new = NewUser {
        name,
        password_hash: chosen.hash,
        superuser,
    };
    let made = desk.identity.create_user(&desk.actor, &new, email).await;
    made.map_err(|error| {
        anyhow::Error::new(error).context(format!("cannot make user `{}`", new.name))
    })?;
    let kind = if superuser { "superuser" } else { "user" };
    desk.done_with(
        format!("made {kind} `{}`", new.name),
        chosen.made_up.as_ref(),
    )
}

/// A user in a list.
#[derive(Debug, Serialize)]
struct User {
    name: String,
    active: bool,
    superuser: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    created_at: String,
}

impl From<&AccountRow> for User {
    fn from(row: &AccountRow) -> Self {
        Self {
            name: row.name.to_string(),
            active: row.active,
            superuser: row.superuser.as_str(),
            email: row.email.clone(),
            created_at: time(row.created_at),
        }
    }
}

impl User {
    fn state(&self) -> &'static str {
        if self.active { "active" } else { "disabled" }
    }

    fn rank(&self) -> &'static str {
        match self.superuser {
            "on" => "superuser",
            "read_only" => "read-only superuser",
            _ => "user",
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.name, self.state(), self.rank())
    }
}

async fn list(desk: &Desk) -> anyhow::Result<()> {
    let fetch = async |last: Option<&AccountRow>| {
        let last = last.map(|row| &row.name);
        desk.identity.accounts(AccountKind::User, last, PAGE).await
    };
    desk.pages(fetch, |row| User::from(row)).await
}

/// A user by himself.
#[derive(Debug, Serialize)]
struct Detail {
    #[serde(flatten)]
    user: User,
    teams: Vec<Membership>,
}

#[derive(Debug, Serialize)]
struct Membership {
    team: String,
    role: &'static str,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name:    {}", self.user.name)?;
        writeln!(f, "state:   {}", self.user.state())?;
        writeln!(f, "rank:    {}", self.user.rank())?;
        writeln!(f, "email:   {}", self.user.email.as_deref().unwrap_or("-"))?;
        writeln!(f, "created: {}", self.user.created_at)?;
        for Membership { team, role } in &self.teams {
            writeln!(f, "team:    {team} ({role})")?;
        }
        Ok(())
    }
}

async fn show(desk: &Desk, name: &AccountName) -> anyhow::Result<()> {
    let found = desk.identity.account(name).await?;
    let row = found
        .filter(|row| row.kind == AccountKind::User)
        .ok_or_else(|| anyhow!("there is no user `{name}`"))?;
    let teams = desk.identity.teams_of(row.id).await?;
    let teams = teams.into_iter().map(|(team, role)| Membership {
        team: team.to_string(),
        role: role.as_str(),
    });
    desk.show(&Detail {
        user: User::from(&row),
        teams: teams.collect(),
    })
}
