//! Pulls: one fresh read resolves the name, the digest and the right; the bytes come by digest.

use crate::{Caller, Error, Freshness, Registry, Source};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use portolan_blobs::{BlobStream, StorageKey, Uri};
use portolan_metadata::blobs::{BlobKey, BlobRow, ResolveBlob};
use portolan_metadata::manifest_contents::{Payload, PayloadKey};
use portolan_metadata::manifests::{DigestKey, ManifestRow, ResolveDigest, ResolveDigestHead};
use portolan_metadata::tags::{ResolveTag, TagKey};
use portolan_metadata::{Access, Principal, RepositoryId, StoreId};
use portolan_oci::{Digest, MediaType, Reference, RepositoryName};
use std::ops::RangeInclusive;
use std::time::SystemTime;

/// How much longer than now a blob must stay when a client is told that it is there: a push that
/// skips the blob because of this answer has so long to name it in a manifest.
const PRESENCE_SECONDS: i64 = 2 * 60 * 60;

/// What the answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The content is wanted.
    Get,
    /// Only whether it is there, and will stay for a while.
    Head,
}

/// A manifest found.
#[derive(Debug, Clone)]
pub struct ManifestAnswer {
    /// In which repository; of this answer only, for its count.
    pub repository: RepositoryId,
    /// Its digest.
    pub digest: Digest,
    /// As declared at its push.
    pub media_type: MediaType,
    /// Bytes of the payload.
    pub size: u64,
    /// When it was pushed to this repository first.
    pub created_at: SystemTime,
    /// The bytes as pushed; `None` for [`Purpose::Head`].
    pub payload: Option<Bytes>,
    /// How current it is that the manifest is there, and under this name.
    pub freshness: Freshness,
}

impl ManifestAnswer {
    fn with(self, payload: Bytes) -> Self {
        Self {
            payload: Some(payload),
            ..self
        }
    }
}

/// A blob found.
#[derive(Debug, Clone)]
pub struct BlobAnswer {
    /// Its digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// When its bytes were committed first.
    pub created_at: SystemTime,
    /// Where the bytes are.
    pub source: BlobSource,
    /// How current it is that the blob is there.
    pub freshness: Freshness,
}

/// Where a blob's bytes come from.
#[derive(Debug, Clone)]
pub enum BlobSource {
    /// They are here: a small blob, never redirected.
    Bytes(Bytes),
    /// In a store.
    Stored {
        /// Which one.
        store: StoreId,
        /// Under which key.
        key: StorageKey,
    },
}

