//! Every race of the write protocol with a collector, stepped by two real sessions in both orders.
//!
//! Each test names the rule that, when broken, lets something acknowledged vanish or something dead stay.

use crate::collector::{Collector, Review, a_day_passes};
use crate::support::{
    Db, Push, aside, commit, digest, new_blob, new_manifest, push_manifest, upload_blob,
};
use portolan_metadata::blobs::{self, Committed};
use portolan_metadata::manifests;
use portolan_metadata::{BlobId, Error, ManifestId, Principal, RepositoryId, gc, object_delete};
use portolan_oci::Digest;
use portolan_pg::Tx;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

async fn is_young(db: &Db, manifest: ManifestId) -> bool {
    db.holds(&format!(
        "SELECT count(*) = 1 AND bool_and(review_after > now() + interval '23 hours') FROM gc_queue
         WHERE kind = 'manifest' AND id = {manifest}"
    ))
    .await
}

/// An old manifest without tag, and the collector that is about to look at it.
async fn old_manifest() -> (Db, RepositoryId, ManifestId, Collector) {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (id, _) = db.manifest(app, &Push::of(b"old")).await;
    a_day_passes(&db).await;
    let collector = Collector::new(&db).await;
    (db, app, id, collector)
}

/// A blob whose only link has expired, due.
async fn expired_blob() -> (Db, RepositoryId, BlobId, Collector) {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let id = db.blob(app, b"layer").await;
    a_day_passes(&db).await;
    let collector = Collector::new(&db).await;
    (db, app, id, collector)
}

// Rule: the age of a manifest is renewed by a push of one that exists.

#[tokio::test]
async fn a_repush_under_way_is_passed_by_and_committed_it_is_young() {
    let (db, app, id, collector) = old_manifest().await;
    let pusher = db.begin().await;
    push_manifest(&pusher, app, &Push::of(b"old"))
        .await
        .unwrap();
    assert_eq!(collector.review_manifest(id).await, Review::Nothing);
    commit(pusher).await;
    assert_eq!(collector.review_manifest(id).await, Review::Nothing);
    assert!(is_young(&db, id).await);
}

#[tokio::test]
async fn a_repush_that_comes_after_the_collector_makes_it_anew() {
    let (db, app, id, collector) = old_manifest().await;
    assert!(collector.take_manifest(id).await && collector.manifest_is_garbage(id).await);
    let pusher = db.begin().await;
    let race = aside(async move {
        let made = push_manifest(&pusher, app, &Push::of(b"old"))
            .await
            .unwrap();
        commit(pusher).await;
        made
    });
    db.until_blocked().await;
    collector.delete_manifest(id).await;
    let (new, _) = race.await.unwrap();
    assert_ne!(new, id);
    assert!(is_young(&db, new).await, "acknowledged, it is there");
}

#[tokio::test]
async fn a_repush_of_one_the_collector_let_go_keeps_it() {
    let (db, app, id, collector) = old_manifest().await;
    assert!(collector.take_manifest(id).await);
    let pusher = db.begin().await;
    let race = aside(async move {
        let made = push_manifest(&pusher, app, &Push::of(b"old"))
            .await
            .unwrap();
        commit(pusher).await;
        made
    });
    db.until_blocked().await;
    collector.run("ROLLBACK").await;
    assert_eq!(race.await.unwrap().0, id);
    assert!(is_young(&db, id).await);
}

#[tokio::test]
async fn an_insert_that_meets_a_collector_between_its_two_statements_begins_again() {
    // Without the lock of related manifests before it, `insert` by itself: DO NOTHING does not wait for a collector.
    let (db, app, id, collector) = old_manifest().await;
    assert!(collector.take_manifest(id).await && collector.manifest_is_garbage(id).await);
    let pusher = db.begin().await;
    let race = aside(async move {
        let new = new_manifest(&Push::of(b"old"));
        let made = manifests::insert(&pusher, app, &new).await.unwrap();
        gc::touch_manifest(&pusher, made).await.unwrap();
        commit(pusher).await;
        made
    });
    db.until_blocked().await;
    collector.delete_manifest(id).await;
    let new = race.await.unwrap();
    assert_ne!(new, id);
    assert!(is_young(&db, new).await);
}

// Rule: the queue is DO UPDATE, which waits for a collector that holds the row.

