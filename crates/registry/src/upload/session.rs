//! One request's work on an upload: bytes become parts of an object.
//!
//! What the row says (`noted`) and what this request has stored meanwhile are kept apart, and what
//! is only in the part being filled counts for neither: so at any moment the request can end and
//! write down exactly what is stored, or leave the row as it was.

use super::Request;
use crate::{Error, Registry};
use bytes::Bytes;
use futures::TryStreamExt;
use portolan_blobs::{
    BlobStore, ByteBudget, Content, Hasher, MultipartId, PartBuffer, Reservation, SPOOL_ABOVE,
};
use portolan_metadata::uploads::{Held, StoredPart, Tail, Upload};
use portolan_metadata::{StorageKey, StoreId};
use portolan_oci::{Digest, UploadId};
use std::sync::Arc;
use tokio::time::Instant;

/// An upload while a request holds it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) held: Held,
    pub(super) store_id: StoreId,
    pub(super) store: Arc<dyn BlobStore>,
    /// What the row says: where a request that fails goes back to.
    pub(super) noted: Noted,
    /// The digest of all bytes so far; `None` when its saved state could not be read.
    pub(super) hasher: Option<Hasher>,
    /// The multipart upload in the store, once there is one.
    pub(super) multipart: Option<(StorageKey, MultipartId)>,
    /// A key whose multipart upload was begun by a request that died before it learned the id.
    pub(super) abandoned: Option<StorageKey>,
    /// How many parts are stored, and where the last one ends.
    pub(super) part_count: u32,
    pub(super) parts_end: u64,
    /// The bytes after the last part, in an object of their own.
    pub(super) tail: Option<Tail>,
    /// The hash state of all stored bytes, if known.
    pub(super) stored_state: Option<Vec<u8>>,
    /// The parts that are in the row, for a request that ends the upload.
    pub(super) noted_parts: Vec<StoredPart>,
    /// Parts stored and not yet in the row.
    pub(super) new_parts: Vec<StoredPart>,
    /// The key this claim may write to, noted in the row; `None` once it was tried.
    pub(super) pending: Option<StorageKey>,
    /// That key, when writing to it failed: something may still arrive there.
    pub(super) spoiled: Option<StorageKey>,
    /// The part being filled.
    pub(super) filling: Option<Filling>,
    /// Its parts are gone, or are an object already: nothing can be added, and it has to be removed.
    pub(super) past_use: bool,
    /// When the row was last written.
    pub(super) noted_at: Instant,
}

/// What the row says.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) received: u64,
    pub(super) hash_state: Option<Vec<u8>>,
    pub(super) tail: Option<Tail>,
}

/// A part being filled, and the memory it may use.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) buffer: PartBuffer,
    size: u64,
    reserved: Reserved,
}

/// What a part being filled, or on its way to the store, holds of the budgets.
#[derive(Debug)]
pub(super) struct Reserved {
    _memory: Reservation,
    _disk: Option<Reservation>,
}

impl Filling {
    pub(super) fn into_parts(self) -> (PartBuffer, Reserved) {
        (self.buffer, self.reserved)
    }
}

impl Session {
    pub(super) fn new(
        registry: &Registry,
        id: UploadId,
        upload: Upload,
        parts: Vec<StoredPart>,
        pending: StorageKey,
    ) -> Result<Self, Error> {
        let tail_size = upload.tail.as_ref().map_or(0, |tail| tail.size);
        let hasher = hasher(&upload);
        if hasher.is_none() {
            tracing::info!(%id, "hash state of upload {id} cannot be continued: its bytes will be read again");
        }
        let (multipart, abandoned) = match upload.multipart {
            None => (None, None),
            Some(begun) => match begun.id {
                Some(id) => (Some((begun.key, MultipartId::new(id))), None),
                None => (None, Some(begun.key)),
            },
        };
        Ok(Self {
            held: Held {
                id,
                version: upload.version,
            },
            store_id: upload.store,
            store: Arc::clone(registry.stores().get(upload.store)?),
            hasher,
            multipart,
            abandoned,
            part_count: upload.part_count,
            parts_end: upload.received - tail_size,
            tail: upload.tail.clone(),
            stored_state: upload.hash_state.clone(),
            noted_parts: parts,
            new_parts: Vec::new(),
            pending: Some(pending),
            spoiled: None,
            filling: None,
            past_use: false,
            noted_at: Instant::now(),
            noted: Noted {
                received: upload.received,
                hash_state: upload.hash_state,
                tail: upload.tail,
            },
        })
    }

    /// How many bytes are stored.
    pub(super) fn stored(&self) -> u64 {
        self.parts_end + self.tail.as_ref().map_or(0, |tail| tail.size)
    }

    /// How many bytes the upload has with what is being filled; that begins with the tail.
    pub(super) fn total(&self) -> u64 {
        let filled = self
            .filling
            .as_ref()
            .map(|filling| self.parts_end + filling.buffer.len());
        filled.unwrap_or_else(|| self.stored())
    }

