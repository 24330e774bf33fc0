//! The command line. Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong.

use crate::output::Format;
use crate::{admin, bench, quickstart, read_only};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// An OCI container registry: blobs in S3, everything else in Postgres.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the registry.
    Serve(ConfigFile),
    /// Bring the database's schema up to date, or see how far it is.
    Migrate {
        #[command(subcommand)]
        step: Migrate,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Say everything that is wrong with the configuration.
    CheckConfig {
        #[command(flatten)]
        config: ConfigFile,
        /// Also print what is in effect, with secrets hidden.
        #[arg(long)]
        print: bool,
        /// Print the reference of every setting instead, as Markdown.
        #[arg(long, conflicts_with = "print")]
        reference: bool,
    },
    /// Look after accounts, rights and repositories, straight in the database.
    Admin {
        #[command(subcommand)]
        task: admin::Task,
        /// How to print what was found, or done.
        #[arg(short, long, value_enum, default_value_t, global = true)]
        output: Format,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Refuse changes in all processes, or take them again; pulls go on.
    ReadOnly {
        #[command(subcommand)]
        task: read_only::Task,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Look at the database, its replicas and the store as this configuration reaches them, and say what is wrong and what to do.
    Doctor {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Run a whole registry on this machine, with a Postgres of its own.
    Quickstart(quickstart::Args),
    /// Measure any registry.
    Bench(bench::BenchArgs),
}

/// Steps of `migrate`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Migrate {
    /// Bring the schema up to date. Safe to run while older processes serve.
    Up,
    /// Say which steps are applied.
    Status,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// A TOML file; the environment wins over it.
    #[arg(long = "config", value_name = "FILE", global = true)]
    pub(crate) file: Option<PathBuf>,
}