#[tokio::test]
async fn a_review_that_a_collector_drops_is_set_again_by_who_waited_for_it() {
    let (db, _, id, collector) = old_manifest().await;
    assert!(collector.take_manifest(id).await);
    let writer = db.begin().await;
    let race = aside(async move {
        gc::touch_manifest(&writer, id).await.unwrap();
        commit(writer).await;
    });
    db.until_blocked().await;
    // Kept by policy: the row goes.
    collector
        .run(&format!(
            "DELETE FROM gc_queue WHERE kind = 'manifest' AND id = {id}"
        ))
        .await;
    collector.run("COMMIT").await;
    race.await.unwrap();
    assert!(
        is_young(&db, id).await,
        "with DO NOTHING nobody would ever look at it again"
    );
}

// Rule: whether a manifest has a parent is asked by digest.

#[tokio::test]
async fn an_index_and_its_child_that_miss_each_other_still_keep_the_child() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let child = digest(b"child");
    let index = db.begin().await;
    let push = Push {
        children: &[child],
        tag: Some("latest"),
        ..Push::of(b"index")
    };
    push_manifest(&index, app, &push).await.unwrap();
    let late = db.begin().await;
    let (id, _) = push_manifest(&late, app, &Push::of(b"child"))
        .await
        .unwrap();
    commit(index).await;
    commit(late).await;
    assert!(
        db.holds("SELECT child_id IS NULL FROM manifest_child")
            .await,
        "both missed"
    );

    a_day_passes(&db).await;
    let collector = Collector::new(&db).await;
    assert_eq!(collector.review_manifest(id).await, Review::Kept);
    // The next push of either fills the guard.
    db.manifest(app, &Push::of(b"child")).await;
    assert!(
        db.holds(&format!("SELECT child_id = {id} FROM manifest_child"))
            .await
    );
}

#[tokio::test]
async fn a_child_that_an_index_is_naming_is_passed_by_and_then_guarded() {
    let (db, app, child, collector) = old_manifest().await;
    let index = db.begin().await;
    push_manifest(
        &index,
        app,
        &Push {
            children: &[digest(b"old")],
            ..Push::of(b"index")
        },
    )
    .await
    .unwrap();
    assert_eq!(collector.review_manifest(child).await, Review::Nothing);
    commit(index).await;
    assert_eq!(collector.review_manifest(child).await, Review::Kept);
}

#[tokio::test]
async fn an_index_that_waited_for_the_collector_of_its_child_hears_of_it() {
    let (db, app, child, collector) = old_manifest().await;
    assert!(collector.take_manifest(child).await && collector.manifest_is_garbage(child).await);
    let index = db.begin().await;
    let race = aside(async move {
        let old = digest(b"old");
        let related = manifests::lock_related(&index, app, &digest(b"index"), &[old])
            .await
            .unwrap();
        assert!(related.is_empty());
        let removed = manifests::removed_by_collection(&index, app, &[old])
            .await
            .unwrap();
        index.rollback().await.unwrap();
        removed
    });
    db.until_blocked().await;
    collector.delete_manifest(child).await;
    assert_eq!(
        race.await.unwrap(),
        Some(digest(b"old")),
        "not acknowledged: 404 naming it"
    );
}

// Rule: a subject's push takes KEY SHARE on the referrers it finds.

#[tokio::test]
async fn a_referrer_whose_subject_is_being_pushed_is_passed_by() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let subject = digest(b"subject");
    let (referrer, _) = db
        .manifest(
            app,
            &Push {
                subject: Some(subject),
                ..Push::of(b"signature")
            },
        )
        .await;
    a_day_passes(&db).await;
    let collector = Collector::new(&db).await;
    let pusher = db.begin().await;
    push_manifest(&pusher, app, &Push::of(b"subject"))
        .await
        .unwrap();
    assert_eq!(collector.review_manifest(referrer).await, Review::Nothing);
    commit(pusher).await;
    assert_eq!(collector.review_manifest(referrer).await, Review::Kept);
}

// Rule: a user's delete locks the manifest, and then reads anew what hangs on it.

#[tokio::test]
async fn a_delete_that_waited_for_a_tag_takes_the_tag_along() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (_, one) = db.manifest(app, &Push::of(b"one")).await;
    let tagger = db.begin().await;
    push_manifest(
        &tagger,
        app,
        &Push {
            tag: Some("latest"),
            ..Push::of(b"one")
        },
    )
    .await
    .unwrap();
    let deleter = db.begin().await;
    let race = aside(async move {
        let gone = manifests::delete(&deleter, app, &one, &Principal::Anonymous)
            .await
            .unwrap();
        commit(deleter).await;
        gone
    });
    db.until_blocked().await;
    commit(tagger).await;
    assert!(race.await.unwrap());
    assert_eq!(db.number("SELECT count(*) FROM tag").await, 0);
    assert!(
        db.holds("SELECT tags = '{latest}' FROM deleted_manifest")
            .await
    );
}

