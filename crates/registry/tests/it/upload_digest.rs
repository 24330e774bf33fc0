//! What the bytes hash to, on both stores: wrong digests, other algorithms, lost hash states.

use crate::support::{Kind, Site, body, broken, bytes, on_both_stores, sha256, streamed, unit};
use bytes::Bytes;
use portolan_oci::{Algorithm, Digest};
use portolan_registry::Error;
use portolan_registry::upload::UploadBody;

on_both_stores! {
    a_wrong_digest_leaves_the_upload_as_it_was
    a_digest_of_another_algorithm_is_computed_from_what_is_stored
    a_hash_state_that_cannot_be_read_is_replaced_by_reading_the_bytes
}

async fn a_wrong_digest_leaves_the_upload_as_it_was(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    for tenths in [3, 12, 26] {
        let content = bytes(tenths, unit(kind) * tenths / 10);
        let (first, rest) = (
            content.slice(..content.len() / 3),
            content.slice(content.len() / 3..),
        );
        let id = client.start().await;
        let received = client.append(id, streamed(&first)).await.unwrap();
        for wrong in [
            body(&rest),
            body(&bytes(99, unit(kind) * 3)),
            UploadBody::empty(),
        ] {
            let refused = client
                .finish(id, sha256(b"wrong"), wrong)
                .await
                .unwrap_err();
            assert!(
                matches!(refused, Error::DigestMismatch { .. }),
                "{refused:?}"
            );
            assert_eq!(client.received(id).await.unwrap(), received);
        }
        client
            .finish(id, sha256(&content), body(&rest))
            .await
            .unwrap();
        assert!(client.pull(sha256(&content)).await == content);
    }
    site.nothing_is_left_over(&registry).await;
}

async fn a_digest_of_another_algorithm_is_computed_from_what_is_stored(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    for tenths in [1, 6, 26] {
        let content = bytes(tenths, unit(kind) * tenths / 10);
        let digest = Digest::of(Algorithm::Sha512, &content);
        let half = content.len() / 2;
        // Announced.
        let start = registry.start_upload(&site.caller, &client.name, Some(Algorithm::Sha512));
        let id = start.await.unwrap().id;
        client
            .append(id, body(&content.slice(..half)))
            .await
            .unwrap();
        client
            .finish(id, digest, body(&content.slice(half..)))
            .await
            .unwrap();
        // Not announced; all, half and nothing of it in the last request.
        for cut in [0, half, content.len()] {
            let id = client.start().await;
            client
                .append(id, body(&content.slice(..cut)))
                .await
                .unwrap();
            client
                .finish(id, digest, body(&content.slice(cut..)))
                .await
                .unwrap();
        }
        assert!(client.pull(digest).await == content);
        // Wrong, and not to be seen before the parts are one object: then the upload is at its end.
        let id = client.start().await;
        client.append(id, body(&content)).await.unwrap();
        let wrong = Digest::of(Algorithm::Sha512, b"wrong");
        let refused = client
            .finish(id, wrong, UploadBody::empty())
            .await
            .unwrap_err();
        assert!(
            matches!(refused, Error::DigestMismatch { .. }),
            "{refused:?}"
        );
        let parts = content.len() as u64 > unit(kind);
        assert_eq!(client.received(id).await.is_err(), parts);
    }
    site.nothing_is_left_over(&registry).await;
}

async fn a_hash_state_that_cannot_be_read_is_replaced_by_reading_the_bytes(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    for tenths in [5, 26] {
        let content = bytes(tenths, unit(kind) * tenths / 10);
        let half = content.len() / 2;
        let id = client.start().await;
        client
            .append(id, body(&content.slice(..half)))
            .await
            .unwrap();
        // As an older version would have left it.
        site.run("UPDATE upload SET hash_state = '\\x00' || hash_state")
            .await;
        client
            .append(id, body(&content.slice(half..content.len() - 1)))
            .await
            .unwrap();
        let refused = client
            .finish(id, sha256(b"wrong"), broken(&Bytes::new()))
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::BodyInterrupted));
        client
            .finish(
                id,
                sha256(&content),
                body(&content.slice(content.len() - 1..)),
            )
            .await
            .unwrap();
        assert!(client.pull(sha256(&content)).await == content);
    }
    site.nothing_is_left_over(&registry).await;
}
