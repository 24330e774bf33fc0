//! `portolan bench URL`: a load generator for any OCI registry.
//!
//! It speaks only the specification and the token protocol, so the same run measures Portolan and
//! its peers. Closed loop (`--clients`) says what a registry can do; open loop (`--rate`) says what
//! a user waits: latency counts from the moment a request was *due*, so a stalled server cannot
//! hide the requests that it kept from being sent (no coordinated omission).

mod content;
mod fixture;
mod load;
mod process;
mod report;
mod scenario;
mod target;

use anyhow::{Context as _, ensure};
use fixture::Fixture;
use report::Report;
use scenario::Scenario;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use target::Target;

/// Options of `portolan bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// The registry, e.g. `http://127.0.0.1:5000`.
    url: String,
    /// What to measure; every scenario where none is named.
    #[arg(long = "scenario", value_enum, value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Concurrent clients, each with a connection of its own.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// Requests per second in all: an open loop. Without it every client sends as fast as it is answered.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Measured seconds of each scenario.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seconds before that, not measured.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Most requests of each scenario, whatever the time; large uploads want a small number.
    #[arg(long, default_value_t = u64::MAX)]
    max_requests: u64,
    /// Account to push the fixtures with, and to read with unless `--anonymous`.
    #[arg(long)]
    username: Option<String>,
    /// Its password.
    #[arg(long, env = "PORTOLAN_BENCH_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Read without credentials (the repository must be public); pushes still use the account.
    #[arg(long)]
    anonymous: bool,
    /// Repository for the fixtures.
    #[arg(long, default_value = "bench/load")]
    repository: String,
    /// Tags to prepare and choose among at random.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tags: u32,
    /// The tags `t0`, `t1` … are in the repository already: push nothing. For scenarios that read by tag.
    #[arg(long)]
    tags_exist: bool,
    /// Seed of content and choices: equal seeds make equal requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes of the server (their children included) whose CPU time and memory are reported.
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// Also write the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs every scenario in turn and prints a line for each.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let scenarios = if args.scenarios.is_empty() {
        Scenario::every()
    } else {
        args.scenarios.clone()
    };
    let account = args.username.clone().zip(args.password.clone());
    let target = Target::new(&args.url, &args.repository, account)?;
    let fixture = if args.tags_exist {
        let by_name = scenarios.iter().all(|scenario| scenario.needs_only_names());
        ensure!(by_name, "--tags-exist is for scenarios that read by tag");
        Fixture::of_others(args.tags)
    } else {
        Fixture::prepare(&target, &scenarios, args.tags, args.seed)
            .await
            .context("the fixtures could not be pushed")?
    };
    let fixture = Arc::new(fixture);
    let readers = if args.anonymous {
        target.without_account()
    } else {
        target.clone()
    };

    let mut out = std::io::stdout();
    writeln!(out, "{}", Report::HEADER)?;
    let mut reports = Vec::new();
    for scenario in scenarios {
        let target = if scenario.writes() {
            target.clone()
        } else {
            readers.clone()
        };
        let plan = load::Plan {
            scenario,
            clients: args.clients,
            rate: args.rate,
            warm_up: Duration::from_secs(args.warm_up),
            measured: Duration::from_secs(args.seconds),
            max_requests: args.max_requests,
            seed: args.seed,
        };
        let outcome = load::run(&plan, &target, &fixture, &args.pids).await?;
        let report = Report::new(&plan, args.anonymous, &outcome);
        writeln!(out, "{report}")?;
        reports.push(report);
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&reports)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = reports.iter().any(Report::nothing_succeeded);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