#[tokio::test]
async fn a_delete_leaves_a_tag_that_has_moved_on() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (_, one) = db
        .manifest(
            app,
            &Push {
                tag: Some("latest"),
                ..Push::of(b"one")
            },
        )
        .await;
    let mover = db.begin().await;
    push_manifest(
        &mover,
        app,
        &Push {
            tag: Some("latest"),
            ..Push::of(b"two")
        },
    )
    .await
    .unwrap();
    let deleter = db.begin().await;
    let race = aside(async move {
        let gone = manifests::delete(&deleter, app, &one, &Principal::Anonymous)
            .await
            .unwrap();
        commit(deleter).await;
        gone
    });
    db.until_blocked().await;
    commit(mover).await;
    assert!(race.await.unwrap());
    assert_eq!(db.number("SELECT count(*) FROM tag").await, 1);
    assert!(db.holds("SELECT tags = '{}' FROM deleted_manifest").await);
}

#[tokio::test]
async fn a_push_that_waited_for_a_delete_makes_it_anew() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (old, one) = db
        .manifest(
            app,
            &Push {
                tag: Some("latest"),
                ..Push::of(b"one")
            },
        )
        .await;
    let deleter = db.begin().await;
    assert!(
        manifests::delete(&deleter, app, &one, &Principal::Anonymous)
            .await
            .unwrap()
    );
    let pusher = db.begin().await;
    let race = aside(async move {
        let push = Push {
            tag: Some("latest"),
            ..Push::of(b"one")
        };
        let made = push_manifest(&pusher, app, &push).await.unwrap();
        commit(pusher).await;
        made
    });
    db.until_blocked().await;
    commit(deleter).await;
    let (new, _) = race.await.unwrap();
    assert_ne!(new, old);
    assert!(
        db.holds(&format!("SELECT manifest_id = {new} FROM tag"))
            .await
    );
}

#[tokio::test]
async fn of_two_deletes_one_is_answered_and_the_other_finds_nothing() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (_, one) = db
        .manifest(
            app,
            &Push {
                tag: Some("latest"),
                ..Push::of(b"one")
            },
        )
        .await;
    let first = db.begin().await;
    assert!(
        manifests::delete(&first, app, &one, &Principal::Anonymous)
            .await
            .unwrap()
    );
    let second = db.begin().await;
    let race = aside(async move {
        let gone = manifests::delete(&second, app, &one, &Principal::Anonymous)
            .await
            .unwrap();
        commit(second).await;
        gone
    });
    db.until_blocked().await;
    commit(first).await;
    assert!(!race.await.unwrap());
    assert_eq!(db.number("SELECT count(*) FROM deleted_manifest").await, 1);
}

#[tokio::test]
async fn an_index_that_waited_for_its_childs_delete_is_sparse() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (_, child) = db.manifest(app, &Push::of(b"child")).await;
    let deleter = db.begin().await;
    assert!(
        manifests::delete(&deleter, app, &child, &Principal::Anonymous)
            .await
            .unwrap()
    );
    let pusher = db.begin().await;
    let race = aside(async move {
        let push = Push {
            children: &[child],
            ..Push::of(b"index")
        };
        push_manifest(&pusher, app, &push).await.unwrap();
        commit(pusher).await;
    });
    db.until_blocked().await;
    commit(deleter).await;
    race.await.unwrap();
    assert!(
        db.holds("SELECT child_id IS NULL FROM manifest_child")
            .await
    );
}

#[tokio::test]
async fn a_delete_that_waited_for_an_index_leaves_it_sparse() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (_, child) = db.manifest(app, &Push::of(b"child")).await;
    let pusher = db.begin().await;
    push_manifest(
        &pusher,
        app,
        &Push {
            children: &[child],
            ..Push::of(b"index")
        },
    )
    .await
    .unwrap();
    let deleter = db.begin().await;
    let race = aside(async move {
        let gone = manifests::delete(&deleter, app, &child, &Principal::Anonymous)
            .await
            .unwrap();
        commit(deleter).await;
        gone
    });
    db.until_blocked().await;
    commit(pusher).await;
    assert!(race.await.unwrap());
    assert!(
        db.holds("SELECT child_id IS NULL FROM manifest_child")
            .await
    );
}

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
