//! `portolan admin key`.

use super::desk::Desk;
use crate::config::Config;
use crate::wire;
use anyhow::bail;
use portolan_auth::SealedWith;
use portolan_registry::identity::{Key, Retired, Rotation};
use serde::Serialize;
use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

/// What to do with the keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print every signing key: its state, age, and which key it is sealed with.
    List,
    /// Let a new key sign. It is published first, and signs two minutes later, when a worker's job or this command comes again.
    Rotate {
        /// Wait, and do both.
        #[arg(long)]
        wait: bool,
    },
    /// End a key at once, and every token that it signed: for one that became known to others.
    Retire {
        /// Its name, as `list` prints it.
        kid: String,
    },
    /// Seal with `secrets.key` what is sealed with one of `secrets.old_keys`.
    Reseal,
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, config: &Config, task: Task) -> anyhow::Result<()> {
    match task {
        Task::List => list(config, desk).await,
        Task::Rotate { wait } => rotate(config, desk, wait).await,
        Task::Retire { kid } => retire(config, desk, &kid).await,
        Task::Reseal => reseal(config, desk).await,
    }
}

async fn list(config: &Config, desk: &Desk) -> anyhow::Result<()> {
    // Without a key too: what there is can be seen by everybody who has the database.
    let seal = config.secrets.seal_key()?;
    let keys = desk.identity.keys(seal.as_ref()).await?;
    desk.list(keys.iter().map(Shown::of))
}

async fn rotate(config: &Config, desk: &Desk, wait: bool) -> anyhow::Result<()> {
    let policy = wire::key_policy(config)?;
    let mut random = wire::random()?;
    let mut out = io::stdout();
    loop {
        let step = desk
            .identity
            .rotate_keys(&desk.actor, &policy, true, &mut random)
            .await?;
        match step {
            Rotation::Published { kid, signs_in } => {
                writeln!(
                    out,
                    "published key {kid}; it signs in {} s",
                    rounded(signs_in)
                )?;
                if !wait {
                    return Ok(());
                }
                tokio::time::sleep(signs_in).await;
            }
            Rotation::Waiting { kid, signs_in } if wait => {
                writeln!(out, "key {kid} signs in {} s", rounded(signs_in))?;
                tokio::time::sleep(signs_in).await;
            }
            Rotation::Waiting { kid, signs_in } => {
                bail!(
                    "key {kid} is published, and not every process knows it yet: come again in {} s",
                    rounded(signs_in)
                )
            }
            Rotation::Signing { kid } => {
                writeln!(out, "tokens are signed with key {kid}")?;
                return Ok(());
            }
            Rotation::NotDue => bail!("there is no key yet: the first process makes it"),
        }
    }
}

/// Never too short.
fn rounded(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

async fn retire(config: &Config, desk: &Desk, kid: &str) -> anyhow::Result<()> {
    let policy = wire::key_policy(config)?;
    let mut random = wire::random()?;
    let retired = desk
        .identity
        .retire_key(&desk.actor, &policy, kid, &mut random)
        .await?;
    let mut out = io::stdout();
    match retired {
        Retired::Unknown => bail!("there is no key `{kid}`"),
        Retired::Done => writeln!(out, "retired key {kid}")?,
        Retired::ReplacedBy { kid: successor } => writeln!(
            out,
            "retired key {kid}; tokens are signed with key {successor}"
        )?,
    }
    Ok(())
}

async fn reseal(config: &Config, desk: &Desk) -> anyhow::Result<()> {
    let policy = wire::key_policy(config)?;
    let mut random = wire::random()?;
    let done = desk
        .identity
        .reseal(&desk.actor, &policy.seal, &mut random)
        .await?;
    writeln!(
        io::stdout(),
        "sealed {} secrets with the new key; {} were",
        done.anew,
        done.current
    )?;
    if done.unknown > 0 {
        bail!(
            "{} secrets are sealed with a key that is neither `secrets.key` nor one of `secrets.old_keys`",
            done.unknown
        );
    }
    Ok(())
}

fn sealed(key: &Key) -> &'static str {
    match key.sealed {
        Some(SealedWith::Current) => "sealed with the key",
        Some(SealedWith::Old) => "sealed with an old key",
        Some(SealedWith::Unknown) => "sealed with an unknown key",
        None => "-",
    }
}

/// A key in a list.
#[derive(Debug, Serialize)]
struct Shown {
    kid: String,
    state: &'static str,
    created_at: String,
    verifies_for_seconds: Option<u64>,
    sealed: Option<&'static str>,
    #[serde(skip)]
    words: &'static str,
}

impl Shown {
    fn of(key: &Key) -> Self {
        let row = &key.row;
        Self {
            kid: row.kid.clone(),
            state: row.state.as_str(),
            created_at: row.created_at.clone(),
            verifies_for_seconds: row.verifies_for.map(|span| span.as_secs()),
            sealed: match key.sealed {
                Some(SealedWith::Current) => Some("current"),
                Some(SealedWith::Old) => Some("old"),
                Some(SealedWith::Unknown) => Some("unknown"),
                None => None,
            },
            words: sealed(key),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verifies = match self.verifies_for_seconds {
            Some(seconds) => format!("verifies for {seconds} s"),
            None => "-".to_owned(),
        };
        write!(
            f,
            "{}\t{}\t{}\t{verifies}\t{}",
            self.kid, self.state, self.created_at, self.words
        )
    }
}
