//! The blob stores this process can reach, by the id that blob rows carry.

use crate::Error;
use portolan_blobs::BlobStore;
use portolan_metadata::StoreId;
use std::collections::HashMap;
use std::sync::Arc;

/// Every configured store, and the one that new blobs go to.
#[derive(Debug, Clone)]
pub struct Stores {
    by_id: HashMap<StoreId, Arc<dyn BlobStore>>,
    current: StoreId,
}

impl Stores {
    /// One store, which also takes new blobs.
    pub fn single(id: StoreId, store: Arc<dyn BlobStore>) -> Self {
        Self {
            by_id: HashMap::from([(id, store)]),
            current: id,
        }
    }

    /// Where new blobs go.
    pub fn current(&self) -> (StoreId, &Arc<dyn BlobStore>) {
        let store = self
            .by_id
            .get(&self.current)
            .expect("the current store is among the stores");
        (self.current, store)
    }

    /// The store of an existing blob.
    pub fn get(&self, id: StoreId) -> Result<&Arc<dyn BlobStore>, Error> {
        self.by_id.get(&id).ok_or(Error::StoreUnknown(id))
    }
}
