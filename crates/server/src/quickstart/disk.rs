//! Room on the disk, asked before a step that cannot stop half-way.

use std::path::Path;

use super::error::Error;

/// Free bytes that `initdb` must find: a fresh cluster of PostgreSQL 15 to 18 takes 39 to 47 MiB with its first
/// 16 MiB of log; twice that leaves room for the second segment and the schema.
pub(super) const INITDB: u64 = 96 << 20;

/// Free bytes that a start must find: one log segment of 16 MiB, without which recovery cannot end.
pub(super) const START: u64 = 16 << 20;

/// Refuses when the disk of `folder` has less than `needed` bytes for us.
pub(super) fn require(folder: &Path, needed: u64) -> Result<(), Error> {
    match free(folder) {
        Some(bytes) if bytes < needed => Err(full(folder, needed)),
        // A file system that does not tell is not in the way.
        _ => Ok(()),
    }
}

/// The error for a disk that turned out to be full.
pub(super) fn full(folder: &Path, needed: u64) -> Error {
    Error::DiskFull {
        path: folder.to_path_buf(),
        free_mib: free(folder).unwrap_or_default() >> 20,
        needed_mib: needed >> 20,
    }
}

/// Whether a program's output says that the disk was full (its messages are English: `LC_ALL=C`).
pub(super) fn is_full(output: &str) -> bool {
    output.contains("No space left on device") || output.contains("Disk quota exceeded")
}

fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
