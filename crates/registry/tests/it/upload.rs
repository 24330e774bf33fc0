//! The ways a blob comes in, on both stores.

use crate::staged::Script;
use crate::support::{
    Client, Kind, Site, body, bytes, name, on_both_stores, several_parts, sha256, streamed, unit,
};
use bytes::Bytes;
use portolan_blobs::PartSchedule;
use portolan_registry::Error;
use portolan_registry::upload::UploadBody;

on_both_stores! {
    one_stream_walks_every_step_of_the_schedule
    chunks_walk_every_step_of_the_schedule_each_on_another_process
    a_blob_comes_with_one_request
    a_blob_comes_with_the_last_request
    a_blob_without_bytes_comes_every_way
    small_content_lies_in_the_row
}

async fn one_stream_walks_every_step_of_the_schedule(kind: Kind) {
    let site = Site::new(kind).await;
    let (registry, script) = site.process_with(Script::default()).await;
    let client = site.client(&registry, "a/b");
    // Two parts of 1, two of 1.5, two of 2 units, and more than half of one of 3.5.
    let content = bytes(1, unit(kind) * 11);
    let id = client.start().await;
    assert_eq!(
        client.append(id, streamed(&content)).await.unwrap(),
        content.len() as u64
    );
    let sql = "SELECT string_agg(size::text, ' ' ORDER BY number) FROM upload_part";
    let sizes: String = site.sql.query_one(sql, &[]).await.unwrap().get(0);
    let unit = unit(kind);
    let expected = [
        unit,
        unit,
        unit * 3 / 2,
        unit * 3 / 2,
        unit * 2,
        unit * 2,
        unit * 2,
    ]
    .map(|size| size.to_string());
    assert_eq!(sizes, expected.join(" "));
    client
        .finish(id, sha256(&content), UploadBody::empty())
        .await
        .unwrap();
    assert!(client.pull(sha256(&content)).await == content);
    // Nothing was read, and nothing was copied.
    let calls = script.names();
    let ours = calls
        .iter()
        .filter(|call| **call != "put_part")
        .collect::<Vec<_>>();
    assert_eq!(
        ours,
        [&"begin", &"complete", &"get"],
        "the last one is the pull"
    );
    site.nothing_is_left_over(&registry).await;
}

async fn chunks_walk_every_step_of_the_schedule_each_on_another_process(kind: Kind) {
    let site = Site::new(kind).await;
    let processes = [site.process().await, site.process().await];
    let clients = processes.each_ref().map(|registry| Client {
        registry,
        caller: &site.caller,
        name: name("a/b"),
    });
    let content = bytes(2, unit(kind) * 12 - 77);
    let id = clients[0].start().await;
    let chunk = usize::try_from(unit(kind) * 7 / 10).unwrap();
    let mut turn = clients.iter().cycle();
    for start in (0..content.len()).step_by(chunk) {
        let piece = content.slice(start..content.len().min(start + chunk));
        let client = turn.next().unwrap();
        assert_eq!(client.received(id).await.unwrap(), start as u64);
        let received = client.append_at(id, start as u64, &piece).await.unwrap();
        assert_eq!(received, (start + piece.len()) as u64);
    }
    let last = turn.next().unwrap();
    last.finish(id, sha256(&content), UploadBody::empty())
        .await
        .unwrap();
    assert!(clients[0].pull(sha256(&content)).await == content);
    site.nothing_is_left_over(&processes[0]).await;
}

async fn a_blob_comes_with_one_request(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    for size in [1, 3_000, unit(kind), unit(kind) + 1, several_parts(kind)] {
        for sized in [true, false] {
            let content = bytes(size + u64::from(sized), size);
            let digest = sha256(&content);
            let body = if sized {
                body(&content)
            } else {
                streamed(&content)
            };
            let done = registry
                .push_blob(&site.caller, &client.name, digest, body)
                .await
                .unwrap();
            assert_eq!((done.digest, done.size), (digest, size));
            assert!(client.pull(digest).await == content);
        }
    }
    let wrong = registry
        .push_blob(
            &site.caller,
            &client.name,
            sha256(b"x"),
            body(&bytes(3, 100)),
        )
        .await
        .unwrap_err();
    assert!(matches!(wrong, Error::DigestMismatch { .. }), "{wrong:?}");
    assert_eq!(
        site.number("SELECT count(*) FROM upload").await,
        0,
        "nobody knows its id"
    );
    site.nothing_is_left_over(&registry).await;
}

