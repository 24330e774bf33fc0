//! `portolan migrate`: the schema, step by step.

use crate::cli::Migrate;
use crate::config::{self, Need};
use crate::telemetry;
use anyhow::Context as _;
use portolan_metadata::migrate::{self, Step};
use secrecy::ExposeSecret as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Runs one of the subcommands. `status` exits with 1 where a step is missing, so that a script can wait for it.
pub(crate) async fn run(step: Migrate, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = config::load(file, Need::Database)?.config;
    telemetry::start(&config.log);
    // The lock that lets only one migrate at a time belongs to a session, which a pooler would not keep.
    let url = config
        .database
        .direct
        .or(config.database.primary)
        .context("no database is configured")?;
    let url = url.secret().expose_secret();
    let mut out = std::io::stdout();
    match step {
        Migrate::Up => {
            let applied = migrate::up(url).await?;
            for step in &applied {
                writeln!(out, "applied {}", Named(step))?;
            }
            if applied.is_empty() {
                writeln!(
                    out,
                    "the schema is up to date at step {}",
                    migrate::SCHEMA_NEWEST
                )?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Migrate::Status => {
            let steps = migrate::status(url).await?;
            for step in &steps {
                let state = if step.applied { "applied" } else { "missing" };
                writeln!(out, "{state} {}", Named(step))?;
            }
            let complete = steps.iter().all(|step| step.applied);
            Ok(if complete {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

/// A step as a person reads it.
struct Named<'a>(&'a Step);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:04} {}", self.0.version, self.0.description)
    }
}
