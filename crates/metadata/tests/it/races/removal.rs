//! A user's delete of a manifest against whatever is being hung on it.

use crate::support::{Db, Push, aside, commit, push_manifest};
use portolan_metadata::{Principal, manifests};

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
