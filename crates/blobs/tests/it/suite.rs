//! What every store must do. Each function is one promise; `suite!` makes a test of each for a store.

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use portolan_blobs::{BlobStore, Content, Error, MultipartId, Part, PartBuffer, StorageKey};
use portolan_oci::Digest;
use std::sync::atomic::{AtomicU32, Ordering};

/// S3's smallest part that is not the last one.
pub(crate) const PART: usize = 5 << 20;

macro_rules! suite {
    ($store:expr) => {
        $crate::suite::suite!($store;
            an_object_comes_back_as_it_was_put
            an_object_without_bytes_is_an_object
            a_range_is_exactly_that_range
            a_range_outside_the_object_is_refused
            a_missing_key_is_not_found
            content_without_its_checksum_is_refused_and_leaves_nothing
            a_deleted_key_is_gone_and_a_missing_one_counts_as_deleted
            more_keys_than_one_call_takes_are_deleted
            parts_make_one_object_in_their_order
            a_part_put_again_replaces_the_first
            a_part_with_a_stale_tag_is_refused
            one_part_may_be_the_whole_object
            a_completed_object_takes_no_more_parts
            an_aborted_object_is_unknown_and_aborting_again_is_fine
            all_that_was_begun_under_a_key_is_aborted_without_an_id
            a_spooled_part_is_stored_as_it_is
            many_keys_at_once_do_not_disturb_each_other
            the_probe_succeeds
        );
    };
    ($store:expr; $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (store, _guard) = $store.await;
                $crate::suite::$name(&store).await;
            }
        )*
    };
}
pub(crate) use suite;

/// A key nobody used.
pub(crate) fn fresh() -> StorageKey {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut random = [0; 16];
    let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // First, where keys spread, and last, so that they differ.
    random[..4].copy_from_slice(&number);
    random.rotate_left(3);
    StorageKey::fresh(random)
}

/// Bytes that differ everywhere, so that a piece in the wrong place shows.
pub(crate) fn bytes(seed: u32, len: usize) -> Bytes {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(len + 8);
    while content.len() < len {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(len);
    content.into()
}

pub(crate) async fn read(store: &dyn BlobStore, key: &StorageKey) -> Bytes {
    let stream = store.get(key, None).await.unwrap();
    let size = stream.size;
    let pieces: Vec<Bytes> = stream.bytes.try_collect().await.unwrap();
    let content = Bytes::from(pieces.concat());
    assert_eq!(content.len() as u64, size);
    content
}

pub(crate) async fn part(
    store: &dyn BlobStore,
    (key, id): (&StorageKey, &MultipartId),
    number: u32,
    offset: usize,
    content: &Bytes,
) -> Part {
    let sent = Content::from(content.clone());
    let tag = store
        .put_part(key, id, number, offset as u64, sent)
        .await
        .unwrap();
    Part {
        number,
        tag,
        size: content.len() as u64,
    }
}

pub(crate) async fn an_object_comes_back_as_it_was_put(store: &dyn BlobStore) {
    let (key, content) = (fresh(), bytes(1, 3_000_001));
    let digest = Digest::sha256(&content);
    store
        .put(&key, content.clone().into(), Some(&digest))
        .await
        .unwrap();
    assert_eq!(store.size(&key).await.unwrap(), Some(3_000_001));
    assert!(read(store, &key).await == content);
}

pub(crate) async fn an_object_without_bytes_is_an_object(store: &dyn BlobStore) {
    let key = fresh();
    store
        .put(&key, Bytes::new().into(), Some(&Digest::sha256(b"")))
        .await
        .unwrap();
    assert_eq!(store.size(&key).await.unwrap(), Some(0));
    assert!(read(store, &key).await.is_empty());
}

pub(crate) async fn a_range_is_exactly_that_range(store: &dyn BlobStore) {
    let (key, content) = (fresh(), bytes(2, 700_000));
    store.put(&key, content.clone().into(), None).await.unwrap();
    for (start, end) in [
        (0, 0),
        (0, 699_999),
        (1, 1),
        (262_143, 262_145),
        (699_999, 699_999),
    ] {
        let stream = store
            .get(&key, Some(start as u64..=end as u64))
            .await
            .unwrap();
        assert_eq!(stream.size, (end - start + 1) as u64);
        let pieces: Vec<Bytes> = stream.bytes.try_collect().await.unwrap();
        assert!(pieces.concat() == content[start..=end], "{start}-{end}");
    }
}

pub(crate) async fn a_range_outside_the_object_is_refused(store: &dyn BlobStore) {
    let key = fresh();
    store.put(&key, bytes(3, 10).into(), None).await.unwrap();
    let refused = store.get(&key, Some(10..=12)).await.unwrap_err();
    assert!(matches!(refused, Error::RangeOutside), "{refused:?}");
}

pub(crate) async fn a_missing_key_is_not_found(store: &dyn BlobStore) {
    let key = fresh();
    assert!(matches!(
        store.get(&key, None).await.unwrap_err(),
        Error::NotFound
    ));
    assert_eq!(store.size(&key).await.unwrap(), None);
}

pub(crate) async fn content_without_its_checksum_is_refused_and_leaves_nothing(
    store: &dyn BlobStore,
) {
    let key = fresh();
    let wrong = Digest::sha256(b"something else");
    let refused = store
        .put(&key, bytes(4, 1_000).into(), Some(&wrong))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::ChecksumMismatch), "{refused:?}");
    assert_eq!(store.size(&key).await.unwrap(), None);
}

