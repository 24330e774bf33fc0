//! `[limits]` and `[jobs]`: how much, and how long.

use super::report::Report;
use super::setting::settings;
use super::values::ByteSize;

settings! {
    /// How much one request may carry, and how much is kept in memory to answer the next.
    pub(crate) struct Limits {
        /// Largest manifest that can be pushed. Clients refuse to pull larger ones than 4 MiB, so this cannot be raised above that.
        pub(crate) manifest: ByteSize = ByteSize::mib(4),
        /// Most entries of one page of tags or of the catalog, whatever `n` a client asks for.
        pub(crate) page: u32 = 10_000,
        /// Whether an image may be pushed whose layers are not all in its repository. Refusing finds a broken push while somebody is there to repeat it.
        pub(crate) sparse_images: bool = false,
        /// Memory for manifests. They are a few KiB each, so 32 MiB holds the hot ten thousand.
        pub(crate) manifest_cache: ByteSize = ByteSize::mib(32),
        /// Memory for small blobs, which are answered without asking the store.
        pub(crate) blob_cache: ByteSize = ByteSize::mib(16),
    }
}

settings! {
    /// Work in the background (role `worker`).
    pub(crate) struct Jobs {
        /// How many jobs one process runs at a time. Each uses the one background connection only in moments.
        pub(crate) concurrency: u32 = 2,
    }
}

/// The specification demands that registries take manifests of 4 MB.
const SMALLEST_MANIFEST_LIMIT: u64 = 4_000_000;

impl Limits {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if self.manifest.bytes() < SMALLEST_MANIFEST_LIMIT || self.manifest > ByteSize::mib(4) {
            report.about("limits.manifest", "must lie between `4000000B` and `4MiB`");
        }
        if self.page == 0 {
            report.about("limits.page", "must be more than zero");
        }
    }
}

impl Jobs {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if self.concurrency == 0 {
            report.about(
                "jobs.concurrency",
                "must be more than zero; leave out the role `worker` instead",
            );
        }
    }
}
