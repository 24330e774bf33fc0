//! `portolan doctor`: looks at everything that this process would need, and says in lines what is well, what is not, and what to
//! do about it.
//!
//! It looks with the eyes of this machine and this configuration; what a running process sees is at `/doctor` of its private
//! listener, in the same words, but for the store and the directory. It changes nothing but two objects in the store, which it removes again; in read-only mode
//! not even these.

mod advice;
mod finding;
mod keys;
mod ldap;
mod primary;
mod replicas;
mod store;
mod view;

pub(crate) use advice::{Grantee, Place, advice};
pub(crate) use finding::{Level, Report};
pub(crate) use primary::judge as judge_primary;
pub(crate) use replicas::reached;

use crate::config::{self, Config, Need};
use crate::output::{self, Format};
use crate::{telemetry, wire};
use portolan_metadata::read_only;
use portolan_pg::{Metrics, Policy, ReplicaStatus, Router, Status};
use rand::rngs::StdRng;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use view::View;

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
    router.close_without_trace().await;
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
    let mut report = look(router, wire::processes(config)).await;
    // Of a primary that does not answer all is said.
    if let Ok(finding) = keys::examine(config, router).await {
        report.add(vec![finding]);
    }
    if let Ok(findings) = ldap::examine(config).await {
        report.add(findings);
    }
    let may_write = !is_read_only(router).await;
    report.add(store::examine(config, may_write, random).await);
    report
}

/// Whether everything is to stay as it is. A primary that does not answer has not said so.
async fn is_read_only(router: &Router) -> bool {
    let mode = async {
        let primary = router.read_primary().await?;
        read_only::current(&primary).await
    };
    mode.await.is_ok_and(|mode| mode.is_some())
}

/// Looks at the database's servers through `router`, for the command and for a running process alike.
pub(crate) async fn look(router: &Router, processes: NonZeroU32) -> Report {
    // First, because a replica is held against it.
    let mut findings = primary::examine(router, processes).await;
    let contacts = router.reach_replicas().await;
    let status = watched(router).await;
    findings.extend(replicas::judge(&status, &contacts, &Grantee::of(router)));
    Report::new(findings, View::from(&status))
}

/// What is known of the servers, after a second look where a replica is late. Who has just begun does not know since
/// when; one that is no further after twice the time that pushes wait is late for everybody.
async fn watched(router: &Router) -> Status {
    let status = router.status().await;
    let is_late = |replica: &ReplicaStatus| replica.distance.is_some_and(|bytes| bytes > 0);
    if !status.replicas.iter().any(is_late) {
        return status;
    }
    tokio::time::sleep((status.silence * 2).min(PATIENCE)).await;
    router.status().await
}
