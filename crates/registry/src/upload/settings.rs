//! The engine's bounds, and what all its uploads share.

use super::body::Pace;
use super::metrics::UploadMetrics;
use portolan_blobs::{ByteBudget, PartSchedule};
use prometheus_client::registry::Registry;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Memory of all uploads together: 24 parts of 8 MiB at once, and well under the 256 MiB that eight
/// large uploads may add to an idle process.
const MEMORY: u32 = 192 << 20;
/// Disk of all spooled parts together: two of the largest size (1,280 MiB).
const SPOOL_SPACE: u32 = 2_560 << 20;
/// How long an upload lives after its last request; as long as the link that a committed blob gets.
const TIME_TO_LIVE: Duration = Duration::from_hours(24);
/// How long a claim lasts without a sign of life: a client whose server died can go on after this.
const LEASE: Duration = Duration::from_mins(1);
/// A third of the lease, so that two signs of life may fail.
const RENEW: Duration = Duration::from_secs(20);
/// How long a request waits for an upload that another request still holds. A client that lost its
/// connection comes back at once, while its former request is writing down what it has.
const CLAIM_WAIT: Duration = Duration::from_secs(3);

/// Every bound of uploads.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// How large each part is.
    pub schedule: PartSchedule,
    /// Memory of all parts being filled.
    pub memory: ByteBudget,
    /// Disk of all spooled parts being filled.
    pub spool_space: ByteBudget,
    /// The folder of spooled parts, which have no names there.
    pub spool: PathBuf,
    /// How long an upload lives after its last request.
    pub time_to_live: Duration,
    /// How claims work.
    pub claims: ClaimSettings,
    /// How slow a body may be.
    pub pace: Pace,
}

/// How claims work.
#[derive(Debug, Clone, Copy)]
pub struct ClaimSettings {
    /// How long one lasts without a sign of life.
    pub lease: Duration,
    /// How often its holder gives one.
    pub renew: Duration,
    /// How long a request waits for another's to end.
    pub wait: Duration,
}

impl UploadSettings {
    /// The bounds for production, with parts spooled to `spool`.
    pub fn new(spool: PathBuf) -> Self {
        Self {
            schedule: PartSchedule::standard(),
            memory: ByteBudget::new(MEMORY),
            spool_space: ByteBudget::new(SPOOL_SPACE),
            spool,
            time_to_live: TIME_TO_LIVE,
            claims: ClaimSettings {
                lease: LEASE,
                renew: RENEW,
                wait: CLAIM_WAIT,
            },
            pace: Pace::default(),
        }
    }
}

/// What all uploads of a process share.
#[derive(Debug)]
pub struct Uploads {
    settings: UploadSettings,
    tasks: TaskTracker,
    metrics: UploadMetrics,
}

impl Uploads {
    /// No uploads yet.
    pub fn new(settings: UploadSettings) -> Self {
        Self {
            settings,
            tasks: TaskTracker::new(),
            metrics: UploadMetrics::default(),
        }
    }

    /// Puts what is counted onto the metrics page.
    pub fn register(&self, page: &mut Registry) {
        self.metrics.register(page);
    }

    /// The bounds.
    pub fn settings(&self) -> &UploadSettings {
        &self.settings
    }

    pub(super) fn metrics(&self) -> &UploadMetrics {
        &self.metrics
    }

    pub(super) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(work)
    }

    pub(super) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}
