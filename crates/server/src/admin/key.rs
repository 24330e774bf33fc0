//! `portolan admin key`.

use super::desk::{Desk, Row};
use crate::config::Config;
use crate::wire;
use anyhow::{Context as _, bail};
use portolan_auth::SealedWith;
use portolan_registry::identity::{Key, Retired, Rotation};
use serde_json::{Value, json};
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
        Task::List => list(desk, config).await,
        Task::Rotate { wait } => rotate(desk, config, wait).await,
        Task::Retire { kid } => retire(desk, config, &kid).await,
        Task::Reseal => reseal(desk, config).await,
    }
}

async fn list(desk: &Desk, config: &Config) -> anyhow::Result<()> {
    // Without a key too: what there is can be seen by everybody who has the database.
    let seal = config.secrets.seal_key()?;
    let keys = desk.identity.keys(seal.as_ref()).await?;
    desk.list(keys.iter().map(|key| Row {
        line: line(key),
        object: object(key),
    }))
}

async fn rotate(desk: &Desk, config: &Config, wait: bool) -> anyhow::Result<()> {
    let policy = wire::key_policy(config)?;
    let mut random = wire::random()?;
    let mut out = io::stdout();
    loop {
        let step = desk
            .identity
            .rotate_keys(&desk.actor, &policy, true, &mut random)
            .await
            .context("run `portolan read-only off` first if writes are switched off")?;
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

async fn retire(desk: &Desk, config: &Config, kid: &str) -> anyhow::Result<()> {
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

async fn reseal(desk: &Desk, config: &Config) -> anyhow::Result<()> {
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

fn line(key: &Key) -> String {
    let row = &key.row;
    let verifies = match row.verifies_for {
        Some(span) => format!("verifies for {} s", span.as_secs()),
        None => "-".to_owned(),
    };
    format!(
        "{}\t{}\t{}\t{verifies}\t{}",
        row.kid,
        row.state.as_str(),
        row.created_at,
        sealed(key)
    )
}

fn object(key: &Key) -> Value {
    let row = &key.row;
    json!({
        "kid": row.kid,
        "state": row.state.as_str(),
        "created_at": row.created_at,
        "verifies_for_seconds": row.verifies_for.map(|span| span.as_secs()),
        "sealed": match key.sealed {
            Some(SealedWith::Current) => Some("current"),
            Some(SealedWith::Old) => Some("old"),
            Some(SealedWith::Unknown) => Some("unknown"),
            None => None,
        },
    })
}