async fn a_blob_comes_with_the_last_request(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    for (before, after) in [(0, 9), (0, 2), (0, 27), (3, 2), (10, 1), (13, 8), (25, 17)] {
        // Tenths of a unit.
        let content = bytes(before * 100 + after, unit(kind) * (before + after) / 10);
        let cut = usize::try_from(unit(kind) * before / 10).unwrap();
        let id = client.start().await;
        if before > 0 {
            client
                .append(id, body(&content.slice(..cut)))
                .await
                .unwrap();
        }
        let digest = sha256(&content);
        client
            .finish(id, digest, body(&content.slice(cut..)))
            .await
            .unwrap();
        assert!(
            client.pull(digest).await == content,
            "{before} and {after} tenths"
        );
        let again = client
            .finish(id, digest, UploadBody::empty())
            .await
            .unwrap_err();
        assert!(matches!(again, Error::UploadUnknown), "{again:?}");
    }
    site.nothing_is_left_over(&registry).await;
}

async fn a_blob_without_bytes_comes_every_way(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let empty = sha256(b"");
    let done = registry.push_blob(&site.caller, &client.name, empty, UploadBody::empty());
    assert_eq!(done.await.unwrap().size, 0);
    let id = client.start().await;
    assert_eq!(client.append(id, UploadBody::empty()).await.unwrap(), 0);
    client.finish(id, empty, UploadBody::empty()).await.unwrap();
    let id = client.start().await;
    client
        .finish(id, empty, streamed(&Bytes::new()))
        .await
        .unwrap();
    assert!(client.pull(empty).await.is_empty());
    site.nothing_is_left_over(&registry).await;
}

async fn small_content_lies_in_the_row(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let (first, second, third) = (bytes(5, 2_048), bytes(6, 2_048), bytes(7, 2_049));
    let id = client.start().await;
    client
        .finish(id, sha256(&first), body(&first))
        .await
        .unwrap();
    // As docker does it: the bytes come with the PATCH, and are an object already.
    for content in [&second, &third] {
        let id = client.start().await;
        client.append(id, streamed(content)).await.unwrap();
        client
            .finish(id, sha256(content), UploadBody::empty())
            .await
            .unwrap();
    }
    let sql = "SELECT content FROM blob ORDER BY id";
    let rows = site.sql.query(sql, &[]).await.unwrap();
    let contents: Vec<Option<Vec<u8>>> = rows.iter().map(|row| row.get(0)).collect();
    assert!(contents == [Some(first.to_vec()), Some(second.to_vec()), None]);
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn a_small_layer_is_one_call_to_the_store_whichever_way_it_comes() {
    let mut site = Site::new(Kind::S3).await;
    site.settings.schedule = PartSchedule::standard();
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let mut asked = 0;
    for size in [3_000, 8 << 20] {
        // docker, podman, crane
        let content = bytes(size, size);
        let id = client.start().await;
        client.append(id, streamed(&content)).await.unwrap();
        client
            .finish(id, sha256(&content), UploadBody::empty())
            .await
            .unwrap();
        // containerd, oras, buildkit
        let content = bytes(size + 1, size);
        let id = client.start().await;
        client
            .finish(id, sha256(&content), body(&content))
            .await
            .unwrap();
        // one POST
        let content = bytes(size + 2, size);
        let done = registry.push_blob(&site.caller, &client.name, sha256(&content), body(&content));
        done.await.unwrap();
        asked += 3;
    }
    // As a client that only asks whether it may push.
    let id = client.start().await;
    registry
        .cancel_upload(&site.caller, &client.name, id)
        .await
        .unwrap();
    let requests = site.requests();
    assert_eq!(requests.len(), asked, "{requests:?}");
    assert!(
        requests
            .iter()
            .all(|request| request.starts_with("PUT /b/")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_large_layer_is_its_parts_and_two_calls_more() {
    let mut site = Site::new(Kind::S3).await;
    site.settings.schedule = PartSchedule::standard();
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(12, 20 << 20);
    let done = registry.push_blob(&site.caller, &client.name, sha256(&content), body(&content));
    done.await.unwrap();
    let methods: Vec<_> = site
        .requests()
        .iter()
        .map(|request| request.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(methods, ["POST", "PUT", "PUT", "PUT", "POST"]);
}
