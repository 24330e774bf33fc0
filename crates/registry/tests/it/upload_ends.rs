//! Uploads that end otherwise than with a blob, and requests that are refused.

use crate::support::{
    Kind, Site, body, broken, bytes, on_both_stores, range, several_parts, sha256, stalled,
    streamed, unit,
};
use portolan_registry::Error;
use portolan_registry::upload::UploadBody;
use portolan_testkit::children::eventually;
use std::pin::pin;

on_both_stores! {
    a_client_that_goes_away_leaves_whole_parts_and_a_true_offset
    a_cancelled_upload_is_unknown_and_leaves_nothing
    an_expired_upload_leaves_nothing
}

async fn a_client_that_goes_away_leaves_whole_parts_and_a_true_offset(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(8, several_parts(kind));
    let unit = unit(kind);
    let id = client.start().await;
    // Less than a part, with and without a tail before it: nothing of it is kept.
    let gone = client
        .append(id, broken(&content.slice(..1_000)))
        .await
        .unwrap_err();
    assert!(matches!(gone, Error::BodyInterrupted), "{gone:?}");
    assert_eq!(client.received(id).await.unwrap(), 0);
    client
        .append(id, body(&content.slice(..500)))
        .await
        .unwrap();
    client
        .append(id, broken(&content.slice(500..1_500)))
        .await
        .unwrap_err();
    assert_eq!(client.received(id).await.unwrap(), 500);
    // Two parts and a bit, the tail in the first of them.
    client
        .append(id, broken(&content.slice(500..)))
        .await
        .unwrap_err();
    assert_eq!(client.received(id).await.unwrap(), unit * 2);
    let rest = content.slice(usize::try_from(unit * 2).unwrap()..);
    // A PUT that breaks off changes nothing.
    let gone = client
        .finish(id, sha256(&content), broken(&rest))
        .await
        .unwrap_err();
    assert!(matches!(gone, Error::BodyInterrupted), "{gone:?}");
    assert_eq!(client.received(id).await.unwrap(), unit * 2);
    client.append_at(id, unit * 2, &rest).await.unwrap();
    client
        .finish(id, sha256(&content), UploadBody::empty())
        .await
        .unwrap();
    assert!(client.pull(sha256(&content)).await == content);
    site.nothing_is_left_over(&registry).await;
}

async fn a_cancelled_upload_is_unknown_and_leaves_nothing(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    for size in [0, 1_000, several_parts(kind)] {
        let id = client.start().await;
        client.append(id, body(&bytes(9, size))).await.unwrap();
        registry
            .cancel_upload(&site.caller, &client.name, id)
            .await
            .unwrap();
        let ends = [
            registry
                .cancel_upload(&site.caller, &client.name, id)
                .await
                .unwrap_err(),
            client.received(id).await.unwrap_err(),
            client.append(id, body(&bytes(1, 1))).await.unwrap_err(),
            client
                .finish(id, sha256(b""), UploadBody::empty())
                .await
                .unwrap_err(),
        ];
        assert!(
            ends.iter().all(|end| matches!(end, Error::UploadUnknown)),
            "{ends:?}"
        );
    }
    site.nothing_is_left_over(&registry).await;
}

async fn an_expired_upload_leaves_nothing(kind: Kind) {
    let site = Site::new(kind).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let id = client.start().await;
    client
        .append(id, body(&bytes(10, several_parts(kind))))
        .await
        .unwrap();
    client.append(id, body(&bytes(11, 10))).await.unwrap();
    assert_eq!(
        registry.sweep_uploads(10).await.unwrap(),
        0,
        "it has not expired"
    );
    site.run("UPDATE upload SET expires_at = now()").await;
    assert!(matches!(
        client.received(id).await,
        Err(Error::UploadUnknown)
    ));
    assert_eq!(registry.sweep_uploads(10).await.unwrap(), 1);
    assert_eq!(registry.sweep_uploads(10).await.unwrap(), 0);
    let deletion = registry.delete_objects(10).await.unwrap();
    assert_eq!(deletion.total(), 0, "its objects are in quarantine");
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn chunks_that_do_not_fit_are_refused_and_change_nothing() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(13, 1_000);
    let id = client.start().await;
    client.append_at(id, 0, &content).await.unwrap();
    for start in [0, 1, 999, 1_001, 5_000] {
        let refused = client.append_at(id, start, &content).await.unwrap_err();
        let Error::RangeOutOfOrder {
            id: named,
            received,
        } = refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!((named, received), (id, 1_000));
    }
    // A body of another length than its range, announced or not.
    for (body, wanted) in [
        (body(&content), 999),
        (streamed(&content), 999),
        (streamed(&content), 1_001),
    ] {
        let range = Some(range(1_000, &bytes(0, wanted)));
        let refused = registry
            .append_upload(&site.caller, &client.name, id, range, body)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::SizeMismatch), "{refused:?}");
    }
    let range = Some(range(0, &content));
    let refused = registry
        .finish_upload(
            &site.caller,
            &client.name,
            id,
            sha256(b""),
            range,
            body(&content),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::RangeOutOfOrder { .. }),
        "{refused:?}"
    );
    assert_eq!(client.received(id).await.unwrap(), 1_000);
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn an_upload_larger_than_the_schedule_is_too_large() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let limit = site.settings.schedule.total_max();
    let content = bytes(14, limit + 1);
    let id = client.start().await;
    let refused = client.append(id, streamed(&content)).await.unwrap_err();
    assert!(
        matches!(refused, Error::BlobTooLarge { limit: said } if said == limit),
        "{refused:?}"
    );
    let refused = client
        .finish(id, sha256(&content), body(&content))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::BlobTooLarge { .. }), "{refused:?}");
    // Exactly so many is not.
    let content = bytes(15, limit);
    let done = registry.push_blob(&site.caller, &client.name, sha256(&content), body(&content));
    done.await.unwrap();
    assert!(client.pull(sha256(&content)).await == content);
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn an_upload_lives_a_day_after_a_request_that_took_longer() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let id = client.start().await;
    {
        // Dropped at the end of the block, after the day: what it has is written down then.
        let mut sending = pin!(client.append(id, stalled(&bytes(16, 1_000))));
        let sql = "SELECT count(*) FROM upload WHERE lock_until > now()";
        let claimed = eventually("it is claimed", async || site.number(sql).await == 1);
        tokio::select! {
            outcome = &mut sending => panic!("{outcome:?}"),
            () = claimed => {}
        }
        // A day goes by before the request ends and writes down what it has.
        site.run("UPDATE upload SET expires_at = now() - interval '1 minute'")
            .await;
    }
    let sql = "SELECT count(*) FROM upload
               WHERE lock_until IS NULL AND expires_at > now() + interval '23 hours'";
    eventually("it lives a day from now", async || {
        site.number(sql).await == 1
    })
    .await;
}
