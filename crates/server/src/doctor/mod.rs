//! `portolan doctor`: looks at everything that this process would need, and says in lines what is well, what is not, and what to
//! do about it.
//!
//! It looks with the eyes of this machine and this configuration; what a running process sees is at `/doctor` of its private
//! listener ([`View`]). It changes nothing but two objects in the store, which it removes again.

mod advice;
mod finding;
mod primary;
mod replicas;
mod store;
mod view;

pub(crate) use advice::{Place, advice};
pub(crate) use finding::Level;
pub(crate) use primary::judge as judge_primary;
pub(crate) use replicas::reached;
pub(crate) use view::View;

use crate::config::{self, Config, Need};
use crate::output::{self, Format};
use crate::{telemetry, wire};
use finding::Report;
use portolan_pg::{Metrics, Policy, Router};
use rand::rngs::StdRng;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// A person waits, and a dial may take as long.
const PATIENCE: Duration = Duration::from_secs(5);
/// What this process sees of the replicas counts for nobody: it serves nobody.
const NEVER: Duration = Duration::from_hours(24);

/// Runs it. Exits with 1 where something is wrong.
pub(crate) async fn run(file: Option<&Path>, format: Format) -> anyhow::Result<ExitCode> {
    let config = config::load(file, Need::Everything)?.config;
    telemetry::start(&config.log);
    let mut random = wire::random()?;
    let policy = patient(wire::policy(&config, "doctor")?);
    let router = wire::database_with(&config, policy, Metrics::unregistered(), &mut random)?;
    let report = examine(&config, &router, &mut random).await;
    router.close().await;
    output::print(&report, format)?;
    Ok(if report.well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn patient(mut policy: Policy) -> Policy {
    policy.acquire.read = PATIENCE;
    policy.floors.probe_timeout = PATIENCE;
    policy.floors.vote_every = NEVER;
    policy
}

async fn examine(config: &Config, router: &Router, random: &mut StdRng) -> Report {
    // First, because a replica is held against it.
    let mut findings = primary::examine(router, wire::processes(config)).await;
    let contacts = router.reach_replicas().await;
    let status = router.status().await;
    findings.extend(replicas::judge(&status, &contacts));
    findings.extend(store::examine(config, random).await);
    Report::new(findings, View::from(&status))
}
