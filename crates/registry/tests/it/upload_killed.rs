//! A process killed at every step of an upload, and another that goes on.
//!
//! A process is a runtime of its own here: killing it is dropping the runtime, which ends every
//! task where it stands and closes every connection.

use crate::staged::{Event, Script};
use crate::support::{Kind, Site, body, bytes, sha256, streamed, unit};
use portolan_oci::UploadId;
use portolan_registry::upload::UploadBody;
use portolan_registry::{Error, Registry};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// What the client sends: a stream, more, and the end.
async fn push(registry: Registry, site: Arc<Site>, id: UploadId) {
    let client = site.client(&registry, "a/b");
    let content = content(&site);
    let first = content.len() / 5;
    let second = content.len() * 3 / 4;
    client
        .append(id, streamed(&content.slice(..first)))
        .await
        .unwrap();
    client
        .append(id, streamed(&content.slice(first..second)))
        .await
        .unwrap();
    client
        .finish(id, sha256(&content), body(&content.slice(second..)))
        .await
        .unwrap();
}

fn content(site: &Site) -> bytes::Bytes {
    bytes(1, unit(site.kind()) * 7 / 2)
}

/// Kills a process at one call to the store. Returns whether that call was made.
async fn kill_at(kind: Kind, call: u32, event: Event) -> bool {
    let site = Arc::new(Site::new(kind).await);
    let process = Runtime::new().unwrap();
    let (doomed, script) = {
        let site = Arc::clone(&site);
        process
            .spawn(async move { site.process_with(Script::at(call, event)).await })
            .await
            .unwrap()
    };
    let id = {
        let (site, registry) = (Arc::clone(&site), doomed.clone());
        let start = async move {
            let client = site.client(&registry, "a/b");
            client.start().await
        };
        process.spawn(start).await.unwrap()
    };
    let pushing = process.spawn(push(doomed, Arc::clone(&site), id));
    let killed = tokio::select! {
        () = script.reached() => true,
        done = pushing => {
            done.unwrap();
            false
        }
    };
    process.shutdown_background();

    // Long enough later for the dead process's lease to have ended.
    site.run("UPDATE upload SET lock_until = now()").await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = content(&site);
    let digest = sha256(&content);
    match client.received(id).await {
        Ok(received) => {
            assert!(killed);
            let rest = content.slice(usize::try_from(received).unwrap()..);
            let half = rest.len() / 2;
            match client.append(id, streamed(&rest.slice(..half))).await {
                Ok(now) => {
                    assert_eq!(now, received + half as u64);
                    client
                        .finish(id, digest, body(&rest.slice(half..)))
                        .await
                        .unwrap();
                }
                // Complete in the store, and not committed: to be sent again.
                Err(Error::UploadUnknown) => {
                    let done =
                        registry.push_blob(&site.caller, &client.name, digest, body(&content));
                    done.await.unwrap();
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        Err(Error::UploadUnknown) => assert!(!killed, "it was not committed"),
        Err(other) => panic!("{other:?}"),
    }
    assert!(client.pull(digest).await == content);
    site.nothing_is_left_over(&registry).await;
    killed
}

async fn kill_at_every_call(kind: Kind, event: Event) {
    let mut call = 1;
    while kill_at(kind, call, event).await {
        call += 1;
    }
    // Two tails put, one of them read, three parts begun and put, and completed.
    assert!(call > 7, "only {call} calls");
}

#[tokio::test]
async fn a_process_killed_before_any_call_loses_nothing_that_was_acknowledged() {
    kill_at_every_call(Kind::Directory, Event::StopBefore).await;
}

#[tokio::test]
async fn a_process_killed_after_any_call_loses_nothing_that_was_acknowledged() {
    kill_at_every_call(Kind::Directory, Event::StopAfter).await;
}

#[tokio::test]
async fn a_process_killed_after_any_call_to_a_bucket_loses_nothing_that_was_acknowledged() {
    kill_at_every_call(Kind::S3, Event::StopAfter).await;
}

#[tokio::test]
async fn a_blob_that_was_complete_when_its_process_died_is_committed_by_the_next_put() {
    let site = Arc::new(Site::new(Kind::Directory).await);
    let content = bytes(2, unit(Kind::Directory) * 34 / 10);
    let first = site.process().await;
    let client = site.client(&first, "a/b");
    let id = client.start().await;
    client.append(id, body(&content)).await.unwrap();

    let process = Runtime::new().unwrap();
    let (doomed, script) = {
        let site = Arc::clone(&site);
        // The last part is stored already, so the first call completes.
        process
            .spawn(async move { site.process_with(Script::at(1, Event::StopAfter)).await })
            .await
            .unwrap()
    };
    let finishing = {
        let (site, content) = (Arc::clone(&site), content.clone());
        process.spawn(async move {
            let client = site.client(&doomed, "a/b");
            client
                .finish(id, sha256(&content), UploadBody::empty())
                .await
        })
    };
    script.reached().await;
    drop(finishing);
    process.shutdown_background();
    assert_eq!(script.names(), ["complete"]);

    site.run("UPDATE upload SET lock_until = now()").await;
    client
        .finish(id, sha256(&content), UploadBody::empty())
        .await
        .unwrap();
    assert!(client.pull(sha256(&content)).await == content);
    site.nothing_is_left_over(&first).await;
}
