//! Bytes on their way into a store: in memory, or in a file that has no name.

use crate::Error;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How much of a file is read at once: large enough that the hop to a blocking thread (about 10 µs) does not count.
const READ_SIZE: u64 = 256 << 10;

/// The bytes of an object or of a part. Cheap to clone, so a call can be made again.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In an unlinked file.
    Spooled(Spooled),
}

/// An unlinked file; its room is given back when the last clone is dropped, also by kill -9.
#[derive(Debug, Clone)]
pub struct Spooled {
    pub(crate) file: Arc<File>,
    pub(crate) len: u64,
}

impl Content {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Spooled(spooled) => spooled.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes from the start.
    pub fn stream(&self) -> BoxStream<'static, Result<Bytes, Error>> {
        match self {
            Self::Bytes(bytes) => stream::iter([Ok(bytes.clone())]).boxed(),
            Self::Spooled(spooled) => spooled
                .stream()
                .map_err(|cause| Error::io("spool", cause))
                .boxed(),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl Spooled {
    /// All bytes from the start, whatever other readers do.
    pub(crate) fn stream(&self) -> BoxStream<'static, Result<Bytes, io::Error>> {
        read_file(Arc::clone(&self.file), 0, self.len)
    }
}

/// Streams `len` bytes of a file from `start`, holding one piece at a time.
pub(crate) fn read_file(
    file: Arc<File>,
    start: u64,
    len: u64,
) -> BoxStream<'static, Result<Bytes, io::Error>> {
    let end = start + len;
    stream::try_unfold(start, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at >= end {
                return Ok(None);
            }
            let wanted = usize::try_from((end - at).min(READ_SIZE)).expect("at most READ_SIZE");
            let piece = tokio::task::spawn_blocking(move || {
                let mut piece = BytesMut::zeroed(wanted);
                file.read_exact_at(&mut piece, at).map(|()| piece.freeze())
            })
            .await
            .map_err(io::Error::other)??;
            Ok(Some((piece, at + wanted as u64)))
        }
    })
    .boxed()
}

/// Runs blocking work of a store on the runtime's blocking threads.
///
/// Dropped, the work still runs to its end.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(Error::io("run", io::Error::other(ended))),
    }
}
