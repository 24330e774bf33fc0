//! PUT: the last bytes, the digest verified, and the object put together without a copy.

use super::body::BodyReader;
use super::claim::Purpose;
use super::commit::Assembled;
use super::session::Session;
use super::{BlobCommitted, Request};
use crate::{Error, Registry};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use portolan_blobs::{Content, Hasher, Part, PartTag};
use portolan_metadata::StorageKey;
use portolan_metadata::blobs::INLINE_MAX;
use portolan_metadata::uploads::StoredPart;
use portolan_oci::{Algorithm, Digest};

impl Registry {
    /// Claims, receives the rest, verifies and commits. A failure leaves the upload as it was,
    /// unless its parts are past use.
    pub(super) async fn finish(
        &self,
        request: &Request,
        start: Option<u64>,
        mut body: BodyReader,
        digest: Digest,
    ) -> Result<BlobCommitted, Error> {
        let mut session = self.claim_upload(request, Purpose::Finish, start).await?;
        let held = session.held;
        let assemble = Box::pin(self.assemble(request, &mut session, &mut body, digest));
        let assembled = self.while_held(request, held, assemble).await;
        session.filling = None;
        // Not under the heartbeat: the commit takes the row, and that is not a lost claim.
        let outcome = match assembled {
            Ok(assembled) => self.commit_upload(request, &session, &assembled).await,
            Err(failure) => Err(failure),
        };
        if outcome.is_err() {
            // The failure is the answer: a claim that cannot be let go of ends by itself, and an
            // upload that cannot be removed expires.
            let _ = if session.past_use {
                self.remove_upload(request).await
            } else {
                self.note_nothing(request, &session).await
            };
        }
        outcome
    }

    async fn assemble(
        &self,
        request: &Request,
        session: &mut Session,
        body: &mut BodyReader,
        digest: Digest,
    ) -> Result<Assembled, Error> {
        while let Some(bytes) = body.next().await? {
            session
                .write(self, request, bytes, body.remaining())
                .await?;
        }
        // Known before anything else is stored, in all but two cases: the upload was hashed with
        // another algorithm, or its hash state could not be continued.
        let computed = session.hasher.as_ref().map(Hasher::digest);
        let computed = computed.filter(|found| found.algorithm() == digest.algorithm());
        if computed.is_some_and(|found| found != digest) {
            return Err(Error::DigestMismatch { expected: digest });
        }
        let verified = computed.is_some();
        if session.part_count == 0 {
            assemble_whole(session, digest, verified).await
        } else {
            self.assemble_parts(request, session, digest, verified)
                .await
        }
    }

    /// Several parts: the last one is stored, and the store makes them one object.
    async fn assemble_parts(
        &self,
        request: &Request,
        session: &mut Session,
        digest: Digest,
        mut verified: bool,
    ) -> Result<Assembled, Error> {
        let total = session.total();
        let (key, _) = session.multipart.clone().ok_or(Error::UploadUnknown)?;
        match self.complete(request, session).await {
            Ok(()) => {}
            // Completed by a request that died, or failed, before its commit: then it is all there.
            Err(Error::Store(portolan_blobs::Error::MultipartUnknown))
                if session.store.size(&key).await? == Some(total) =>
            {
                verified = false;
            }
            Err(Error::Store(
                cause @ (portolan_blobs::Error::MultipartUnknown
                | portolan_blobs::Error::PartMismatch),
            )) => {
                let id = request.scope.id;
                tracing::error!(%id, error = %cause, "the parts of upload {id} are not in the store");
                session.past_use = true;
                return Err(Error::UploadUnknown);
            }
            Err(other) => return Err(other),
        }
        if !verified {
            let bytes = session.store.get(&key, None).await?.bytes;
            if hash(bytes, digest.algorithm()).await? != digest {
                // Complete, so that no further byte can be added to it.
                session.past_use = true;
                return Err(Error::DigestMismatch { expected: digest });
            }
        }
        Ok(Assembled {
            digest,
            size: total,
            key,
            content: None,
        })
    }

    async fn complete(&self, request: &Request, session: &mut Session) -> Result<(), Error> {
        if session.tail.is_some() {
            // Read once more, as the beginning of the last part. At most 64 MiB.
            session.open(self, Some(0)).await?;
        }
        session.store_part(self, request).await?;
        let parts = session.noted_parts.iter().chain(&session.new_parts);
        let named: Vec<Part> = parts.map(named).collect();
        let (key, id) = session.multipart.clone().ok_or(Error::UploadUnknown)?;
        Ok(session.store.complete_multipart(&key, &id, &named).await?)
    }
}

/// All bytes fit the first part: they are, or become, one plain object.
async fn assemble_whole(
    session: &mut Session,
    digest: Digest,
    verified: bool,
) -> Result<Assembled, Error> {
    let size = session.total();
    if let (None, Some(tail)) = (&session.filling, session.tail.clone()) {
        // Nothing came after the tail: its object is the blob's.
        let small = size <= INLINE_MAX as u64;
        let content = if small {
            Some(read(session, &tail.key).await?)
        } else {
            None
        };
        if !verified {
            let found = if let Some(content) = &content {
                Digest::of(digest.algorithm(), content)
            } else {
                let bytes = session.store.get(&tail.key, None).await?.bytes;
                hash(bytes, digest.algorithm()).await?
            };
            if found != digest {
                return Err(Error::DigestMismatch { expected: digest });
            }
        }
        return Ok(Assembled {
            digest,
            size,
            key: tail.key,
            content,
        });
    }
    let (content, reserved) = match session.filling.take() {
        Some(filling) => {
            let (buffer, reserved) = filling.into_parts();
            (buffer.into_content().await?, Some(reserved))
        }
        None => (Content::from(Bytes::new()), None),
    };
    if !verified && hash(content.stream(), digest.algorithm()).await? != digest {
        return Err(Error::DigestMismatch { expected: digest });
    }
    let inline = match &content {
        Content::Bytes(bytes) if bytes.len() <= INLINE_MAX => Some(bytes.clone()),
        Content::Bytes(_) | Content::Spooled(_) => None,
    };
    // The store itself verifies a sha256.
    let key = session.store_pending(content, Some(&digest)).await?;
    drop(reserved);
    Ok(Assembled {
        digest,
        size,
        key,
        content: inline,
    })
}

fn named(part: &StoredPart) -> Part {
    Part {
        number: part.number,
        tag: PartTag::new(part.tag.clone()),
        size: part.size,
    }
}

async fn read(session: &Session, key: &StorageKey) -> Result<Bytes, Error> {
    let mut stream = session.store.get(key, None).await?.bytes;
    let mut content = BytesMut::new();
    while let Some(piece) = stream.try_next().await? {
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}

async fn hash(
    mut bytes: BoxStream<'static, Result<Bytes, portolan_blobs::Error>>,
    algorithm: Algorithm,
) -> Result<Digest, Error> {
    let mut hasher = Hasher::new(algorithm);
    while let Some(piece) = bytes.try_next().await? {
        hasher.update(&piece);
    }
    Ok(hasher.digest())
}
