//! Deletes of tags, manifests and blobs: visible everywhere when they are answered.

use crate::transaction::{Acknowledge, lock_for_delete};
use crate::{Caller, Error, Registry};
use portolan_metadata::tags::{self, Expect, TagDelete};
use portolan_metadata::{blobs, manifests};
use portolan_oci::{Digest, RepositoryName, TagName};
use portolan_pg::Tx;

impl Registry {
    /// Removes a tag; its manifest stays.
    pub async fn delete_tag(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        tag: &TagName,
        expect: Option<&Expect>,
    ) -> Result<(), Error> {
        self.transact(Acknowledge::WhenVisible, async |tx: &Tx| {
            let repository = lock_for_delete(tx, caller, name).await?;
            let step = TagDelete { repository, tag, actor: caller.principal, expect };
            if tags::delete(tx, &step).await? { Ok(()) } else { Err(Error::ManifestUnknown) }
        })
        .await
    }

    /// Removes a manifest with every tag that points at it.
    ///
    /// Indexes that name it stay, and are then incomplete by the caller's wish.
    pub async fn delete_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        self.transact(Acknowledge::WhenVisible, async |tx: &Tx| {
            let repository = lock_for_delete(tx, caller, name).await?;
            let removed = manifests::delete(tx, repository, digest, &caller.principal).await?;
            if removed { Ok(()) } else { Err(Error::ManifestUnknown) }
        })
        .await
    }

    /// Takes a blob out of one repository; it stays in others. Refused while a manifest here names it.
    pub async fn delete_blob(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        self.transact(Acknowledge::WhenVisible, async |tx: &Tx| {
            let repository = lock_for_delete(tx, caller, name).await?;
            match blobs::unlink(tx, repository, digest).await? {
                blobs::Unlinked::Done => Ok(()),
                blobs::Unlinked::Absent => Err(Error::BlobUnknown),
                blobs::Unlinked::Referenced => Err(Error::BlobReferenced),
            }
        })
        .await
    }
}
