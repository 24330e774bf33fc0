//! Commits, links, mounts and references of blobs against their collector.

use super::{DAY, expired_blob};
use crate::collector::Review;
use crate::support::{Db, Push, aside, commit, digest, new_blob, push_manifest, upload_blob};
use portolan_metadata::blobs::{self, Committed};
use portolan_metadata::{BlobId, Principal, RepositoryId, manifests, object_delete};
use portolan_oci::Digest;
use portolan_pg::Tx;

// Rule: upload commit is INSERT DO NOTHING, then SELECT FOR KEY SHARE in a new statement, then again.

#[tokio::test]
async fn a_commit_of_a_digest_that_is_there_is_passed_by_by_its_collector() {
    let (db, app, id, collector) = expired_blob().await;
    let uploader = db.begin().await;
    let committed = blobs::commit(&uploader, &new_blob(db.store, b"layer"))
        .await
        .unwrap();
    assert_eq!(committed, Committed { id, won: false });
    assert_eq!(collector.review_blob(id).await, Review::Nothing);
    blobs::link(&uploader, app, id, DAY).await.unwrap();
    commit(uploader).await;
    assert_eq!(collector.review_blob(id).await, Review::Kept);
}

#[tokio::test]
async fn a_commit_that_comes_after_the_collector_is_a_new_blob_under_its_own_key() {
    let (db, app, id, collector) = expired_blob().await;
    assert!(collector.take_blob(id).await && collector.blob_is_garbage(id).await);
    let uploader = db.begin().await;
    let new = new_blob(db.store, b"layer");
    let key = new.key.clone();
    let race = aside(async move {
        let committed = blobs::commit(&uploader, &new).await.unwrap();
        blobs::link(&uploader, app, committed.id, DAY)
            .await
            .unwrap();
        commit(uploader).await;
        committed
    });
    db.until_blocked().await;
    assert!(collector.delete_blob(id).await);
    let committed = race.await.unwrap();
    assert!(committed.won && committed.id != id);
    assert!(
        db.holds(&format!("SELECT storage_key = '{key}' FROM blob"))
            .await
    );
    // The old object is in quarantine under its own key: deleting it later hurts nobody.
    assert!(
        db.holds(&format!(
            "SELECT storage_key <> '{key}' AND reason = 'collected' FROM object_delete"
        ))
        .await
    );
}

#[tokio::test]
async fn a_commit_of_a_blob_the_collector_let_go_uses_it() {
    let (db, _, id, collector) = expired_blob().await;
    assert!(collector.take_blob(id).await);
    let uploader = db.begin().await;
    let new = new_blob(db.store, b"layer");
    let race = aside(async move {
        let committed = blobs::commit(&uploader, &new).await.unwrap();
        commit(uploader).await;
        committed
    });
    db.until_blocked().await;
    collector.run("ROLLBACK").await;
    assert_eq!(race.await.unwrap(), Committed { id, won: false });
}

#[tokio::test]
async fn a_commit_that_waited_for_the_first_of_its_digest_finds_it() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let first = db.begin().await;
    let id = upload_blob(&first, db.store, app, b"layer").await.unwrap();
    let second = db.begin().await;
    let new = new_blob(db.store, b"layer");
    let race = aside(async move {
        let committed = blobs::commit(&second, &new).await.unwrap();
        let key = object_delete::Doomed {
            store: new.store,
            key: new.key,
            digest: Some(new.digest),
            size: Some(new.size),
            multipart: object_delete::DoomedMultipart::None,
        };
        object_delete::enqueue(&second, object_delete::Reason::Duplicate, &[key])
            .await
            .unwrap();
        commit(second).await;
        committed
    });
    db.until_blocked().await;
    commit(first).await;
    assert_eq!(race.await.unwrap(), Committed { id, won: false });
    assert_eq!(
        db.number("SELECT count(*) FROM object_delete WHERE reason = 'duplicate'")
            .await,
        1
    );
}

// Rule: a link is DO UPDATE, and RESTRICT holds its blob.

#[tokio::test]
async fn a_link_renewed_while_it_expires_is_there_afterwards() {
    for link_first in [true, false] {
        let (db, app, id, sweeper) = expired_blob().await;
        let writer = db.begin().await;
        assert!(blobs::lock_by_id(&writer, id).await.unwrap());
        let expire = "DELETE FROM repository_blob WHERE expires_at <= now()";
        if link_first {
            blobs::link(&writer, app, id, DAY).await.unwrap();
            let session = db.database.session().await;
            let race = aside(async move { session.execute(expire, &[]).await.unwrap() });
            db.until_blocked().await;
            commit(writer).await;
            assert_eq!(race.await.unwrap(), 0);
        } else {
            sweeper.run("BEGIN").await;
            assert_eq!(sweeper.run(expire).await, 1);
            let race = aside(async move {
                blobs::link(&writer, app, id, DAY).await.unwrap();
                commit(writer).await;
            });
            db.until_blocked().await;
            sweeper.run("COMMIT").await;
            race.await.unwrap();
        }
        assert!(
            db.holds("SELECT bool_and(expires_at > now()) AND count(*) = 1 FROM repository_blob")
                .await
        );
    }
}

