//! The knobs of the HTTP face of the registry, each with its unit and reason.

use std::time::Duration;

/// Filled from the configuration; the defaults are meant for production.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Most bytes of a manifest. The specification asks for at least 4 MB, and containerd refuses more
    /// than 4 * 1048 * 1048 bytes, so the configuration allows no more than the default.
    pub(crate) manifest_max: usize,
    /// Longest time in which a manifest's body must have come. Too short breaks slow lines, too long
    /// lets idle clients hold buffers.
    pub(crate) manifest_deadline: Duration,
    /// Most bytes of an unwanted body that are read so that its sender sees the answer. Above the chunks that
    /// clients send: those are told where to go on.
    pub(crate) linger_bytes: u64,
    /// Longest time for that; a client that stalls meanwhile waits so long for its refusal.
    pub(crate) linger_time: Duration,
    /// What chunking clients are told to send at least, in bytes (`OCI-Chunk-Min-Length`): an S3 part is
    /// not smaller. Smaller chunks are taken all the same.
    pub(crate) chunk_min: u64,
    /// Whether large blobs are fetched from the store directly.
    pub(crate) redirect: Redirect,
}

/// How large blobs reach the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// 307 to a presigned URL, where the store has such a thing.
    Presigned,
    /// Streamed through this process.
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            manifest_max: 4 << 20,
            manifest_deadline: Duration::from_mins(1),
            linger_bytes: 8 << 20,
            linger_time: Duration::from_secs(5),
            chunk_min: 5 << 20,
            redirect: Redirect::Presigned,
        }
    }
}
