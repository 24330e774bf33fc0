//! The part an upload is filling: in memory up to 16 MiB, above that in an unlinked file.

use crate::content::blocking;
use crate::{Content, Error, Spooled};
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Parts above this many bytes are spooled: twice the size of the first parts, so that everything
/// up to 8 GiB stays in memory and off the disk.
pub const SPOOL_ABOVE: u64 = 16 << 20;
/// What a spooled part gathers in memory before it is written.
const SPOOL_WRITE: usize = 1 << 20;

/// A part being filled.
#[derive(Debug)]
pub struct PartBuffer {
    home: Home,
    len: u64,
}

#[derive(Debug)]
enum Home {
    Memory(BytesMut),
    File {
        file: Arc<File>,
        gathered: BytesMut,
        written: u64,
    },
}

impl PartBuffer {
    /// What a part of `size` bytes holds in memory at most: what to reserve for it.
    pub fn memory_of(size: u64) -> u64 {
        if size > SPOOL_ABOVE {
            SPOOL_WRITE as u64
        } else {
            size
        }
    }

    /// Room for at most `size` bytes; a spool is made in the folder `spool`.
    pub fn new(size: u64, spool: &Path) -> Result<Self, Error> {
        if size <= SPOOL_ABOVE {
            let capacity = usize::try_from(size).expect("at most SPOOL_ABOVE");
            return Ok(Self {
                home: Home::Memory(BytesMut::with_capacity(capacity)),
                len: 0,
            });
        }
        let file = tempfile::tempfile_in(spool).map_err(|cause| Error::io("spool", cause))?;
        let gathered = BytesMut::with_capacity(SPOOL_WRITE);
        Ok(Self {
            home: Home::File {
                file: Arc::new(file),
                gathered,
                written: 0,
            },
            len: 0,
        })
    }

    /// How many bytes it holds.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes. After an error, or dropped in between, the buffer is of no more use.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.len += bytes.len() as u64;
        match &mut self.home {
            Home::Memory(buffer) => {
                buffer.extend_from_slice(bytes);
                Ok(())
            }
            Home::File {
                file,
                gathered,
                written,
            } => {
                gathered.extend_from_slice(bytes);
                if gathered.len() >= SPOOL_WRITE {
                    write_out(file, gathered, written).await?;
                }
                Ok(())
            }
        }
    }

    /// The bytes, ready for a store.
    pub async fn into_content(self) -> Result<Content, Error> {
        match self.home {
            Home::Memory(buffer) => Ok(Content::Bytes(buffer.freeze())),
            Home::File {
                file,
                mut gathered,
                mut written,
            } => {
                write_out(&file, &mut gathered, &mut written).await?;
                Ok(Content::Spooled(Spooled {
                    file,
                    len: self.len,
                }))
            }
        }
    }
}

async fn write_out(
    file: &Arc<File>,
    gathered: &mut BytesMut,
    written: &mut u64,
) -> Result<(), Error> {
    let piece: Bytes = gathered.split().freeze();
    let (file, at) = (Arc::clone(file), *written);
    *written += piece.len() as u64;
    blocking(move || {
        file.write_all_at(&piece, at)
            .map_err(|cause| Error::io("spool", cause))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    #[tokio::test]
    async fn a_spooled_part_comes_back_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let mut buffer = PartBuffer::new(SPOOL_ABOVE + 1, folder.path()).unwrap();
        let mut sent = Vec::new();
        for round in 0..40_u8 {
            let piece = vec![round; 70_001];
            buffer.append(&piece).await.unwrap();
            sent.extend_from_slice(&piece);
        }
        let Content::Spooled(spooled) = buffer.into_content().await.unwrap() else {
            panic!("a part above the bound is spooled")
        };
        assert_eq!(spooled.len, sent.len() as u64);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "the file has no name"
        );
        let read: Vec<Bytes> = spooled.stream().try_collect().await.unwrap();
        assert!(read.concat() == sent);
    }
}
