//! A store that fails in the middle.

use crate::staged::{Event, Script};
use crate::support::{Kind, Site, body, bytes, sha256, streamed, unit};
use portolan_registry::Error;
use portolan_registry::upload::UploadBody;

/// Pushes over a store that fails once, at call `call`; the client goes on from where the upload
/// says it is. Returns whether that call was made.
async fn push_over_failure(call: u32, event: Event) -> bool {
    let site = Site::new(Kind::Directory).await;
    let (registry, script) = site.process_with(Script::at(call, event)).await;
    let client = site.client(&registry, "a/b");
    let content = bytes(1, unit(Kind::Directory) * 5 / 2);
    let first = content.slice(..content.len() * 2 / 3);
    let id = client.start().await;
    let mut failures = 0;
    // A first request with two thirds, then one with the rest, then one without a byte.
    for goal in [first.len(), content.len()] {
        loop {
            let received = usize::try_from(client.received(id).await.unwrap()).unwrap();
            if received == goal {
                break;
            }
            match client
                .append(id, streamed(&content.slice(received..goal)))
                .await
            {
                Ok(now) => assert_eq!(now, goal as u64),
                Err(Error::Unavailable { .. }) => failures += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    if let Err(failure) = client
        .finish(id, sha256(&content), UploadBody::empty())
        .await
    {
        assert!(matches!(failure, Error::Unavailable { .. }), "{failure:?}");
        failures += 1;
        client
            .finish(id, sha256(&content), UploadBody::empty())
            .await
            .unwrap();
    }
    let reached = script.was_reached();
    assert_eq!(failures, u32::from(reached));
    let healthy = site.process().await;
    let client = site.client(&healthy, "a/b");
    assert!(client.pull(sha256(&content)).await == content);
    registry.drain_uploads().await;
    site.nothing_is_left_over(&healthy).await;
    reached
}

#[tokio::test]
async fn a_store_that_fails_at_any_call_is_unavailable_once_and_the_upload_goes_on() {
    let mut call = 1;
    while push_over_failure(call, Event::FailBefore).await {
        call += 1;
    }
    assert!(call > 6, "{call}");
}

#[tokio::test]
async fn a_store_whose_answer_is_lost_at_any_call_is_unavailable_once_and_the_upload_goes_on() {
    let mut call = 1;
    while push_over_failure(call, Event::FailAfter).await {
        call += 1;
    }
    assert!(call > 6, "{call}");
}

#[tokio::test]
async fn parts_that_vanished_from_the_store_end_the_upload() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(2, unit(Kind::Directory) * 3);
    for by_put in [false, true] {
        let id = client.start().await;
        client.append(id, body(&content)).await.unwrap();
        // As a lifecycle rule of the bucket does.
        let row = site
            .sql
            .query_one("SELECT multipart_key FROM upload", &[])
            .await
            .unwrap();
        let key: String = row.get(0);
        let store = site.store().await;
        store
            .abort_multipart(&key.parse().unwrap(), None)
            .await
            .unwrap();
        let ended = if by_put {
            client
                .finish(id, sha256(&content), UploadBody::empty())
                .await
                .unwrap_err()
        } else {
            client.append(id, body(&content)).await.unwrap_err()
        };
        assert!(matches!(ended, Error::UploadUnknown), "{ended:?}");
        assert!(matches!(
            client.received(id).await,
            Err(Error::UploadUnknown)
        ));
    }
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn objects_that_the_store_keeps_are_deleted_later() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    for seed in 0..3 {
        let id = client.start().await;
        client.append(id, body(&bytes(seed, 100))).await.unwrap();
        registry
            .cancel_upload(&site.caller, &client.name, id)
            .await
            .unwrap();
    }
    site.run("UPDATE object_delete SET not_before = now()")
        .await;
    let (failing, _) = site.process_with(Script::at(1, Event::FailAfter)).await;
    let deletion = failing.delete_objects(10).await.unwrap();
    assert_eq!((deletion.deleted, deletion.kept), (0, 3));
    // Claimed: nobody else tries at once.
    assert_eq!(registry.delete_objects(10).await.unwrap().total(), 0);
    site.run("UPDATE object_delete SET claimed_at = now() - interval '16 minutes'")
        .await;
    assert_eq!(registry.delete_objects(10).await.unwrap().deleted, 3);
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn an_object_that_is_a_blobs_is_never_deleted_and_is_counted() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(3, 5_000);
    let id = client.start().await;
    client
        .finish(id, sha256(&content), body(&content))
        .await
        .unwrap();
    // What no code of ours does.
    site.run(
        "INSERT INTO object_delete (store_id, storage_key, reason, not_before)
         SELECT store_id, storage_key, 'upload', now() FROM blob",
    )
    .await;
    let deletion = registry.delete_objects(10).await.unwrap();
    assert_eq!((deletion.deleted, deletion.refused), (0, 1));
    assert!(client.pull(sha256(&content)).await == content);
}
