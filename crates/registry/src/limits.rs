//! Every bound of the registry's own work, with its unit and its reason.

use std::time::Duration;

/// Bounds; the configuration fills them, the defaults are meant for production.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of manifests kept in memory. Manifests are a few KiB, so 32 MiB holds the hot ten thousand.
    pub manifest_cache_bytes: u64,
    /// Bytes of small blobs (configs) kept in memory.
    pub small_blob_cache_bytes: u64,
    /// Blobs up to this many bytes are answered by us and never redirected: a round trip to the store
    /// costs a client more than the bytes (64 KiB holds practically every image config).
    pub small_blob_max: u64,
    /// Most tags that one request may set. The specification asks for at least 10.
    pub tags_per_push: usize,
    /// Page size of the tag list and the catalog where the client names a larger one or none.
    pub page_max: usize,
    /// Most referrers in a page, fetched at once; annotations make the rows large.
    pub referrers_page: usize,
    /// Bytes of descriptors in one page of referrers: clients refuse an index above 4 MiB.
    pub referrers_page_bytes: usize,
    /// What becomes of an image whose layers are not all here.
    pub sparse_images: SparseImages,
    /// Repositories looked at for a mount that names no source: as many of those that reference the blob, and of those
    /// that link it. Every such mount looks that often, found or not: some tenths of a millisecond of the database.
    pub mount_probe: usize,
    /// How old an answer about what is not public may be while the primary is lost: so long can a right live on that was
    /// just taken away.
    pub max_stale: Duration,
}

/// Whether a manifest may name blobs that its repository does not have.
///
/// The specification leaves it to the registry (distribution-spec, "Pushing Manifests"). Refusing
/// finds a broken push while somebody is there to repeat it; a mirror of parts wants to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparseImages {
    /// `MANIFEST_BLOB_UNKNOWN`, naming all that is missing.
    Refuse,
    /// Stored; a blob that comes later is referenced from then on.
    Accept,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_cache_bytes: 32 << 20,
            small_blob_cache_bytes: 16 << 20,
            small_blob_max: 64 << 10,
            tags_per_push: 100,
            page_max: 10_000,
            referrers_page: 500,
            referrers_page_bytes: 3 << 20,
            sparse_images: SparseImages::Refuse,
            mount_probe: 32,
            max_stale: Duration::from_mins(15),
        }
    }
}
