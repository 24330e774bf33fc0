//! `portolan admin robot`.

use super::desk::{Desk, PAGE, time};
use crate::config;
use crate::wire;
use anyhow::bail;
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
        owner: AccountName,
    },
    /// Print one robot.
    Show {
        #[command(flatten)]
        robot: Which,
    },
    /// Make a robot, and print its secret, which cannot be seen again.
    Create {
        #[command(flatten)]
        robot: Which,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// It stops working after so long, such as `90d`.
        #[arg(long, value_name = "DURATION", value_parser = config::duration)]
        expires_in: Option<Duration>,
    },
    /// Give a robot another secret, and print it. The old one and all its tokens end at once.
    Regenerate {
        #[command(flatten)]
        robot: Which,
    },
    /// Set when a robot stops working.
    SetExpiry {
        #[command(flatten)]
        robot: Which,
        #[command(flatten)]
        expiry: Expiry,
    },
    /// Say what a robot is for.
    Describe {
        #[command(flatten)]
        robot: Which,
        /// What it is for.
        description: String,
    },
    /// Shut a robot out, at once and with all its tokens.
    Disable {
        #[command(flatten)]
        robot: Which,
    },
    /// Let a robot in again.
    Enable {
        #[command(flatten)]
        robot: Which,
    },
    /// Delete a robot with its secret and its rights.
    Delete {
        #[command(flatten)]
        robot: Which,
    },
}

/// One robot.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its owner, `+` and its own name, such as `acme+ci`.
    name: AccountName,
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
        Task::List { owner } => list(desk, &owner).await,
        Task::Show { robot } => show(desk, &robot).await,
        Task::Create {
            robot,
            description,
            expires_in,
        } => {
            if !robot.name.is_robot() {
                bail!("a robot's name is its owner's, `+` and its own, such as `acme+ci`");
            }
            let (name, expires_at) = (&robot.name, expires_in.map(in_future).transpose()?);
            let secret = identity
                .create_robot(actor, name, &description, expires_at, &mut wire::random()?)
                .await?;
            robot.say(desk, "made", Some(&secret))
        }
        Task::Regenerate { robot } => {
            let secret = identity
                .regenerate_robot(actor, &robot.name, &mut wire::random()?)
                .await?;
            robot.say(desk, "regenerated", Some(&secret))
        }
        Task::SetExpiry { robot, expiry } => {
            let expires_at = expiry.after.map(in_future).transpose()?;
            identity
                .set_robot_expiry(actor, &robot.name, expires_at)
                .await?;
            robot.say(desk, "changed", None)
        }
        Task::Describe { robot, description } => {
            identity
                .describe_robot(actor, &robot.name, &description)
                .await?;
            robot.say(desk, "changed", None)
        }
        Task::Disable { robot } => {
            identity.set_robot_active(actor, &robot.name, false).await?;
            robot.say(desk, "disabled", None)
        }
        Task::Enable { robot } => {
            identity.set_robot_active(actor, &robot.name, true).await?;
            robot.say(desk, "enabled", None)
        }
        Task::Delete { robot } => {
            identity.delete_robot(actor, &robot.name).await?;
            robot.say(desk, "deleted", None)
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

impl Which {
    fn say(&self, desk: &Desk, done: &'static str, secret: Option<&Secret>) -> anyhow::Result<()> {
        let done = Done {
            name: self.name.to_string(),
            done,
            secret: secret.map(|secret| secret.text().expose_secret().to_owned()),
        };
        desk.show(&done)
    }
}

/// What was done.
#[derive(Serialize)]
struct Done {
    name: String,
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} robot `{}`", self.done, self.name)?;
        match &self.secret {
            Some(secret) => writeln!(f, "secret: {secret}"),
            None => Ok(()),
        }
    }
}

async fn show(desk: &Desk, robot: &Which) -> anyhow::Result<()> {
    let Some(row) = desk.identity.robot(&robot.name).await? else {
        bail!("there is no robot `{}`", robot.name);
    };
    desk.show(&Shown::of(&row))
}

async fn list(desk: &Desk, owner: &AccountName) -> anyhow::Result<()> {
    let fetch = async |last: Option<&RobotRow>| {
        let last = last.map(|row| &row.name);
        desk.identity.robots(owner, last, PAGE).await
    };
    desk.pages(fetch, Shown::of).await
}

/// A robot, as it is printed.
#[derive(Serialize)]
struct Shown {
    name: String,
    active: bool,
    description: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

impl Shown {
    fn of(row: &RobotRow) -> Self {
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

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.active { "active" } else { "disabled" };
        let or = |time: &Option<String>, none: &str| time.clone().unwrap_or_else(|| none.into());
        writeln!(
            f,
            "{}\t{state}\texpires {}\tused {}\t{}",
            self.name,
            or(&self.expires_at, "never"),
            or(&self.last_used_at, "never"),
            self.description
        )
    }
}
