//! What one process knows of the database's servers, as JSON: for `portolan doctor -o json`, and for `/doctor` of the
//! private listener.

use portolan_pg::{ReadStatus, ReplicaStatus, Status};
use serde::Serialize;
use std::time::Duration;

/// All of it. Times are in seconds.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    /// How freshness is proven.
    mode: String,
    /// The history that the primary belongs to, once it has told.
    epoch: Option<String>,
    /// How long the primary has not answered, if it does not.
    primary_failing: Option<f64>,
    /// How long reads have been served without the primary.
    stale_for: Option<f64>,
    /// How old the newest word of the primary is.
    floor_age: Option<f64>,
    /// As configured.
    replicas: Vec<Replica>,
    /// Servers that other processes read from and this one does not know.
    unknown_members: Vec<String>,
    /// Who would serve each kind of read now.
    reads: Vec<Read>,
}

#[derive(Debug, Serialize)]
struct Replica {
    endpoint: String,
    server: Option<String>,
    /// Its place in the fleet.
    state: Option<&'static str>,
    /// What this process finds.
    fitness: &'static str,
    lag: Option<f64>,
    lag_bytes: Option<u64>,
    /// Why it is sent nothing now.
    resting: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Read {
    kind: &'static str,
    /// `primary`, or the replica's address.
    server: String,
    reason: Option<&'static str>,
}

impl From<&Status> for View {
    fn from(status: &Status) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            mode: status.mode.to_string(),
            epoch: status.epoch.clone(),
            primary_failing: seconds(status.primary_failing),
            stale_for: seconds(status.stale_for),
            floor_age: seconds(status.floor_age),
            replicas: status.replicas.iter().map(Replica::from).collect(),
            unknown_members: status.unknown_members.clone(),
            reads: status.reads.iter().map(Read::from).collect(),
        }
    }
}

impl From<&ReplicaStatus> for Replica {
    fn from(replica: &ReplicaStatus) -> Self {
        Self {
            endpoint: replica.endpoint.clone(),
            server: replica.server.clone(),
            state: replica.state,
            fitness: replica.fitness,
            lag: replica.lag.map(|lag| lag.as_secs_f64()),
            lag_bytes: replica.distance,
            resting: replica.resting.map(portolan_pg::PrimaryReason::as_str),
        }
    }
}

impl From<&ReadStatus> for Read {
    fn from(read: &ReadStatus) -> Self {
        Self {
            kind: read.need,
            server: read.replica.clone().unwrap_or_else(|| "primary".to_owned()),
            reason: read.reason.map(portolan_pg::PrimaryReason::as_str),
        }
    }
}
