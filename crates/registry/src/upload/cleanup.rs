//! What uploads leave behind, and how it goes: expired rows become objects to delete, and objects
//! whose quarantine is over are deleted with no transaction open.

use crate::{Error, Registry};
use portolan_blobs::{BlobStore, MultipartId};
use portolan_metadata::object_delete::{self, Doomed, DoomedMultipart};
use portolan_metadata::{StorageKey, StoreId, read_only, uploads};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of some objects whose time had come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Gone from the store, and forgotten.
    pub deleted: u64,
    /// The store did not say that they are gone: tried again after the claim has run out.
    pub kept: u64,
    /// Named by a blob's row, so not touched. There are none, ever; one is an alarm.
    pub refused: u64,
}

impl Deletion {
    /// How many were looked at: fewer than asked for means that no more are due.
    pub fn total(&self) -> u64 {
        self.deleted + self.kept + self.refused
    }
}

impl Registry {
    /// Ends at most `limit` uploads that have expired; their objects wait out the quarantine.
    /// Asks the store nothing, so that a write still in flight is caught. Returns how many.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], as every write.
    pub async fn sweep_uploads(&self, limit: u32) -> Result<u64, Error> {
        let tx = self.router().begin_background().await?;
        read_only::refuse_writes(&tx).await?;
        let swept = uploads::sweep(&tx, i64::from(limit)).await?;
        // No reader is promised anything by this: no barrier.
        let _committed = tx.commit().await?;
        Ok(swept)
    }

    /// Deletes at most `limit` objects whose quarantine is over.
    ///
    /// Claimed in a committed transaction, deleted without one, then forgotten. May be dropped at
    /// any point: what was claimed is claimed again later, and deleting twice is harmless.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], as every write: then the store, too, stays as it is, but for what was claimed just before.
    pub async fn delete_objects(&self, limit: u32) -> Result<Deletion, Error> {
        let tx = self.router().begin_background().await?;
        read_only::refuse_writes(&tx).await?;
        let claimed = object_delete::claim(&tx, i64::from(limit)).await?;
        // No reader is promised anything by this: no barrier.
        let _committed = tx.commit().await?;
        for (store, key) in &claimed.refused {
            tracing::error!(%store, %key, "object {key} of store {store} is to be deleted and is a blob's: kept");
        }
        let asked = claimed.objects.len() as u64;
        let mut by_store: BTreeMap<StoreId, Vec<Doomed>> = BTreeMap::new();
        for object in claimed.objects {
            by_store.entry(object.store).or_default().push(object);
        }
        let mut gone = Vec::new();
        for (id, objects) in by_store {
            match self.stores().get(id) {
                Ok(store) => gone.extend(remove(id, store, objects).await),
                Err(cause) => {
                    tracing::error!(store = %id, error = %cause, "objects of store {id} cannot be deleted");
                }
            }
        }
        if !gone.is_empty() {
            let tx = self.router().begin_background().await?;
            read_only::refuse_writes(&tx).await?;
            object_delete::done(&tx, &gone).await?;
            // No reader is promised anything by this: no barrier.
            let _committed = tx.commit().await?;
        }
        let deleted = gone.len() as u64;
        let deletion = Deletion {
            deleted,
            kept: asked - deleted,
            refused: claimed.refused.len() as u64,
        };
        self.uploads().metrics().deletion(&deletion);
        Ok(deletion)
    }
}

/// Deletes objects of one store, and says which are gone.
async fn remove(
    id: StoreId,
    store: &Arc<dyn BlobStore>,
    objects: Vec<Doomed>,
) -> Vec<(StoreId, StorageKey)> {
    let mut keys = Vec::with_capacity(objects.len());
    for object in objects {
        match abort(store, &object).await {
            Ok(()) => keys.push(object.key),
            Err(cause) => not_gone(id, &object.key, &cause),
        }
    }
    if keys.is_empty() {
        return Vec::new();
    }
    let removals = match store.delete(&keys).await {
        Ok(removals) => removals,
        Err(cause) => {
            tracing::warn!(store = %id, error = %cause, "store {id} deletes nothing at present");
            return Vec::new();
        }
    };
    let mut gone = Vec::with_capacity(removals.len());
    for removal in removals {
        match removal.outcome {
            Ok(()) => gone.push((id, removal.key)),
            Err(cause) => not_gone(id, &removal.key, &cause),
        }
    }
    gone
}

/// Ends what was begun under a key. The object itself is deleted as well: it may have been completed.
async fn abort(store: &Arc<dyn BlobStore>, object: &Doomed) -> Result<(), portolan_blobs::Error> {
    match &object.multipart {
        DoomedMultipart::None => Ok(()),
        DoomedMultipart::Begun => store.abort_multipart(&object.key, None).await,
        DoomedMultipart::Id(id) => {
            let id = MultipartId::new(id.clone());
            match store.abort_multipart(&object.key, Some(&id)).await {
                // Not an id of this store: nothing to abort.
                Err(portolan_blobs::Error::MultipartUnknown) => Ok(()),
                other => other,
            }
        }
    }
}

fn not_gone(store: StoreId, key: &StorageKey, cause: &portolan_blobs::Error) {
    tracing::warn!(%store, %key, error = %cause, "object {key} of store {store} could not be deleted");
}