pub(crate) async fn a_deleted_key_is_gone_and_a_missing_one_counts_as_deleted(
    store: &dyn BlobStore,
) {
    let (there, missing) = (fresh(), fresh());
    store.put(&there, bytes(5, 10).into(), None).await.unwrap();
    let removals = store
        .delete(&[there.clone(), missing.clone()])
        .await
        .unwrap();
    let keys: Vec<_> = removals.iter().map(|removal| removal.key.clone()).collect();
    assert_eq!(keys, [there.clone(), missing]);
    assert!(
        removals.iter().all(|removal| removal.outcome.is_ok()),
        "{removals:?}"
    );
    assert_eq!(store.size(&there).await.unwrap(), None);
    assert!(store.delete(&[]).await.unwrap().is_empty());
}

pub(crate) async fn more_keys_than_one_call_takes_are_deleted(store: &dyn BlobStore) {
    let mut keys: Vec<_> = (0..1_001).map(|_| fresh()).collect();
    let last = fresh();
    store.put(&last, bytes(6, 1).into(), None).await.unwrap();
    keys.push(last.clone());
    let removals = store.delete(&keys).await.unwrap();
    assert_eq!(removals.len(), keys.len());
    assert!(removals.iter().all(|removal| removal.outcome.is_ok()));
    assert_eq!(store.size(&last).await.unwrap(), None);
}

pub(crate) async fn parts_make_one_object_in_their_order(store: &dyn BlobStore) {
    let (key, content) = (fresh(), bytes(7, 2 * PART + 77));
    let id = store.begin_multipart(&key).await.unwrap();
    let mut parts = Vec::new();
    for (number, start) in (1..).zip((0..content.len()).step_by(PART)) {
        let piece = content.slice(start..content.len().min(start + PART));
        parts.push(part(store, (&key, &id), number, start, &piece).await);
        assert_eq!(
            store.size(&key).await.unwrap(),
            None,
            "nothing is seen before completion"
        );
    }
    store.complete_multipart(&key, &id, &parts).await.unwrap();
    assert!(read(store, &key).await == content);
}

pub(crate) async fn a_part_put_again_replaces_the_first(store: &dyn BlobStore) {
    let (key, wrong, right) = (fresh(), bytes(8, PART), bytes(9, PART));
    let id = store.begin_multipart(&key).await.unwrap();
    part(store, (&key, &id), 1, 0, &wrong).await;
    // Longer than what counts in the end: nothing of it may be left behind the end.
    part(store, (&key, &id), 2, PART, &wrong).await;
    let second = bytes(10, 100);
    let parts = [
        part(store, (&key, &id), 1, 0, &right).await,
        part(store, (&key, &id), 2, PART, &second).await,
    ];
    store.complete_multipart(&key, &id, &parts).await.unwrap();
    assert!(read(store, &key).await == [right, second].concat());
}

pub(crate) async fn a_part_with_a_stale_tag_is_refused(store: &dyn BlobStore) {
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    let stale = part(store, (&key, &id), 1, 0, &bytes(11, 1_000)).await;
    // What a process does that was thought dead and wakes up.
    part(store, (&key, &id), 1, 0, &bytes(12, 1_000)).await;
    let refused = store
        .complete_multipart(&key, &id, &[stale])
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::PartMismatch), "{refused:?}");
    assert_eq!(store.size(&key).await.unwrap(), None);
    store.abort_multipart(&key, Some(&id)).await.unwrap();
}

