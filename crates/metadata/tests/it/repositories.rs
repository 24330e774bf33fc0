//! Repositories: made by their first push, and locked by every write.

use crate::support::{Db, aside, commit, path, router};
use portolan_metadata::{Principal, Visibility, repositories};

#[tokio::test]
async fn a_first_push_makes_a_private_repository_and_the_organization() {
    let db = Db::new().await;
    db.repository("acme/team/app").await;
    assert!(
        db.holds("SELECT visibility = 'private' FROM repository WHERE path = 'acme/team/app'")
            .await
    );
    assert!(
        db.holds(
            "SELECT a.kind = 'organization' AND a.name = 'acme' FROM namespace n
             JOIN account a ON a.id = n.owner_account_id WHERE n.name = 'acme'"
        )
        .await
    );
    // `alpine` is `library/alpine`.
    db.repository("alpine").await;
    assert!(
        db.holds("SELECT count(*) = 1 FROM repository WHERE path = 'library/alpine'")
            .await
    );
    let missing = db
        .write(async |tx| {
            repositories::set_visibility(tx, &path("acme/none"), Visibility::Public).await
        })
        .await;
    assert!(!missing);
}

#[tokio::test]
async fn first_pushes_of_one_repository_at_once_make_it_once() {
    let db = Db::new().await;
    let pushes: Vec<_> = (0..8)
        .map(|_| {
            let router = router(&db.database, 1);
            aside(async move {
                let tx = router.begin().await.unwrap();
                let name = path("acme/app");
                let access = repositories::lock(&tx, &name, &Principal::Anonymous)
                    .await
                    .unwrap();
                let id = match access.repository {
                    Some(id) => id,
                    None => repositories::create(&tx, &name, &Principal::Anonymous)
                        .await
                        .unwrap(),
                };
                commit(tx).await;
                id
            })
        })
        .collect();
    let mut ids = Vec::new();
    for push in pushes {
        ids.push(push.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(db.number("SELECT count(*) FROM repository").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM namespace").await, 1);
}

#[tokio::test]
async fn removal_waits_for_a_write_that_has_locked_the_repository() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let name = path("acme/app");
    let writer = db.begin().await;
    let access = repositories::lock(&writer, &name, &Principal::Anonymous)
        .await
        .unwrap();
    assert_eq!(access.repository, Some(repository));

    let remover = db.begin().await;
    let removal = aside(async move {
        let gone = repositories::mark_deleted(&remover, &path("acme/app"))
            .await
            .unwrap();
        commit(remover).await;
        gone
    });
    db.until_blocked().await;
    commit(writer).await;
    assert_eq!(removal.await.unwrap(), Some(repository));
}

#[tokio::test]
async fn a_write_that_waited_for_a_removal_does_not_find_the_repository() {
    let db = Db::new().await;
    db.repository("acme/app").await;
    let remover = db.begin().await;
    repositories::mark_deleted(&remover, &path("acme/app"))
        .await
        .unwrap()
        .unwrap();
    let writer = db.begin().await;
    let write = aside(async move {
        let name = path("acme/app");
        let access = repositories::lock(&writer, &name, &Principal::Anonymous)
            .await
            .unwrap();
        // It makes a new one: the name is free as soon as the removal is committed.
        assert_eq!(access.repository, None);
        let id = repositories::create(&writer, &name, &Principal::Anonymous)
            .await
            .unwrap();
        commit(writer).await;
        id
    });
    db.until_blocked().await;
    commit(remover).await;
    let new = write.await.unwrap();
    assert_eq!(
        db.number("SELECT count(*) FROM repository WHERE state = 'removing'")
            .await,
        1
    );
    assert!(
        db.holds(&format!(
            "SELECT path = 'acme/app' FROM repository WHERE id = {new}"
        ))
        .await
    );
}

#[tokio::test]
async fn writers_do_not_wait_for_each_other_nor_for_a_change_of_visibility() {
    let db = Db::new().await;
    db.repository("acme/app").await;
    let name = path("acme/app");
    let one = db.begin().await;
    let two = db.begin().await;
    for tx in [&one, &two] {
        let access = repositories::lock(tx, &name, &Principal::Anonymous)
            .await
            .unwrap();
        assert!(access.repository.is_some());
    }
    db.write(async |tx| repositories::set_visibility(tx, &name, Visibility::Public).await)
        .await;
    commit(one).await;
    commit(two).await;
}