#[tokio::test]
async fn a_link_to_a_blob_that_is_gone_fails_the_transaction_retryably() {
    let (db, app, id, collector) = expired_blob().await;
    assert_eq!(collector.review_blob(id).await, Review::Collected);
    let tx = db.begin().await;
    let Err(cause) = blobs::link(&tx, app, id, DAY).await else {
        panic!("linked")
    };
    assert!(cause.is_retryable(), "{cause:?}");
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn a_mount_locks_the_blob_or_hears_that_it_is_gone() {
    let (db, app, id, collector) = expired_blob().await;
    let mounter = db.begin().await;
    assert!(blobs::lock_by_id(&mounter, id).await.unwrap());
    assert_eq!(collector.review_blob(id).await, Review::Nothing);
    mounter.rollback().await.unwrap();

    assert!(collector.take_blob(id).await && collector.blob_is_garbage(id).await);
    let mounter = db.begin().await;
    let race = aside(async move {
        let there = blobs::lock_by_id(&mounter, id).await.unwrap();
        mounter.rollback().await.unwrap();
        there
    });
    db.until_blocked().await;
    assert!(collector.delete_blob(id).await);
    assert!(!race.await.unwrap());
    assert_eq!(
        db.number(&format!(
            "SELECT count(*) FROM repository_blob WHERE repository_id = {app}"
        ))
        .await,
        0
    );
}

#[tokio::test]
async fn a_manifests_push_locks_its_blobs_or_hears_which_are_gone() {
    let (db, app, id, collector) = expired_blob().await;
    let layer = digest(b"layer");
    db.run("UPDATE repository_blob SET expires_at = now() + interval '1 minute'")
        .await;
    let pusher = db.begin().await;
    push_manifest(
        &pusher,
        app,
        &Push {
            blobs: &[layer],
            ..Push::of(b"one")
        },
    )
    .await
    .unwrap();
    assert_eq!(collector.review_blob(id).await, Review::Nothing);
    db.run("UPDATE repository_blob SET expires_at = now()")
        .await;
    commit(pusher).await;
    assert_eq!(collector.review_blob(id).await, Review::Kept);

    // Live when the push looks, dead when the collector does: its user has taken it out meanwhile.
    let (db, app, id, collector) = expired_blob().await;
    db.run("UPDATE repository_blob SET expires_at = now() + interval '1 hour'")
        .await;
    let remover = db.begin().await;
    blobs::unlink(&remover, app, &layer).await.unwrap();
    collector.run("BEGIN").await;
    collector
        .run(&format!("SELECT FROM blob WHERE id = {id} FOR UPDATE"))
        .await;
    let pusher = db.begin().await;
    let race = aside(async move {
        let present = blobs::lock_present(&pusher, app, &[layer], 0)
            .await
            .unwrap();
        pusher.rollback().await.unwrap();
        present
    });
    db.until_blocked().await;
    commit(remover).await;
    assert!(collector.delete_blob(id).await);
    assert!(
        race.await.unwrap().is_empty(),
        "not acknowledged: the blob is named as missing"
    );
}

#[tokio::test]
async fn a_reference_made_before_the_collector_looked_keeps_the_blob() {
    // The collector's locks first, a writer that ignores them (an importer, a person): RESTRICT is the last word.
    let (db, app, id, collector) = expired_blob().await;
    let (manifest, _) = db.manifest(app, &Push::of(b"one")).await;
    let writer = db.database.session().await;
    assert!(collector.take_blob(id).await && collector.blob_is_garbage(id).await);
    let insert = format!(
        "INSERT INTO manifest_blob (repository_id, blob_id, manifest_id) VALUES ({app}, {id}, {manifest})"
    );
    let race = aside(async move { writer.execute(&insert, &[]).await });
    db.until_blocked().await;
    assert!(collector.delete_blob(id).await);
    let refused = race.await.unwrap().unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "23503");
}

// Rule: what waits for a blob is locked before the note that it waits.

/// A manifest that misses a blob, and a transaction that is about to bring it.
async fn sparse() -> (Db, RepositoryId, Digest, BlobId, Tx) {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let other = db.repository("acme/other").await;
    let blob = db.blob(other, b"layer").await;
    let (manifest, digest_of_it) = db.manifest(app, &Push::of(b"sparse")).await;
    let missing = [digest(b"layer")];
    db.write(async |tx| manifests::insert_missing_blobs(tx, app, manifest, &missing).await)
        .await;
    let linker = db.begin().await;
    assert!(blobs::lock_by_id(&linker, blob).await.unwrap());
    (db, app, digest_of_it, blob, linker)
}

#[tokio::test]
async fn a_blob_that_comes_first_is_referenced_and_then_let_go() {
    let (db, app, sparse, blob, linker) = sparse().await;
    blobs::link(&linker, app, blob, DAY).await.unwrap();
    let remover = db.begin().await;
    let race = aside(async move {
        let gone = manifests::delete(&remover, app, &sparse, &Principal::Anonymous)
            .await
            .unwrap();
        commit(remover).await;
        gone
    });
    db.until_blocked().await;
    commit(linker).await;
    assert!(race.await.unwrap());
    assert_eq!(db.number("SELECT count(*) FROM manifest_blob").await, 0);
    assert_eq!(db.number("SELECT count(*) FROM repository_blob").await, 2);
}

#[tokio::test]
async fn a_blob_that_comes_as_its_manifest_goes_waits_and_deadlocks_nobody() {
    let (db, app, _, blob, linker) = sparse().await;
    let remover = db.database.session().await;
    remover
        .batch_execute("BEGIN; SELECT FROM manifest FOR UPDATE")
        .await
        .unwrap();
    let race = aside(async move {
        blobs::link(&linker, app, blob, DAY).await.unwrap();
        commit(linker).await;
    });
    db.until_blocked().await;
    // The remover's next steps find what they need free.
    remover
        .batch_execute("DELETE FROM manifest_missing_blob; DELETE FROM manifest; COMMIT")
        .await
        .unwrap();
    race.await.unwrap();
    assert_eq!(db.number("SELECT count(*) FROM manifest_blob").await, 0);
    assert_eq!(db.number("SELECT count(*) FROM repository_blob").await, 2);
}