impl Registry {
    /// Finds a manifest by tag or digest.
    pub async fn manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        reference: &Reference,
        purpose: Purpose,
    ) -> Result<ManifestAnswer, Error> {
        let found = self
            .find_manifest(caller, name, reference, purpose, Source::Any)
            .await?;
        if purpose == Purpose::Head {
            return Ok(found);
        }
        if let Some(payload) = self.payload(&found).await? {
            return Ok(found.with(payload));
        }
        // Deleted and collected meanwhile; or a replica showed a push that the primary does not show yet, and another
        // replica was asked for the bytes. What the primary shows it has the bytes of.
        let found = self
            .find_manifest(caller, name, reference, purpose, Source::Primary)
            .await?;
        let payload = self.payload(&found).await?;
        payload
            .map(|payload| found.with(payload))
            .ok_or(Error::ManifestUnknown)
    }

    async fn find_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        reference: &Reference,
        purpose: Purpose,
        source: Source,
    ) -> Result<ManifestAnswer, Error> {
        let ((access, found), freshness) = self
            .resolve_manifest(caller, name, reference, purpose, source)
            .await?;
        self.authorize_read(&access, freshness, caller, name)?;
        let row = found.ok_or_else(|| freshness.doubt(Error::ManifestUnknown))?;
        Ok(ManifestAnswer {
            repository: access.repository.ok_or(Error::NameUnknown)?,
            digest: row.digest,
            media_type: row.media_type,
            size: row.size,
            created_at: row.created_at,
            payload: None,
            freshness,
        })
    }

    /// Counts a pull: a manifest that was answered with its bytes.
    pub fn count_pull(&self, caller: &Caller, found: &ManifestAnswer) {
        let pulls = &self.0.pulls;
        pulls.count(found.repository, found.digest, &caller.principal);
    }

    /// Notes that the caller's credential was used.
    pub(crate) fn note_use(&self, caller: &Caller) {
        if let Principal::Account {
            credential: Some(credential),
            ..
        } = caller.principal
        {
            self.0.pulls.used(credential);
        }
    }

    async fn resolve_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        reference: &Reference,
        purpose: Purpose,
        source: Source,
    ) -> Result<((Access, Option<ManifestRow>), Freshness), Error> {
        let path = name.clone();
        let principal = caller.principal;
        match (reference, purpose) {
            (Reference::Tag(tag), _) => {
                let key = TagKey {
                    path,
                    tag: tag.clone(),
                    principal,
                };
                self.resolve_from::<ResolveTag>(source, key).await
            }
            (Reference::Digest(digest), Purpose::Get) => {
                let key = DigestKey {
                    path,
                    digest: *digest,
                    principal,
                };
                self.resolve_from::<ResolveDigest>(source, key).await
            }
            (Reference::Digest(digest), Purpose::Head) => {
                let key = DigestKey {
                    path,
                    digest: *digest,
                    principal,
                };
                self.resolve_from::<ResolveDigestHead>(source, key).await
            }
        }
    }

    /// The bytes of a manifest that a fresh read has just shown present.
    async fn payload(&self, found: &ManifestAnswer) -> Result<Option<Bytes>, Error> {
        let (digest, size) = (found.digest, found.size);
        if let Some(payload) = self.0.payloads.get(&digest) {
            return Ok(Some(payload));
        }
        let key = PayloadKey { digest, size };
        let read = self.router().read_any::<Payload>(key).await?;
        if let Some(payload) = &read.value {
            self.0.payloads.insert(digest, payload.clone());
        }
        Ok(read.value)
    }

    /// Finds a blob.
    pub async fn blob(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: Digest,
        purpose: Purpose,
    ) -> Result<BlobAnswer, Error> {
        let ((access, found), freshness) = self.resolve_blob(caller, name, digest, purpose).await?;
        self.authorize_read(&access, freshness, caller, name)?;
        let row = found.ok_or_else(|| freshness.doubt(Error::BlobUnknown))?;
        let (size, created_at) = (row.size, row.created_at);
        let source = match purpose {
            Purpose::Get => self.source(digest, row).await?,
            Purpose::Head => BlobSource::Stored {
                store: row.store,
                key: row.storage_key,
            },
        };
        Ok(BlobAnswer {
            digest,
            size,
            created_at,
            source,
            freshness,
        })
    }

    /// Presence of a blob in a repository, with the caller's right, in one read.
    pub(crate) async fn resolve_blob(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: Digest,
        purpose: Purpose,
    ) -> Result<((Access, Option<BlobRow>), Freshness), Error> {
        let for_seconds = match purpose {
            Purpose::Get => 0,
            Purpose::Head => PRESENCE_SECONDS,
        };
        let path = name.clone();
        let key = BlobKey {
            path,
            digest,
            principal: caller.principal,
            for_seconds,
        };
        self.resolve::<ResolveBlob>(key).await
    }

    pub(crate) async fn source(&self, digest: Digest, row: BlobRow) -> Result<BlobSource, Error> {
        if let Some(content) = row.content {
            return Ok(BlobSource::Bytes(content));
        }
        if row.size > self.0.limits.small_blob_max {
            return Ok(BlobSource::Stored {
                store: row.store,
                key: row.storage_key,
            });
        }
        if let Some(content) = self.0.small_blobs.get(&digest) {
            return Ok(BlobSource::Bytes(content));
        }
        let stream = self
            .stores()
            .get(row.store)?
            .get(&row.storage_key, None)
            .await?;
        let content = stream
            .bytes
            .try_fold(BytesMut::new(), |mut content, piece| async move {
                content.extend_from_slice(&piece);
                Ok(content)
            })
            .await?
            .freeze();
        self.0.small_blobs.insert(digest, content.clone());
        Ok(BlobSource::Bytes(content))
    }

    /// Streams a stored blob, or the bytes `range` of it.
    pub async fn open(
        &self,
        store: StoreId,
        key: &StorageKey,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<BlobStream, Error> {
        Ok(self.stores().get(store)?.get(key, range).await?)
    }

    /// A URL that lets its holder read one stored blob for a while; `None` where the store has no such thing.
    pub async fn redirect_url(
        &self,
        store: StoreId,
        key: &StorageKey,
    ) -> Result<Option<Uri>, Error> {
        Ok(self.stores().get(store)?.presign_get(key).await?)
    }
}