    /// Takes the next bytes of the body, of which `remaining` more are announced to follow.
    pub(super) async fn write(
        &mut self,
        registry: &Registry,
        request: &Request,
        mut bytes: Bytes,
        remaining: Option<u64>,
    ) -> Result<(), Error> {
        while !bytes.is_empty() {
            let announced = remaining.map(|more| more + bytes.len() as u64);
            self.open(registry, announced).await?;
            let filling = self.filling.as_mut().expect("a part was opened");
            let room = filling.size - filling.buffer.len();
            if room == 0 {
                // Only now, when there is more: a layer of exactly one part needs no multipart upload.
                self.store_part(registry, request).await?;
                continue;
            }
            let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let piece = bytes.split_to(fits);
            registry.uploads().metrics().received(piece.len());
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&piece);
            }
            filling.buffer.append(&piece).await?;
        }
        Ok(())
    }

    /// Opens the next part, with the tail as its beginning, and with the memory it needs for
    /// itself and at most `announced` bytes.
    pub(super) async fn open(
        &mut self,
        registry: &Registry,
        announced: Option<u64>,
    ) -> Result<(), Error> {
        if self.filling.is_some() {
            return Ok(());
        }
        let settings = registry.uploads().settings();
        let limit = settings.schedule.total_max();
        let whole = settings.schedule.size_of(self.part_count + 1);
        let whole = whole.ok_or(Error::BlobTooLarge { limit })?;
        let tail_size = self.tail.as_ref().map_or(0, |tail| tail.size);
        let needed = announced.map_or(whole, |announced| whole.min(tail_size + announced));
        // One after the other, and nothing of the first kind held by who waits for it: disk is
        // only ever waited for before memory.
        let disk = spool_space(&settings.spool_space, needed).await;
        let memory = settings.memory.reserve(PartBuffer::memory_of(needed)).await;
        let reserved = Reserved {
            _memory: memory,
            _disk: disk,
        };
        let buffer = PartBuffer::new(needed, &settings.spool)?;
        let mut filling = Filling {
            buffer,
            size: needed,
            reserved,
        };
        if let Some(tail) = &self.tail {
            let mut stream = self.store.get(&tail.key, None).await?.bytes;
            while let Some(piece) = stream.try_next().await? {
                filling.buffer.append(&piece).await?;
            }
        }
        self.filling = Some(filling);
        Ok(())
    }

    /// Stores what was filled as the next part.
    pub(super) async fn store_part(
        &mut self,
        registry: &Registry,
        request: &Request,
    ) -> Result<(), Error> {
        let Some(filling) = self.filling.take() else {
            return Ok(());
        };
        let (buffer, reserved) = filling.into_parts();
        let content = buffer.into_content().await?;
        let size = content.len();
        let number = self.part_count + 1;
        let (key, id) = self.multipart(registry, request).await?;
        let stored = self
            .store
            .put_part(&key, &id, number, self.parts_end, content.clone())
            .await;
        let tag = match stored {
            // Completed by a request whose commit failed: nothing that counts is in it yet.
            Err(portolan_blobs::Error::MultipartUnknown) if self.part_count == 0 => {
                self.abandoned = Some(key);
                self.multipart = None;
                let (key, id) = self.multipart(registry, request).await?;
                self.store
                    .put_part(&key, &id, number, self.parts_end, content)
                    .await?
            }
            other => other?,
        };
        drop(reserved);
        registry.uploads().metrics().part();
        self.new_parts.push(StoredPart {
            number,
            tag: tag.as_str().to_owned(),
            size,
        });
        self.part_count = number;
        self.parts_end += size;
        self.tail = None;
        self.stored_state = self.hasher.as_ref().map(Hasher::save);
        Ok(())
    }

    /// The multipart upload, begun when it is first needed.
    async fn multipart(
        &mut self,
        registry: &Registry,
        request: &Request,
    ) -> Result<(StorageKey, MultipartId), Error> {
        if let Some(begun) = &self.multipart {
            return Ok(begun.clone());
        }
        let key = StorageKey::fresh(registry.random_bytes());
        let abandoned = self.abandoned.take();
        registry
            .note_multipart(request, self, &key, abandoned)
            .await?;
        let id = self.store.begin_multipart(&key).await?;
        self.multipart = Some((key.clone(), id.clone()));
        Ok((key, id))
    }

    /// Stores an object under the key that the row has for this request, which the attempt uses
    /// up, whatever comes of it: a key is never written twice.
    pub(super) async fn store_pending(
        &mut self,
        content: Content,
        expected: Option<&Digest>,
    ) -> Result<StorageKey, Error> {
        let key = self
            .pending
            .take()
            .expect("a request stores one object of its own at most");
        if let Err(cause) = self.store.put(&key, content, expected).await {
            self.spoiled = Some(key);
            return Err(cause.into());
        }
        Ok(key)
    }

    /// Stores what is being filled at the end of a request: aside, or as a part where it is too
    /// long to be read again by the next one.
    pub(super) async fn set_aside(
        &mut self,
        registry: &Registry,
        request: &Request,
    ) -> Result<(), Error> {
        let schedule = &registry.uploads().settings().schedule;
        let Some(size) = self.filling.as_ref().map(|filling| filling.buffer.len()) else {
            return Ok(());
        };
        if !schedule.keeps_aside(self.part_count + 1, size) {
            return self.store_part(registry, request).await;
        }
        let Some(filling) = self.filling.take() else {
            return Ok(());
        };
        let (buffer, reserved) = filling.into_parts();
        let key = self
            .store_pending(buffer.into_content().await?, None)
            .await?;
        drop(reserved);
        self.tail = Some(Tail { key, size });
        self.stored_state = self.hasher.as_ref().map(Hasher::save);
        Ok(())
    }
}

/// Goes on with the saved digest. None for bytes whose state is lost or cannot be read.
fn hasher(upload: &Upload) -> Option<Hasher> {
    match &upload.hash_state {
        None if upload.received == 0 => Some(Hasher::new(upload.algorithm)),
        None => None,
        Some(state) => Hasher::restore(state, upload.algorithm, upload.received).ok(),
    }
}

async fn spool_space(budget: &ByteBudget, needed: u64) -> Option<Reservation> {
    if needed > SPOOL_ABOVE {
        Some(budget.reserve(needed).await)
    } else {
        None
    }
}
