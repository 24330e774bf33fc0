//! `portolan admin robot`.

use super::desk::{Confirmation, Desk, PAGE, time};
use super::words::{description, robot, user};
use crate::config;
use crate::wire;
use anyhow::{anyhow, bail};
use portolan_auth::{Clock as _, Secret, SystemClock};
use portolan_metadata::accounts::AccountName;
use portolan_registry::identity::RobotRow;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, SystemTime};

/// What to do with robots.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print the robots of a user or an organization.
    List {
        /// Whose.
        #[arg(value_parser = user)]
        owner: AccountName,
    },
    /// Print one robot.
    Show {
        /// Which, as `acme+ci`.
        #[arg(value_parser = robot)]
        name: AccountName,
    },
    /// Make a robot, and print its secret, which cannot be seen again.
    Create {
        /// Its owner's name, `+` and its own, as `acme+ci`.
        #[arg(value_parser = robot)]
        name: AccountName,
        /// What it is for.
        #[arg(long, value_name = "TEXT", value_parser = description, default_value = "")]
        description: String,
        /// It stops working after so long, such as `90d`.
        #[arg(long, value_name = "DURATION", value_parser = config::duration)]
        expires_in: Option<Duration>,
    },
    /// Give a robot another secret, and print it. The old one and all its tokens end at once.
    Regenerate {
        /// Which.
        #[arg(value_parser = robot)]
        name: AccountName,
    },
    /// Set when a robot stops working.
    SetExpiry {
        /// Which.
        #[arg(value_parser = robot)]
        name: AccountName,
        #[command(flatten)]
        expiry: Expiry,
    },
    /// Set what is said about a robot.
    Describe {
        /// Which.
        #[arg(value_parser = robot)]
        name: AccountName,
        /// What it is for.
        #[arg(value_parser = description)]
        description: String,
    },
    /// Shut a robot out, at once and with all its tokens.
    Disable {
        /// Which.
        #[arg(value_parser = robot)]
        name: AccountName,
    },
    /// Let a robot in again.
    Enable {
        /// Which.
        #[arg(value_parser = robot)]
        name: AccountName,
    },
    /// Delete a robot with its secret and its rights.
    Delete {
        /// Which.
        #[arg(value_parser = robot)]
        name: AccountName,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// When it ends.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Expiry {
    /// After so long from now, such as `90d`.
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    after: Option<Duration>,
    /// Never.
    #[arg(long)]
    never: bool,
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    match task {
        Task::List { owner } => {
            let fetch = async |last: Option<&RobotRow>| {
                let last = last.map(|row| &row.name);
                identity.robots(&owner, last, PAGE).await
            };
            desk.pages(fetch, |row| Robot::from(row)).await
        }
        Task::Show { name } => {
            let found = identity.robot(&name).await?;
            let row = found.ok_or_else(|| anyhow!("there is no robot `{name}`"))?;
            desk.show(&Detail(Robot::from(&row)))
        }
        Task::Create {
            name,
            description,
            expires_in,
        } => {
            let expires_at = expires_in.map(in_future).transpose()?;
            let mut random = wire::random()?;
            let made = identity
                .create_robot(actor, &name, &description, expires_at, &mut random)
                .await;
            let secret = made.map_err(|error| {
                anyhow::Error::new(error).context(format!("cannot make robot `{name}`"))
            })?;
            desk.show(&Made::new(format!("made robot `{name}`"), None, &secret))
        }
        Task::Regenerate { name } => {
            let mut random = wire::random()?;
            let secret = identity.regenerate_robot(actor, &name, &mut random).await?;
            let what = format!("gave `{name}` another secret; all its tokens have ended");
            desk.show(&Made::new(what, None, &secret))
        }
        Task::SetExpiry { name, expiry } => {
            let expires_at = expiry.after.map(in_future).transpose()?;
            identity.set_robot_expiry(actor, &name, expires_at).await?;
            desk.done(match expires_at {
                Some(at) => format!("`{name}` works until {}", time(at)),
                None => format!("`{name}` does not expire"),
            })
        }
        Task::Describe { name, description } => {
            identity.describe_robot(actor, &name, &description).await?;
            desk.done(format!("described robot `{name}`"))
        }
        Task::Disable { name } => {
            identity.set_robot_active(actor, &name, false).await?;
            desk.done(format!("disabled `{name}`; all its tokens have ended"))
        }
        Task::Enable { name } => {
            identity.set_robot_active(actor, &name, true).await?;
            desk.done(format!("enabled `{name}`; all its tokens have ended"))
        }
        Task::Delete { name, confirmation } => {
            confirmation.ask(&format!("delete robot `{name}`?"))?;
            identity.delete_robot(actor, &name).await?;
            desk.done(format!("deleted robot `{name}`"))
        }
    }
}

/// So long from now, if the calendar goes that far.
pub(super) fn in_future(after: Duration) -> anyhow::Result<SystemTime> {
    /// Longer is never.
    const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);
    if after > LONGEST {
        bail!("that is more than a hundred years; leave it out for never");
    }
    Ok(SystemClock.now() + after)
}

/// What was made, and the secret that is shown this once.
#[derive(Serialize)]
pub(super) struct Made {
    done: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    secret: String,
}

impl Made {
    pub(super) fn new(done: String, id: Option<i64>, secret: &Secret) -> Self {
        Self {
            done,
            id,
            secret: secret.text().expose_secret().to_owned(),
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nsecret: {}", self.done, self.secret)
    }
}

/// A robot in a list.
#[derive(Debug, Serialize)]
struct Robot {
    name: String,
    active: bool,
    description: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

impl From<&RobotRow> for Robot {
    fn from(row: &RobotRow) -> Self {
        Self {
            name: row.name.to_string(),
            active: row.active,
            description: row.description.clone(),
            created_at: time(row.created_at),
            expires_at: row.expires_at.map(time),
            last_used_at: row.last_used_at.map(time),
        }
    }
}

impl Robot {
    fn state(&self) -> &'static str {
        if self.active { "active" } else { "disabled" }
    }
}

impl fmt::Display for Robot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A description may have lines, and a row is one.
        let line = self.description.lines().next().unwrap_or_default();
        write!(f, "{}\t{}\t{line}", self.name, self.state())
    }
}

/// A robot by itself.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Detail(Robot);

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let robot = &self.0;
        let or_never = |time: &Option<String>| time.clone().unwrap_or_else(|| "never".to_owned());
        writeln!(f, "name:        {}", robot.name)?;
        writeln!(f, "state:       {}", robot.state())?;
        writeln!(f, "description: {}", robot.description)?;
        writeln!(f, "created:     {}", robot.created_at)?;
        writeln!(f, "expires:     {}", or_never(&robot.expires_at))?;
        writeln!(f, "last used:   {}", or_never(&robot.last_used_at))
    }
}
