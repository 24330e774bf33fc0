//! The one transaction in which an upload becomes a blob.

use super::notes::{Insistence, doomed};
use super::session::Session;
use super::{BlobCommitted, Request};
use crate::mount::LINK_LIFE;
use crate::pull::Purpose;
use crate::transaction::{Acknowledge, Attempts, lock_for_push};
use crate::{Error, Registry};
use bytes::Bytes;
use portolan_metadata::blobs::{self, NewBlob};
use portolan_metadata::object_delete::{self, Doomed, DoomedMultipart, Reason};
use portolan_metadata::{StorageKey, uploads};
use portolan_oci::Digest;
use portolan_pg::Tx;

/// An object that is stored and verified, and that no row calls a blob yet.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) key: StorageKey,
    /// The bytes, where they are few enough to lie in the row.
    pub(super) content: Option<Bytes>,
}

impl Registry {
    /// Makes the blob, or adds the repository to the one that has this digest already.
    pub(super) async fn commit_upload(
        &self,
        request: &Request,
        session: &Session,
        assembled: &Assembled,
    ) -> Result<BlobCommitted, Error> {
        let Assembled {
            digest,
            size,
            key,
            content,
        } = assembled;
        let new = NewBlob {
            digest: *digest,
            size: *size,
            store: session.store_id,
            key: key.clone(),
            content: content.clone(),
        };
        let left_over = left_over(session, key);
        let done = BlobCommitted {
            digest: *digest,
            size: *size,
        };
        let mut insistence = Insistence::new();
        let mut unsure = false;
        loop {
            match self.try_commit(request, session, &new, &left_over).await {
                Ok(true) => return Ok(done),
                // The line may have broken during the COMMIT of the attempt before, which then took the row.
                Ok(false) if unsure && self.is_present(request, *digest).await? => return Ok(done),
                Ok(false) => return Err(self.lost(request).await),
                Err(cause) => {
                    if !insistence.again(&cause).await {
                        return Err(cause);
                    }
                    unsure = true;
                }
            }
        }
    }

    async fn is_present(&self, request: &Request, digest: Digest) -> Result<bool, Error> {
        let name = &request.scope.path;
        let ((_, found), freshness) = self
            .resolve_blob(&request.caller, name, digest, Purpose::Get)
            .await?;
        freshness.current()?;
        Ok(found.is_some())
    }

    async fn try_commit(
        &self,
        request: &Request,
        session: &Session,
        new: &NewBlob,
        left_over: &[Doomed],
    ) -> Result<bool, Error> {
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = commit(&tx, request, session, new, left_over).await;
            let concluded = self
                .conclude(tx, outcome, Acknowledge::AtCommit, &mut attempts)
                .await;
            if let Some(taken) = concluded? {
                return Ok(taken);
            }
        }
    }
}

/// In the order of locks: upload, repository, blob, link, objects to delete.
async fn commit(
    tx: &Tx,
    request: &Request,
    session: &Session,
    new: &NewBlob,
    left_over: &[Doomed],
) -> Result<bool, Error> {
    if !uploads::take_for_commit(tx, &session.held).await? {
        return Ok(false);
    }
    let repository = lock_for_push(tx, &request.caller, &request.scope.path).await?;
    let committed = blobs::commit(tx, new).await?;
    blobs::link(tx, repository, committed.id, LINK_LIFE).await?;
    object_delete::enqueue(tx, Reason::Upload, left_over).await?;
    if !committed.won {
        // Somebody else's object has this digest, and a digest has one object.
        let own = Doomed {
            digest: Some(new.digest),
            size: Some(new.size),
            ..doomed(new.store, new.key.clone(), DoomedMultipart::None)
        };
        object_delete::enqueue(tx, Reason::Duplicate, &[own]).await?;
    }
    Ok(true)
}

/// Every key the upload has used but the one that becomes the blob's.
fn left_over(session: &Session, winner: &StorageKey) -> Vec<Doomed> {
    let Session {
        store_id,
        noted,
        spoiled,
        multipart,
        abandoned,
        ..
    } = session;
    let tail = noted.tail.as_ref().map(|tail| &tail.key);
    let plain = tail
        .into_iter()
        .chain(spoiled)
        .map(|key| (key, DoomedMultipart::None));
    let begun = multipart
        .iter()
        .map(|(key, id)| (key, DoomedMultipart::Id(id.as_str().to_owned())))
        .chain(abandoned.iter().map(|key| (key, DoomedMultipart::Begun)));
    plain
        .chain(begun)
        .filter(|(key, _)| *key != winner)
        .map(|(key, multipart)| doomed(*store_id, key.clone(), multipart))
        .collect()
}
