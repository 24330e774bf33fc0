//! Whole pushes against each other, and what a dead one leaves.

use crate::support::{Db, Push, commit, digest, new_manifest, push_manifest};
use portolan_metadata::{Error, ManifestId, Principal, RepositoryId, gc, manifests};
use portolan_oci::Digest;
use portolan_pg::Tx;

// Rule: nothing that one of these transactions made is seen, or left, when it does not commit.

#[tokio::test]
async fn a_push_that_dies_in_the_middle_leaves_nothing() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let layer = digest(b"layer");
    db.blob(app, b"layer").await;
    let count = async || {
        db.number(
            "SELECT (SELECT count(*) FROM manifest) + (SELECT count(*) FROM manifest_content) + (SELECT count(*) FROM tag)
                 + (SELECT count(*) FROM tag_history) + (SELECT count(*) FROM gc_queue WHERE kind = 'manifest')",
        )
        .await
    };
    let pusher = db.begin().await;
    let push = Push {
        blobs: &[layer],
        tag: Some("latest"),
        ..Push::of(b"one")
    };
    push_manifest(&pusher, app, &push).await.unwrap();
    drop(pusher);
    // The connection goes back after its ROLLBACK: the same push needs the same locks.
    db.manifest(app, &push).await;
    assert_eq!(count().await, 5);
    let unchanged = count().await;
    let second = Push {
        tag: Some("latest"),
        ..Push::of(b"two")
    };
    let pusher = db.begin().await;
    push_manifest(&pusher, app, &second).await.unwrap();
    pusher.rollback().await.unwrap();
    assert_eq!(count().await, unchanged);
}

#[tokio::test]
async fn two_pushes_that_swap_two_tags_wait_and_do_not_deadlock() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    db.manifest(
        app,
        &Push {
            tag: Some("a"),
            ..Push::of(b"one")
        },
    )
    .await;
    db.manifest(
        app,
        &Push {
            tag: Some("b"),
            ..Push::of(b"one")
        },
    )
    .await;
    // Both move both tags away from one manifest, in the order of names, and touch it last.
    let push = async |tx: Tx, payload: &'static [u8]| -> Result<Digest, Error> {
        let mut touched = Vec::new();
        let (manifest, own) = push_manifest_untouched(&tx, app, payload).await?;
        for name in ["a", "b"] {
            let name = crate::support::tag(name);
            let step = portolan_metadata::tags::TagMove {
                repository: app,
                tag: &name,
                manifest,
                digest: &own,
                actor: Principal::Anonymous,
                expect: None,
            };
            touched.extend(
                portolan_metadata::tags::move_to(&tx, &step)
                    .await?
                    .abandoned,
            );
        }
        touched.push(manifest);
        gc::touch_manifests(&tx, &touched).await?;
        commit(tx).await;
        Ok(own)
    };
    let (one, two) = (db.begin().await, db.begin().await);
    let (first, second) = tokio::join!(push(one, b"two"), push(two, b"three"));
    first.unwrap();
    second.unwrap();
    assert!(
        db.holds("SELECT count(DISTINCT manifest_id) = 1 FROM tag")
            .await
    );
}

async fn push_manifest_untouched(
    tx: &Tx,
    repository: RepositoryId,
    payload: &[u8],
) -> Result<(ManifestId, Digest), Error> {
    let own = digest(payload);
    manifests::lock_related(tx, repository, &own, &[]).await?;
    portolan_metadata::manifest_contents::insert(tx, &own, payload).await?;
    let id = manifests::insert(tx, repository, &new_manifest(&Push::of(payload))).await?;
    Ok((id, own))
}
