//! A store taken over from another registry.

use crate::suite::{bytes, fresh};
use portolan_blobs::{Adopted, BlobRead, BlobStore, DirectoryStore};

#[tokio::test]
async fn an_adopted_store_is_read_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let owner = DirectoryStore::open(folder.path()).unwrap();
    let key = fresh();
    owner.put(&key, bytes(1, 10).into(), None).await.unwrap();
    // The type has no `put` and no `delete`: it implements `BlobRead` alone.
    let adopted: Box<dyn BlobRead> = Box::new(Adopted::new(owner));
    assert_eq!(adopted.size(&key).await.unwrap(), Some(10));
    assert_eq!(adopted.get(&key, None).await.unwrap().size, 10);
    assert_eq!(adopted.presign_get(&key).await.unwrap(), None);
    adopted.probe().await.unwrap();
}
