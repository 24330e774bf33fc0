//! Pushes of manifests against their collector.

use super::{is_young, old_manifest};
use crate::collector::{Collector, Review, a_day_passes};
use crate::support::{Db, Push, aside, commit, digest, new_manifest, push_manifest};
use portolan_metadata::{gc, manifests};

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
