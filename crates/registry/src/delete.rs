//! Deletes of tags, manifests and blobs: visible everywhere when they are answered.

use crate::audit::Changes;
use crate::transaction::{Acknowledge, Attempts, lock_for_delete};
use crate::{Caller, Error, Registry};
use portolan_metadata::tags::{self, Expect, TagDelete};
use portolan_metadata::{audit, blobs, manifests};
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
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = remove_tag(&tx, caller, name, tag, expect).await;
            if self.conclude_delete(tx, outcome, &mut attempts).await? {
                return Ok(());
            }
        }
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
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = remove_manifest(&tx, caller, name, digest).await;
            if self.conclude_delete(tx, outcome, &mut attempts).await? {
                return Ok(());
            }
        }
    }

    /// Takes a blob out of one repository; it stays in others. Refused while a manifest here names it.
    pub async fn delete_blob(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = remove_blob(&tx, caller, name, digest).await;
            if self.conclude_delete(tx, outcome, &mut attempts).await? {
                return Ok(());
            }
        }
    }

    /// Every delete passes the barrier, also one that finds nothing: the first attempt of a repeated
    /// delete may not have been acknowledged yet, and "unknown" must not be taken back by a replica.
    async fn conclude_delete(
        &self,
        tx: Tx,
        outcome: Result<Result<(), Error>, Error>,
        attempts: &mut Attempts,
    ) -> Result<bool, Error> {
        match self
            .conclude(tx, outcome, Acknowledge::WhenVisible, attempts)
            .await?
        {
            None => Ok(false),
            Some(found) => found.map(|()| true),
        }
    }
}

async fn remove_tag(
    tx: &Tx,
    caller: &Caller,
    name: &RepositoryName,
    tag: &TagName,
    expect: Option<&Expect>,
) -> Result<Result<(), Error>, Error> {
    let repository = lock_for_delete(tx, caller, name).await?;
    let step = TagDelete {
        repository,
        tag,
        actor: caller.principal,
        expect,
    };
    let Some(previous) = tags::remove(tx, &step).await? else {
        return Ok(Err(Error::ManifestUnknown));
    };
    let mut changes = Changes::of(name, repository);
    changes.untagged(tag, &previous);
    audit::record_all(tx, &caller.actor(), changes.list()).await?;
    Ok(Ok(()))
}

async fn remove_manifest(
    tx: &Tx,
    caller: &Caller,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Result<(), Error>, Error> {
    let repository = lock_for_delete(tx, caller, name).await?;
    let removed = manifests::remove(tx, repository, digest, &caller.principal).await?;
    let Some(tags) = removed else {
        return Ok(Err(Error::ManifestUnknown));
    };
    let mut changes = Changes::of(name, repository);
    changes.removed(digest, &tags);
    audit::record_all(tx, &caller.actor(), changes.list()).await?;
    Ok(Ok(()))
}

async fn remove_blob(
    tx: &Tx,
    caller: &Caller,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Result<(), Error>, Error> {
    let repository = lock_for_delete(tx, caller, name).await?;
    Ok(match blobs::unlink(tx, repository, digest).await? {
        blobs::Unlinked::Done => {
            let mut changes = Changes::of(name, repository);
            changes.unlinked(digest);
            audit::record_all(tx, &caller.actor(), changes.list()).await?;
            Ok(())
        }
        blobs::Unlinked::Absent => Err(Error::BlobUnknown),
        blobs::Unlinked::Referenced => Err(Error::BlobReferenced),
    })
}
