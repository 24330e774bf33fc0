//! Blobs in a folder, for one machine; several processes of it may share the folder.
//!
//! An object appears under its name at once and whole (it is written aside and linked), and what
//! is acknowledged is on the disk: file and folders are synced first. What is unfinished lies in
//! `.partial`, in one folder for each key, so that giving up a key finds all of it.

mod durable;
mod parts;

use crate::content::{blocking, read_file};
use crate::store::{
    BlobRead, BlobStore, BlobStream, MultipartId, Part, PartNumber, PartTag, Removal,
};
use crate::{Content, Error, StorageKey};
use async_trait::async_trait;
use futures::TryStreamExt;
use http::Uri;
use parts::PartialObject;
use portolan_oci::{Algorithm, Digest};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where unfinished objects lie. No key begins with a dot segment of ours.
const PARTIAL: &str = ".partial";

/// A folder of blobs.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: Arc<Path>,
}

impl DirectoryStore {
    /// Opens the folder `root`, making it where it does not exist. Blocks; meant for start-up.
    pub fn open(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root.join(PARTIAL)).map_err(|cause| Error::io("open", cause))?;
        let root = root
            .canonicalize()
            .map_err(|cause| Error::io("open", cause))?;
        durable::sync_folder(&root)?;
        Ok(Self { root: root.into() })
    }

    /// The file of a key. A key has no `..`, so it lies under the root.
    fn file_of(&self, key: &StorageKey) -> Result<PathBuf, Error> {
        if key.as_str().split('/').next() == Some(PARTIAL) {
            return Err(Error::KeyUnusable);
        }
        Ok(self.root.join(key.as_str()))
    }

    /// Where all that is unfinished under a key lies. Hashed, because a key may be longer than a file name.
    fn partial_of(&self, key: &StorageKey) -> PathBuf {
        self.root
            .join(PARTIAL)
            .join(Digest::sha256(key.as_str().as_bytes()).hex())
    }

    fn partial(&self, key: &StorageKey) -> PartialObject {
        PartialObject::new(self.partial_of(key))
    }
}

#[async_trait]
impl BlobRead for DirectoryStore {
    async fn get(
        &self,
        key: &StorageKey,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<BlobStream, Error> {
        let path = self.file_of(key)?;
        let (file, size) = blocking(move || {
            let file = File::open(path).map_err(|cause| missing(Error::io("get", cause)))?;
            let about = file.metadata().map_err(|cause| Error::io("get", cause))?;
            if about.is_file() {
                Ok((file, about.len()))
            } else {
                Err(Error::NotFound)
            }
        })
        .await?;
        let (start, len) = match range {
            None => (0, size),
            Some(range) if *range.end() < size && range.start() <= range.end() => {
                (*range.start(), range.end() - range.start() + 1)
            }
            Some(_) => return Err(Error::RangeOutside),
        };
        let bytes = read_file(Arc::new(file), start, len);
        let bytes = Box::pin(bytes.map_err(|cause| Error::io("get", cause)));
        Ok(BlobStream { size: len, bytes })
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>, Error> {
        let path = self.file_of(key)?;
        blocking(move || match fs::metadata(path) {
            Ok(about) => Ok(about.is_file().then_some(about.len())),
            Err(cause) => match missing(Error::io("size", cause)) {
                Error::NotFound => Ok(None),
                other => Err(other),
            },
        })
        .await
    }

    async fn presign_get(&self, _key: &StorageKey) -> Result<Option<Uri>, Error> {
        Ok(None)
    }

    async fn probe(&self) -> Result<(), Error> {
        let partial = self.root.join(PARTIAL);
        blocking(move || {
            use rustix::fs::{Access, access};
            access(&partial, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|cause| Error::io("probe", cause.into()))
        })
        .await
    }
}

#[async_trait]
impl BlobStore for DirectoryStore {
    async fn put(
        &self,
        key: &StorageKey,
        content: Content,
        expected: Option<&Digest>,
    ) -> Result<(), Error> {
        let (target, folder, root) = (
            self.file_of(key)?,
            self.partial_of(key),
            Arc::clone(&self.root),
        );
        let expected = expected.copied();
        blocking(move || {
            if expected.is_some_and(|digest| {
                digest.algorithm() == Algorithm::Sha256 && !durable::has_digest(&content, &digest)
            }) {
                return Err(Error::ChecksumMismatch);
            }
            let stored = put_aside(&folder, &content)
                .and_then(|aside| durable::publish(&root, &aside, &target));
            // Also after a failure: a full disk must get its room back.
            let cleared = durable::remove_all(&folder);
            stored.and(cleared)
        })
        .await
    }

    async fn begin_multipart(&self, key: &StorageKey) -> Result<MultipartId, Error> {
        self.file_of(key)?;
        let partial = self.partial(key);
        blocking(move || partial.begin()).await
    }

    async fn put_part(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        number: PartNumber,
        offset: u64,
        content: Content,
    ) -> Result<PartTag, Error> {
        let (partial, id) = (self.partial(key), id.clone());
        blocking(move || partial.put_part(&id, number, offset, &content)).await
    }

    async fn complete_multipart(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error> {
        let (target, root) = (self.file_of(key)?, Arc::clone(&self.root));
        let (partial, id, parts) = (self.partial(key), id.clone(), parts.to_vec());
        blocking(move || partial.complete(&id, &parts, &root, &target)).await
    }

    async fn abort_multipart(
        &self,
        key: &StorageKey,
        id: Option<&MultipartId>,
    ) -> Result<(), Error> {
        let (partial, id) = (self.partial(key), id.cloned());
        blocking(move || partial.abort(id.as_ref())).await
    }

    async fn delete(&self, keys: &[StorageKey]) -> Result<Vec<Removal>, Error> {
        let mut work = Vec::with_capacity(keys.len());
        for key in keys {
            work.push((key.clone(), self.file_of(key), self.partial_of(key)));
        }
        blocking(move || {
            let remove = |(key, target, partial): (StorageKey, Result<PathBuf, Error>, PathBuf)| {
                let outcome = target
                    .and_then(|target| durable::remove_file(&target))
                    .and_then(|()| durable::remove_all(&partial));
                Removal { key, outcome }
            };
            Ok(work.into_iter().map(remove).collect())
        })
        .await
    }
}

/// Writes an object beside its place.
fn put_aside(folder: &Path, content: &Content) -> Result<PathBuf, Error> {
    let failed = |cause: io::Error| Error::io("put", cause);
    fs::create_dir_all(folder).map_err(failed)?;
    let aside = folder.join("put");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&aside)
        .map_err(failed)?;
    durable::write_at(&file, 0, content).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(aside)
}

/// For readers, a key that no file can have names an object that is not there.
fn missing(error: Error) -> Error {
    match error {
        Error::KeyUnusable => Error::NotFound,
        other => other,
    }
}
