//! Jobs: what a process with the role `worker` does when nobody asks it anything.
//!
//! The table of jobs is the only queue. A worker claims what is due and commits; while it works it holds no
//! connection, and renews its lease now and then; at the end it says how it went. If it dies, its leases end and
//! somebody else takes the jobs. All of it runs in the background share of the connections, which is one.

mod kind;
mod metrics;
mod runner;

pub(crate) use kind::{Duties, Kind};
pub(crate) use metrics::Metrics;
pub(crate) use runner::{Worker, WorkerParts};
