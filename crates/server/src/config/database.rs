//! `[database]`: Postgres.

use super::report::Report;
use super::setting::settings;
use super::urls::DatabaseUrl;
use super::values::{ByteSize, words};
use std::time::Duration;

settings! {
    /// Postgres, where everything but the blobs' bytes lies.
    pub(crate) struct Database {
        /// URL of the primary. `sslmode` in it decides about TLS.
        pub(crate) primary: Option<DatabaseUrl> = None,
        /// URLs of read replicas, each a single server (never a load-balancing endpoint).
        pub(crate) replicas: Vec<DatabaseUrl> = Vec::new(),
        /// URL of the primary itself where `database.primary` leads through a pooler (pgbouncer in transaction mode): migrations need a session of
        /// their own. With it, statements on the primary are unnamed and the role must have the settings that sessions have otherwise: see
        /// docs/pooler.md.
        pub(crate) direct: Option<DatabaseUrl> = None,
        /// How a replica proves that it is fresh enough: `wal` by its position in the log; `beacon` by a counter row, for Aurora, which tells
        /// no positions; `read_index` as `wal`, but asking the primary anew for each batch, where clocks cannot be trusted. The same for all processes.
        pub(crate) freshness: Freshness = Freshness::Wal,
        /// What pulls do while the primary is away: `stale` serves them from replicas, marked with a `Warning`; `fail` answers 503.
        pub(crate) on_primary_loss: OnPrimaryLoss = OnPrimaryLoss::Stale,
        /// How long the primary must have failed before that. Shorter, and a mere restart of it makes answers stale; longer, and its loss is felt longer.
        pub(crate) stale_after: Duration = Duration::from_secs(3),
        /// How old the answers about private repositories may become then: so long can a right live on that was just taken away. Afterwards they
        /// are 503. What is public is served without limit. Not below `stale_after`.
        pub(crate) max_stale: Duration = Duration::from_mins(15),
        /// The connections of one process.
        pub(crate) pool: Pool = Pool::default(),
        /// How point reads share connections.
        pub(crate) lanes: Lanes = Lanes::default(),
        /// How often servers are asked how far they are.
        pub(crate) floors: Floors = Floors::default(),
    }
}

