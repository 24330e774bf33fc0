//! Connections to Postgres: bounded, patient and fresh. Knows nothing of registries.
//!
//! Callers say what they need, never which server or connection: [`Router::read_fresh`] for a point read that sees
//! everything acknowledged before it, [`Router::read_any`] for immutable bytes, [`Router::read_list`] for lists,
//! [`Router::begin`] for a change. Point reads are *keys*, not queries ([`PointRead`]); everything else is a
//! [`Statement`] run on something that can [`Read`].
//!
//! What it promises: never more connections than [`Policy::shares`] adds up to, never more than two being dialled at
//! once, none left 75 seconds after the last request, no wait without a bound, and a counter for each of these.
//! What it leaves to others: every statement but those on its own schema `portolan_pg` (`protocol`, and for single
//! columns `identify` and `point_read`) and those that ask a server about itself (`identify`, `survey`); and every
//! decision about what an answer means. Nobody else reads or writes that schema.
//!
//! | module | holds |
//! | --- | --- |
//! | `policy`, `endpoint`, `tls` | what is configured |
//! | `connect`, `identify`, `dial`, `pacing`, `dock` | how a connection is made, and to whom; how many are being made; when to stop trying |
//! | `connection`, `pool`, `gates`, `gate`, `codel`, `reaper` | who may have one, for how long, and how long the others wait |
//! | `lease`, `conn`, `tx` | a borrowed connection, as the caller sees it |
//! | `lane` | how point reads are gathered and sent |
//! | `statement`, `point_read`, `router` | what is asked, and of whom |
//! | `survey`, `budget`, `session` | what the server says of itself at the start, and what follows from it |
//! | `sim` | the router's decisions in a simulated cluster (tests only) |
//! | `error`, `sqlstate`, `metrics` | what went wrong, and how often |
//! | `dashboards` | the same under the names of others |

mod budget;
mod codel;
mod conn;
mod connect;
mod connection;
mod dashboards;
mod dial;
mod dock;
mod endpoint;
mod error;
mod freshness;
mod gate;
mod gates;
mod identify;
mod lane;
mod lease;
mod metrics;
mod pacing;
mod point_read;
mod policy;
mod pool;
mod protocol;
mod reaper;
mod router;
mod session;
#[cfg(test)]
mod sim;
pub mod sqlstate;
mod statement;
mod survey;
mod tls;
mod tx;

pub use budget::{Budget, Limit, Tightness, Verdict};
pub use conn::Primary;
pub use endpoint::Endpoint;
pub use error::{DialError, Error};
pub use metrics::{CloseReason, DialOutcome, Metrics, PrimaryReason, Role, Share};
pub use point_read::PointRead;
pub use policy::{
    AcquirePolicy, AgePolicy, DialPolicy, FloorPolicy, LanePolicy, Policy, QueuePolicy, Shares,
    StatementLimits,
};
pub use protocol::statements;
pub use router::{
    Age, FreshnessMode, ReadStatus, Reader, ReplicaContact, ReplicaStatus, Router, Served,
    ServedBy, Status,
};
pub use session::{PLANNER, WrongSetting};
pub use statement::{Read, Statement};
pub use survey::{Durability, Survey};
pub use tokio_postgres::types::Type;
pub use tx::{Committed, Tx};