pub(crate) async fn one_part_may_be_the_whole_object(store: &dyn BlobStore) {
    let (key, content) = (fresh(), bytes(13, 10));
    let id = store.begin_multipart(&key).await.unwrap();
    let only = part(store, (&key, &id), 1, 0, &content).await;
    store.complete_multipart(&key, &id, &[only]).await.unwrap();
    assert!(read(store, &key).await == content);
}

pub(crate) async fn a_completed_object_takes_no_more_parts(store: &dyn BlobStore) {
    let (key, content) = (fresh(), bytes(14, 10));
    let id = store.begin_multipart(&key).await.unwrap();
    let only = part(store, (&key, &id), 1, 0, &content).await;
    store
        .complete_multipart(&key, &id, std::slice::from_ref(&only))
        .await
        .unwrap();
    let late = store
        .put_part(&key, &id, 2, 10, bytes(15, 10).into())
        .await
        .unwrap_err();
    assert!(matches!(late, Error::MultipartUnknown), "{late:?}");
    store.abort_multipart(&key, Some(&id)).await.unwrap();
    assert!(read(store, &key).await == content);
}

pub(crate) async fn an_aborted_object_is_unknown_and_aborting_again_is_fine(store: &dyn BlobStore) {
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    let only = part(store, (&key, &id), 1, 0, &bytes(16, 10)).await;
    store.abort_multipart(&key, Some(&id)).await.unwrap();
    store.abort_multipart(&key, Some(&id)).await.unwrap();
    let refused = store
        .complete_multipart(&key, &id, &[only])
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::MultipartUnknown), "{refused:?}");
    assert_eq!(store.size(&key).await.unwrap(), None);
}

pub(crate) async fn all_that_was_begun_under_a_key_is_aborted_without_an_id(store: &dyn BlobStore) {
    let (key, other) = (fresh(), fresh());
    let first = store.begin_multipart(&key).await.unwrap();
    let second = store.begin_multipart(&key).await.unwrap();
    let spared = store.begin_multipart(&other).await.unwrap();
    store.abort_multipart(&key, None).await.unwrap();
    store.abort_multipart(&key, None).await.unwrap();
    for id in [first, second] {
        let refused = store
            .put_part(&key, &id, 1, 0, bytes(17, 10).into())
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::MultipartUnknown), "{refused:?}");
    }
    part(store, (&other, &spared), 1, 0, &bytes(18, 10)).await;
    store.abort_multipart(&other, Some(&spared)).await.unwrap();
}

pub(crate) async fn a_spooled_part_is_stored_as_it_is(store: &dyn BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let content = bytes(19, 20 << 20);
    let mut buffer = PartBuffer::new(content.len() as u64, folder.path()).unwrap();
    for piece in content.chunks(99_999) {
        buffer.append(piece).await.unwrap();
    }
    let spooled = buffer.into_content().await.unwrap();
    assert!(matches!(spooled, Content::Spooled(_)));
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    let first = bytes(20, PART);
    let mut parts = vec![part(store, (&key, &id), 1, 0, &first).await];
    let tag = store
        .put_part(&key, &id, 2, PART as u64, spooled.clone())
        .await
        .unwrap();
    parts.push(Part {
        number: 2,
        tag,
        size: spooled.len(),
    });
    store.complete_multipart(&key, &id, &parts).await.unwrap();
    assert!(read(store, &key).await == [first, content.clone()].concat());
    // And as an object of its own.
    let key = fresh();
    store
        .put(&key, spooled, Some(&Digest::sha256(&content)))
        .await
        .unwrap();
    assert!(read(store, &key).await == content);
}

pub(crate) async fn many_keys_at_once_do_not_disturb_each_other(store: &dyn BlobStore) {
    let one = |seed: u32| async move {
        let (key, content) = (fresh(), bytes(seed, 10_000 + seed as usize));
        store.put(&key, content.clone().into(), None).await.unwrap();
        assert!(read(store, &key).await == content);
        let dropped = store.get(&key, None).await.unwrap();
        // A reader that goes away in the middle.
        drop(dropped.bytes.take(1).collect::<Vec<_>>().await);
        key
    };
    let keys = join_all((100..150).map(one)).await;
    assert_eq!(store.delete(&keys).await.unwrap().len(), 50);
}

pub(crate) async fn the_probe_succeeds(store: &dyn BlobStore) {
    store.probe().await.unwrap();
}