words! {
    /// How a replica proves that it is fresh enough.
    pub(crate) enum Freshness wants "`wal`, `beacon` or `read_index`" {
        /// Its position in the log.
        Wal = "wal",
        /// A counter row.
        Beacon = "beacon",
        /// Its position, against a question of the same batch.
        ReadIndex = "read_index",
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
    /// The connections of one process. Idle ones close by themselves after 45 s; a process that nobody asks holds none, but for the one with
    /// which the role `worker` looks for jobs once a minute.
    pub(crate) struct Pool {
        /// Most connections to the primary: two for reads, one for background work, one for control, the rest for writes. Requests share
        /// them in batches, so more than 8 rarely helps, and `processes` times this must fit into the server's `max_connections`.
        pub(crate) max: u32 = 8,
        /// How many processes share the database. Sizes back-off after an outage, and the check of the connection budget.
        pub(crate) processes: u32 = 2,
    }
}

settings! {
    /// How point reads (tags, rights, where a blob lies) share connections: they gather in a queue and travel in batches. The defaults fit
    /// unless measurements say otherwise (`portolan_pg_batch_keys`, `portolan_pg_lane_wait_seconds`, `portolan_pg_keys_waiting`).
    pub(crate) struct Lanes {
        /// Most connections for them to each server, 1 or 2. The second takes large answers and lists.
        pub(crate) per_server: u32 = 2,
        /// Most keys in one statement. More makes the first of them wait for the last and saves the server little.
        pub(crate) batch_keys: u32 = 256,
        /// Most bytes that the answers of one statement are expected to have; what is larger travels alone. More makes small answers wait behind large ones.
        pub(crate) batch_bytes: ByteSize = ByteSize::mib(1),
        /// Most keys that wait for one server; the next request hears 429. A queue of what is served within a quarter of a second is long enough.
        pub(crate) queue_keys: u32 = 4_096,
        /// Most bytes of such keys.
        pub(crate) queue_bytes: ByteSize = ByteSize::mib(8),
    }
}

settings! {
    /// How often servers are asked how far they are. How long an answer may be used and how long a push waits at most is one setting of the whole
    /// cluster and lies in the database (`portolan_pg.cluster_epoch`).
    pub(crate) struct Floors {
        /// Shortest pause between two questions to the primary, while reads arrive.
        pub(crate) poll_min: Duration = Duration::from_millis(50),
        /// Longest pause, 200 ms at most. Several questions must fit into 400 ms, or replicas that lag a little serve nothing.
        pub(crate) poll_max: Duration = Duration::from_millis(100),
        /// Most questions a second to each replica while pushes wait for it.
        pub(crate) probes_per_second: u32 = 50,
    }
}

/// One for reads, one for writes, one for background work, one for control: none can stand in for another.
const SMALLEST_POOL: u32 = 4;
/// Far beyond what one process can use; a larger number is a mistake that the database would pay for.
const LARGEST_POOL: u32 = 64;

/// A third one gains nothing: the first is hardly ever waited for.
const MOST_LANES: u32 = 2;
/// Sixteen times the default: beyond that a batch is slower than several.
const LARGEST_BATCH: u32 = 4_096;
/// What an ordinary manifest fits into.
const SMALLEST_BYTES: ByteSize = ByteSize::kib(64);
/// Two hundred questions a second: more than this is load on the primary for nothing.
const SHORTEST_POLL: Duration = Duration::from_millis(5);
/// A floor is good for 400 ms. Two whole pauses fit, so that one question may fail or be late, and a replica that lags
/// a little meets an older floor.
const LONGEST_POLL: Duration = Duration::from_millis(200);
/// Between two questions to a replica lies a millisecond at least; there cannot be more of them.
const MOST_PROBES: u32 = 1_000;
/// Sixteen times the default. Who waits for a quarter of a second is sent away, and what no server answers in that time is
/// memory for nothing.
const LONGEST_QUEUE: u32 = 65_536;
/// As many times the default.
const LARGEST_QUEUE: ByteSize = ByteSize::mib(128);
/// What a connection that breaks and is made again may take.
const SHORTEST_LOSS: Duration = Duration::from_millis(500);

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
        if self.stale_after < SHORTEST_LOSS {
            report.about(
                "database.stale_after",
                "must not be below `500ms`: a single lost connection is no loss of the primary",
            );
        }
        if self.on_primary_loss == OnPrimaryLoss::Stale && self.max_stale < self.stale_after {
            report.about(
                "database.max_stale",
                "must not be below `database.stale_after`: when replicas begin to serve without the primary, their answers about private \
                 repositories would be too old already",
            );
        }
        self.lanes.check(report);
        self.floors.check(report);
    }
}

impl Lanes {
    fn check(&self, report: &mut Report) {
        if !(1..=MOST_LANES).contains(&self.per_server) {
            report.about("database.lanes.per_server", "must be 1 or 2");
        }
        if !(1..=LARGEST_BATCH).contains(&self.batch_keys) {
            report.about(
                "database.lanes.batch_keys",
                format!("must lie between 1 and {LARGEST_BATCH}"),
            );
        }
        if !(self.batch_keys..=LONGEST_QUEUE).contains(&self.queue_keys) {
            report.about(
                "database.lanes.queue_keys",
                format!("must lie between `database.lanes.batch_keys` and {LONGEST_QUEUE}"),
            );
        }
        if self.batch_bytes < SMALLEST_BYTES {
            report.about("database.lanes.batch_bytes", "must not be below `64KiB`");
        }
        if !(SMALLEST_BYTES..=LARGEST_QUEUE).contains(&self.queue_bytes) {
            report.about(
                "database.lanes.queue_bytes",
                "must lie between `64KiB` and `128MiB`",
            );
        }
    }
}

impl Floors {
    fn check(&self, report: &mut Report) {
        if self.poll_min < SHORTEST_POLL {
            report.about("database.floors.poll_min", "must not be below `5ms`");
        }
        if !(self.poll_min..=LONGEST_POLL).contains(&self.poll_max) {
            report.about(
                "database.floors.poll_max",
                "must lie between `database.floors.poll_min` and `200ms`: several questions must fit into 400 ms",
            );
        }
        if !(1..=MOST_PROBES).contains(&self.probes_per_second) {
            report.about(
                "database.floors.probes_per_second",
                format!("must lie between 1 and {MOST_PROBES}"),
            );
        }
    }
}
