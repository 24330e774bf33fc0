//! What a store must be able to do.
//!
//! Reading and writing are two traits, so that a store taken over from another registry can be
//! given a type that has no way to delete.

use crate::{Content, Error, StorageKey};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::Uri;
use portolan_oci::Digest;
use std::fmt;
use std::ops::RangeInclusive;

/// The bytes of an object, or of a range of it.
pub struct BlobStream {
    /// How many bytes `bytes` will yield.
    pub size: u64,
    /// The bytes, in pieces of the store's choosing.
    pub bytes: BoxStream<'static, Result<Bytes, Error>>,
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// What a store calls an object that is being put together from parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartId(String);

impl MultipartId {
    /// An id as the store gave it, or as a row kept it.
    pub fn new(id: String) -> Self {
        Self(id)
    }

    /// The id as text, for a row.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The number of a part: 1 to 10,000, as S3 counts them.
pub type PartNumber = u32;

/// What a store answers to a part, and wants to see again at completion (S3's `ETag`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTag(String);

impl PartTag {
    /// A tag as the store gave it, or as a row kept it.
    pub fn new(tag: String) -> Self {
        Self(tag)
    }

    /// The tag as text, for a row.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its place.
    pub number: PartNumber,
    /// What the store answered.
    pub tag: PartTag,
    /// Its bytes.
    pub size: u64,
}

/// What became of one key that was to be deleted.
#[derive(Debug)]
pub struct Removal {
    /// Which key.
    pub key: StorageKey,
    /// Whether it is gone (also when it was never there).
    pub outcome: Result<(), Error>,
}

/// Reading: all that an adopted store is ever asked to do.
#[async_trait]
pub trait BlobRead: Send + Sync + fmt::Debug {
    /// Opens an object, or the bytes `range` of it, which must lie within it.
    ///
    /// Dropping the stream ends the transfer.
    async fn get(
        &self,
        key: &StorageKey,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<BlobStream, Error>;

    /// The size of an object in bytes; `None` where there is none.
    async fn size(&self, key: &StorageKey) -> Result<Option<u64>, Error>;

    /// A URL with which anybody may read the object for 20 minutes; `None` where the store has no
    /// such thing. It is as good as the content: never log it.
    async fn presign_get(&self, key: &StorageKey) -> Result<Option<Uri>, Error>;

    /// Whether the store can be reached and used, for readiness.
    async fn probe(&self) -> Result<(), Error>;
}

/// Writing. A key is written once in its life; what is acknowledged survives a crash.
#[async_trait]
pub trait BlobStore: BlobRead {
    /// Stores an object in one go; refuses it when `expected` (a sha256) is given and does not fit.
    ///
    /// Dropped or failed, it may or may not have stored the object: the caller has noted the key
    /// before and gives it up.
    async fn put(
        &self,
        key: &StorageKey,
        content: Content,
        expected: Option<&Digest>,
    ) -> Result<(), Error>;

    /// Begins an object that will be put together from parts.
    async fn begin_multipart(&self, key: &StorageKey) -> Result<MultipartId, Error>;

    /// Stores one part, whose bytes begin at `offset` of the object. A part may be put again as
    /// long as the object is not complete; only the last tag is then good.
    async fn put_part(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        number: PartNumber,
        offset: u64,
        content: Content,
    ) -> Result<PartTag, Error>;

    /// Makes the object from its parts, in their order, without copying a byte.
    async fn complete_multipart(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error>;

    /// Gives up what was begun under `key`: one of it, or with `None` all (for a key whose id was
    /// never learned). Nothing begun, or already complete, is success.
    async fn abort_multipart(
        &self,
        key: &StorageKey,
        id: Option<&MultipartId>,
    ) -> Result<(), Error>;

    /// Deletes objects; a key that is not there counts as deleted. One answer for each key.
    async fn delete(&self, keys: &[StorageKey]) -> Result<Vec<Removal>, Error>;
}

/// A store that belongs to another registry: it can be read, and this type offers nothing else.
#[derive(Debug)]
pub struct Adopted<S>(S);

impl<S: BlobRead> Adopted<S> {
    /// Takes the means to write away from `store`.
    pub fn new(store: S) -> Self {
        Self(store)
    }
}

#[async_trait]
impl<S: BlobRead> BlobRead for Adopted<S> {
    async fn get(
        &self,
        key: &StorageKey,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<BlobStream, Error> {
        self.0.get(key, range).await
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>, Error> {
        self.0.size(key).await
    }

    async fn presign_get(&self, key: &StorageKey) -> Result<Option<Uri>, Error> {
        self.0.presign_get(key).await
    }

    async fn probe(&self) -> Result<(), Error> {
        self.0.probe().await
    }
}
