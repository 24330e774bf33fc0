//! `portolan quickstart`: the whole registry on one machine, from one command.
//!
//! One process, a private Postgres that it starts itself from the installed programs, blobs in a folder, and an
//! administrator whose password it makes up. Behind the start it is the same path as `portolan serve`: the same
//! schema, the same queries, the same binary. Everything it makes lies in one folder, which the next start takes up
//! where this one ended, however it ended.

mod account;
mod announce;
mod cluster;
mod disk;
mod error;
mod folder;
mod guard;
mod postmaster;
mod programs;
mod run;
mod secrets;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use run::run;

/// Arguments of `portolan quickstart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for everything: Postgres, blobs, credentials. Made when missing
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Folder with `initdb` and `postgres`, if they are not where packages put them
    #[arg(long, value_name = "DIR")]
    postgres: Option<PathBuf>,
}
