//! A bounded cache of immutable bytes by digest.
//!
//! It never decides presence or rights: a caller has shown both by a fresh read before it looks
//! here. What it is given may be turned away, so callers hand on the bytes they hold.

use bytes::Bytes;
use moka::sync::Cache;
use portolan_oci::Digest;

/// What one entry costs besides its bytes: key, hash table and policy nodes (moka's own estimate is about this).
const ENTRY_OVERHEAD: usize = 200;

/// Bytes by digest, bounded by their sum.
#[derive(Debug)]
pub(crate) struct ContentCache(Cache<Digest, Bytes>);

impl ContentCache {
    /// At most `max_bytes` of content and overhead.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let weigher = |_: &Digest, content: &Bytes| {
            u32::try_from(content.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .max_capacity(max_bytes)
                .weigher(weigher)
                .build(),
        )
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.0.get(digest)
    }

    pub(crate) fn insert(&self, digest: Digest, content: Bytes) {
        self.0.insert(digest, content);
    }
}
