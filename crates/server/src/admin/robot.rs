//! `portolan admin robot`.

use super::who::actor;
use crate::config;
use crate::output::{self, Format};
use crate::wire;
use anyhow::bail;
use portolan_auth::{Clock as _, Secret, SystemClock};
use portolan_metadata::accounts::AccountName;
use portolan_pg::Router;
use portolan_registry::identity::{Identity, RobotRow};
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
        #[command(flatten)]
        print: Print,
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

/// How to print it.
#[derive(Debug, clap::Args)]
pub(crate) struct Print {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
}

/// One robot.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its owner, `+` and its own name, such as `acme+ci`.
    name: AccountName,
    #[command(flatten)]
    print: Print,
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

/// Rows fetched at a time.
const PAGE: usize = 1_000;

/// Runs one task.
pub(super) async fn run(router: &Router, task: Task) -> anyhow::Result<()> {
    let identity = Identity::new(router.clone());
    match task {
        Task::List { owner, print } => list(&identity, &owner, print.output).await,
        Task::Show { robot } => show(&identity, &robot).await,
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
                .create_robot(
                    &actor(),
                    name,
                    &description,
                    expires_at,
                    &mut wire::random()?,
                )
                .await?;
            robot.say("made", Some(&secret))
        }
        Task::Regenerate { robot } => {
            let secret = identity
                .regenerate_robot(&actor(), &robot.name, &mut wire::random()?)
                .await?;
            robot.say("regenerated", Some(&secret))
        }
        Task::SetExpiry { robot, expiry } => {
            let expires_at = expiry.after.map(in_future).transpose()?;
            identity
                .set_robot_expiry(&actor(), &robot.name, expires_at)
                .await?;
            robot.say("changed", None)
        }
        Task::Describe { robot, description } => {
            identity
                .describe_robot(&actor(), &robot.name, &description)
                .await?;
            robot.say("changed", None)
        }
        Task::Disable { robot } => {
            identity
                .set_robot_active(&actor(), &robot.name, false)
                .await?;
            robot.say("disabled", None)
        }
        Task::Enable { robot } => {
            identity
                .set_robot_active(&actor(), &robot.name, true)
                .await?;
            robot.say("enabled", None)
        }
        Task::Delete { robot } => {
            identity.delete_robot(&actor(), &robot.name).await?;
            robot.say("deleted", None)
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
    fn say(&self, done: &'static str, secret: Option<&Secret>) -> anyhow::Result<()> {
        let done = Done {
            name: self.name.to_string(),
            done,
            secret: secret.map(|secret| secret.text().expose_secret().to_owned()),
        };
        Ok(output::print(&done, self.print.output)?)
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

async fn show(identity: &Identity, robot: &Which) -> anyhow::Result<()> {
    let Some(row) = identity.robot(&robot.name).await? else {
        bail!("there is no robot `{}`", robot.name);
    };
    Ok(output::print(&Shown::of(&row), robot.print.output)?)
}

async fn list(identity: &Identity, owner: &AccountName, format: Format) -> anyhow::Result<()> {
    let mut robots = List(Vec::new());
    let mut last: Option<AccountName> = None;
    loop {
        let rows = identity.robots(owner, last.as_ref(), PAGE).await?;
        robots.0.extend(rows.iter().map(Shown::of));
        match rows.into_iter().nth(PAGE - 1) {
            Some(row) => last = Some(row.name),
            None => return Ok(output::print(&robots, format)?),
        }
    }
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
            created_at: httpdate::fmt_http_date(row.created_at),
            expires_at: row.expires_at.map(httpdate::fmt_http_date),
            last_used_at: row.last_used_at.map(httpdate::fmt_http_date),
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

/// Robots, a line each.
#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Shown>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|robot| robot.fmt(f))
    }
}
