//! Portolan, an OCI container registry server: one binary for every role and every command.
//!
//! [`cli`] says what there is to do, [`config`] with what, [`wire`] puts the parts together and [`serve`] runs them.
//! HTTP lives here and nowhere else; what a registry does is in the crate `registry`.

mod admin;
mod bench;
mod cli;
mod config;
mod doctor;
mod health;
mod https;
mod instruments;
mod layer;
mod ldap;
mod listen;
mod migrate;
mod output;
mod precheck;
mod private;
mod quickstart;
mod read_only;
mod router;
mod serve;
mod shutdown;
mod sso;
mod telemetry;
mod token;
mod v2;
mod web;
mod wire;
mod worker;

// Random inputs, as many as for the grammars, from the tests of the crate that has those.
#[cfg(test)]
#[path = "../../oci/tests/it/fuzz.rs"]
mod fuzz;

use anyhow::Context as _;
use clap::Parser as _;
use cli::{Cli, Command};
use config::{Invalid, Need};
use std::io::Write as _;
use std::process::ExitCode;

/// The system's allocator keeps what large passing blocks (password hashes, parts of uploads) leave behind between small ones,
/// and a process never becomes small again; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line or the configuration is wrong; what clap itself exits with.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            let invalid = error.is::<Invalid>() || error.is::<admin::Usage>();
            // Nothing can be done about a standard error that is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            if invalid {
                ExitCode::from(USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Blocking work is files, passwords and look-ups of names, each behind a bound of its own; the library's 512 threads
/// would only hide a missing one.
const BLOCKING_THREADS: usize = 64;

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    // Two of rustls' providers could be compiled in, and then it refuses to guess.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    installed.map_err(|_| anyhow::anyhow!("another TLS provider was installed first"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run(cli.command));
    // Whoever is left does not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(file) => serve::command(file.file.as_deref()).await,
        Command::Migrate { step, config } => migrate::run(step, config.file.as_deref()).await,
        Command::CheckConfig {
            reference: true, ..
        } => print(&config::reference()),
        Command::CheckConfig {
            config,
            print: wanted,
            ..
        } => {
            let loaded = config::load(config.file.as_deref(), Need::Everything)?;
            for note in &loaded.notes {
                writeln!(std::io::stderr(), "note: {note}")?;
            }
            if wanted {
                print(&loaded.config.print())
            } else {
                print("the configuration is good\n")
            }
        }
        Command::Admin {
            task,
            output,
            config,
        } => admin::run(task, output, config.file.as_deref()).await,
        Command::ReadOnly { task, config } => read_only::run(task, config.file.as_deref()).await,
        Command::Doctor { output, config } => doctor::run(config.file.as_deref(), output).await,
        Command::Quickstart(args) => quickstart::run(args).await,
        Command::Bench(args) => bench::run(args).await,
    }
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
