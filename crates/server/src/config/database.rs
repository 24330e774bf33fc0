//! `[database]`: Postgres.

use super::report::Report;
use super::setting::settings;
use super::urls::DatabaseUrl;
use super::values::words;

settings! {
    /// Postgres, where everything but the blobs' bytes lies.
    pub(crate) struct Database {
        /// URL of the primary. `sslmode` in it decides about TLS.
        pub(crate) primary: Option<DatabaseUrl> = None,
        /// URLs of read replicas, each a single server (never a load-balancing endpoint).
        pub(crate) replicas: Vec<DatabaseUrl> = Vec::new(),
        /// URL of the primary itself where `database.primary` leads through a pooler: migrations need a session of their own.
        pub(crate) direct: Option<DatabaseUrl> = None,
        /// What pulls do while the primary is away: `stale` serves them from replicas, marked with a `Warning`; `fail` answers 503.
        pub(crate) on_primary_loss: OnPrimaryLoss = OnPrimaryLoss::Stale,
        /// The connections of one process.
        pub(crate) pool: Pool = Pool::default(),
    }
}

words! {
    /// What pulls do while the primary is away.
    pub(crate) enum OnPrimaryLoss wants "`stale` or `fail`" {
        /// Go on from replicas.
        Stale = "stale",
        /// Answer 503.
        Fail = "fail",
    }
}

settings! {
    /// The connections of one process. Idle ones close by themselves; an idle process holds none.
    pub(crate) struct Pool {
        /// Most connections to the primary: two for reads, one for background work, one for control, the rest for writes. Requests share
        /// them in batches, so more than 8 rarely helps, and `processes` times this must fit into the server's `max_connections`.
        pub(crate) max: u32 = 8,
        /// How many processes share the database. Sizes back-off after an outage, and the check of the connection budget.
        pub(crate) processes: u32 = 2,
    }
}

/// One for reads, one for writes, one for background work, one for control: none can stand in for another.
const SMALLEST_POOL: u32 = 4;
/// Far beyond what one process can use; a larger number is a mistake that the database would pay for.
const LARGEST_POOL: u32 = 64;

impl Database {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if self.primary.is_none() {
            report.about("database.primary", "is required");
        }
        if !(SMALLEST_POOL..=LARGEST_POOL).contains(&self.pool.max) {
            report.about(
                "database.pool.max",
                format!("must lie between {SMALLEST_POOL} and {LARGEST_POOL}"),
            );
        }
        if self.pool.processes == 0 {
            report.about("database.pool.processes", "must be more than zero");
        }
    }
}
