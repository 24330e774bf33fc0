//! What a folder of blobs promises beyond the suite.

use crate::suite::{bytes, fresh, part, read, suite};
use portolan_blobs::{BlobRead, BlobStore, DirectoryStore, Error, MultipartId, StorageKey};
use portolan_oci::Digest;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn store() -> (DirectoryStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (DirectoryStore::open(folder.path()).unwrap(), folder)
}

suite!(std::future::ready(store()));

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The one file of this name below a folder.
fn file(folder: &Path, name: &str) -> PathBuf {
    let named = |path: &PathBuf| path.file_name().is_some_and(|found| found == name);
    files(folder).into_iter().find(named).unwrap()
}

#[tokio::test]
async fn what_is_done_leaves_nothing_unfinished() {
    let (store, folder) = store();
    let (whole, in_parts, given_up) = (fresh(), fresh(), fresh());
    store.put(&whole, bytes(1, 10).into(), None).await.unwrap();
    let id = store.begin_multipart(&in_parts).await.unwrap();
    let only = part(&store, (&in_parts, &id), 1, 0, &bytes(2, 10)).await;
    store
        .complete_multipart(&in_parts, &id, &[only])
        .await
        .unwrap();
    let id = store.begin_multipart(&given_up).await.unwrap();
    part(&store, (&given_up, &id), 1, 0, &bytes(3, 10)).await;
    store.abort_multipart(&given_up, Some(&id)).await.unwrap();
    assert_eq!(
        fs::read_dir(folder.path().join(".partial"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(files(folder.path()).len(), 2);
    store.delete(&[whole, in_parts]).await.unwrap();
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn completing_copies_nothing() {
    use std::os::unix::fs::MetadataExt;
    let (store, folder) = store();
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    let only = part(&store, (&key, &id), 1, 0, &bytes(4, 1_000)).await;
    let before = fs::metadata(file(folder.path(), "data")).unwrap().ino();
    store.complete_multipart(&key, &id, &[only]).await.unwrap();
    assert_eq!(
        fs::metadata(folder.path().join(key.as_str()))
            .unwrap()
            .ino(),
        before
    );
}

#[tokio::test]
async fn a_key_is_written_once() {
    let (store, _folder) = store();
    let (key, first) = (fresh(), bytes(5, 10));
    store.put(&key, first.clone().into(), None).await.unwrap();
    let refused = store
        .put(&key, bytes(6, 10).into(), None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::KeyTaken), "{refused:?}");
    assert!(read(&store, &key).await == first);
}

#[tokio::test]
async fn a_completion_that_was_killed_half_way_can_be_made_again() {
    let (store, folder) = store();
    let (key, content) = (fresh(), bytes(7, 1_000));
    let id = store.begin_multipart(&key).await.unwrap();
    let only = part(&store, (&key, &id), 1, 0, &content).await;
    // Linked, and then killed before the unfinished half was removed.
    let target = folder.path().join(key.as_str());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::hard_link(file(folder.path(), "data"), &target).unwrap();
    store.complete_multipart(&key, &id, &[only]).await.unwrap();
    assert!(read(&store, &key).await == content);
}

#[tokio::test]
async fn what_a_killed_process_left_of_a_put_goes_with_its_key() {
    let (store, folder) = store();
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    part(&store, (&key, &id), 1, 0, &bytes(8, 1_000)).await;
    let rest = file(folder.path(), "data")
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned();
    fs::write(rest.join("put"), b"half").unwrap();
    store.delete(&[key]).await.unwrap();
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn two_processes_never_write_one_object_at_once() {
    let (store, folder) = store();
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    // The lock of another process is the lock of another open file.
    let other = File::open(file(folder.path(), "lock")).unwrap();
    other.lock().unwrap();
    let refused = store
        .put_part(&key, &id, 1, 0, bytes(9, 10).into())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Unavailable(_)) && refused.is_unavailable(),
        "{refused:?}"
    );
    drop(other);
    part(&store, (&key, &id), 1, 0, &bytes(9, 10)).await;
}

#[tokio::test]
async fn a_key_never_leads_out_of_the_folder_nor_into_what_is_unfinished() {
    let (store, folder) = store();
    for text in ["../x", "a/../../x", "/etc/passwd", "a//b"] {
        assert!(text.parse::<StorageKey>().is_err(), "{text}");
    }
    let inside: StorageKey = ".partial/x".parse().unwrap();
    let refused = store
        .put(&inside, bytes(10, 1).into(), None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::KeyUnusable), "{refused:?}");
    let key = fresh();
    for id in ["..", "../..", "a/b", ""] {
        let id = MultipartId::new(id.to_owned());
        let refused = store.abort_multipart(&key, Some(&id)).await.unwrap_err();
        assert!(matches!(refused, Error::MultipartUnknown), "{refused:?}");
    }
    let long: StorageKey = "x".repeat(1_000).parse().unwrap();
    assert_eq!(store.size(&long).await.unwrap(), None);
    let refused = store
        .put(&long, bytes(11, 1).into(), None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::KeyUnusable), "{refused:?}");
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full() {
    let (store, folder) = store();
    let key = fresh();
    let id = store.begin_multipart(&key).await.unwrap();
    // /dev/full answers every write with "no space left on device".
    let data = file(folder.path(), "data");
    fs::remove_file(&data).unwrap();
    std::os::unix::fs::symlink("/dev/full", &data).unwrap();
    let refused = store
        .put_part(&key, &id, 1, 0, bytes(12, 10).into())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Full(_)) && refused.is_unavailable(),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_wrong_checksum_of_a_spooled_object_is_found_too() {
    let (store, folder) = store();
    let spool = tempfile::tempdir().unwrap();
    let mut buffer = portolan_blobs::PartBuffer::new(17 << 20, spool.path()).unwrap();
    buffer.append(&bytes(13, 3_000_000)).await.unwrap();
    let content = buffer.into_content().await.unwrap();
    let wrong = Digest::sha256(b"other");
    let refused = store
        .put(&fresh(), content, Some(&wrong))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::ChecksumMismatch), "{refused:?}");
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("file");
    File::create(&taken).unwrap();
    assert!(DirectoryStore::open(&taken.join("below")).is_err());
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_sees_everything() {
    let (first, folder) = store();
    let second = DirectoryStore::open(folder.path()).unwrap();
    let (key, content) = (fresh(), bytes(14, 1_000));
    let id = first.begin_multipart(&key).await.unwrap();
    let parts = [
        part(&first, (&key, &id), 1, 0, &content.slice(..500)).await,
        part(&second, (&key, &id), 2, 500, &content.slice(500..)).await,
    ];
    second.complete_multipart(&key, &id, &parts).await.unwrap();
    assert!(read(&first, &key).await == content);
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_fails_the_probe() {
    // Root may write everywhere, so there is nothing to see for it.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let (store, folder) = store();
    let partial = folder.path().join(".partial");
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o500)).unwrap();
    assert!(matches!(store.probe().await.unwrap_err(), Error::Denied(_)));
}
