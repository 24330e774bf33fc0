//! Phase 2 of collection: objects are claimed in a committed transaction, deleted without one, and then forgotten.

use crate::collector::a_day_passes;
use crate::support::{Db, aside, commit, digest, fresh_key};
use portolan_metadata::object_delete::{self, Claimed, Doomed, DoomedMultipart, Reason};
use portolan_metadata::{Error, StorageKey};

fn doomed(db: &Db, key: &StorageKey, multipart: DoomedMultipart) -> Doomed {
    Doomed {
        store: db.store,
        key: key.clone(),
        digest: None,
        size: None,
        multipart,
    }
}

async fn claim(db: &Db) -> Claimed {
    db.write(async |tx| object_delete::claim(tx, 100).await)
        .await
}

#[tokio::test]
async fn an_object_waits_out_its_quarantine_and_is_deleted_once() {
    let db = Db::new().await;
    let keys = [fresh_key(), fresh_key(), fresh_key()];
    let objects = [
        doomed(&db, &keys[0], DoomedMultipart::None),
        doomed(&db, &keys[1], DoomedMultipart::Begun),
        doomed(&db, &keys[2], DoomedMultipart::Id("m-1".to_owned())),
    ];
    db.write(async |tx| object_delete::enqueue(tx, Reason::Upload, &objects).await)
        .await;
    // Twice is once.
    db.write(async |tx| object_delete::enqueue(tx, Reason::Duplicate, &objects[..1]).await)
        .await;
    assert!(claim(&db).await.objects.is_empty());
    a_day_passes(&db).await;
    let mut claimed = claim(&db).await.objects;
    claimed.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(claimed, objects);
    assert!(claim(&db).await.objects.is_empty(), "claimed is claimed");

    let deleted = [(db.store, keys[0].clone()), (db.store, keys[2].clone())];
    assert_eq!(
        db.write(async |tx| object_delete::done(tx, &deleted).await)
            .await,
        2
    );
    assert_eq!(
        db.write(async |tx| object_delete::done(tx, &deleted).await)
            .await,
        0
    );

    // The worker died before it reported the third: after a quarter of an hour another one claims it.
    db.run("UPDATE object_delete SET claimed_at = now() - interval '14 minutes'")
        .await;
    assert!(claim(&db).await.objects.is_empty());
    db.run("UPDATE object_delete SET claimed_at = now() - interval '16 minutes'")
        .await;
    assert_eq!(claim(&db).await.objects, objects[1..2]);
}

#[tokio::test]
async fn a_row_goes_only_after_its_object_was_claimed() {
    let db = Db::new().await;
    let key = fresh_key();
    let object = doomed(&db, &key, DoomedMultipart::None);
    db.write(async |tx| object_delete::enqueue(tx, Reason::Upload, &[object]).await)
        .await;
    let deleted = [(db.store, key)];
    assert_eq!(
        db.write(async |tx| object_delete::done(tx, &deleted).await)
            .await,
        0
    );
    assert_eq!(db.number("SELECT count(*) FROM object_delete").await, 1);
}

#[tokio::test]
async fn a_key_that_a_blob_names_is_refused_and_stands_in_nobodys_way() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let blob = db.blob(repository, b"alive").await;
    let free = fresh_key();
    db.run(&format!(
        "INSERT INTO object_delete (store_id, storage_key, reason, not_before)
         SELECT store_id, storage_key, 'upload', now() - interval '2 days' FROM blob WHERE id = {blob}"
    ))
    .await;
    db.write(async |tx| {
        object_delete::enqueue(
            tx,
            Reason::Upload,
            &[doomed(&db, &free, DoomedMultipart::None)],
        )
        .await
    })
    .await;
    a_day_passes(&db).await;
    // One at a time: the refused one comes first, and then steps back.
    let one = db.write(async |tx| object_delete::claim(tx, 1).await).await;
    assert_eq!((one.objects.len(), one.refused.len()), (0, 1));
    assert!(
        db.holds(&format!(
            "SELECT claimed_at IS NULL FROM object_delete WHERE storage_key <> '{free}'"
        ))
        .await
    );
    let two = db.write(async |tx| object_delete::claim(tx, 1).await).await;
    assert_eq!((two.objects.len(), two.refused.len()), (1, 0));
    assert_eq!(two.objects[0].key, free);
}

#[tokio::test]
async fn what_is_claimed_cannot_be_restored_and_what_is_being_restored_cannot_be_claimed() {
    let db = Db::new().await;
    let object = Doomed {
        digest: Some(digest(b"layer")),
        size: Some(5),
        ..doomed(&db, &fresh_key(), DoomedMultipart::None)
    };
    db.write(async |tx| {
        object_delete::enqueue(tx, Reason::Collected, std::slice::from_ref(&object)).await
    })
    .await;
    // The protocol's undelete, by a clock that was set back: what it holds is due here.
    let restore =
        "DELETE FROM object_delete WHERE reason = 'collected' AND claimed_at IS NULL RETURNING 1";
    db.run("UPDATE object_delete SET not_before = now()").await;
    let undelete = db.database.session().await;
    undelete.batch_execute("BEGIN").await.unwrap();
    assert_eq!(undelete.execute(restore, &[]).await.unwrap(), 1);
    assert!(
        claim(&db).await.objects.is_empty(),
        "the row is passed by, not waited for"
    );
    undelete.batch_execute("ROLLBACK").await.unwrap();

    // Claimed, but not committed: the undelete waits, and then finds nothing to restore.
    let worker = db.begin().await;
    assert_eq!(
        object_delete::claim(&worker, 10).await.unwrap().objects,
        [object]
    );
    let race = aside(async move { undelete.execute(restore, &[]).await.unwrap() });
    db.until_blocked().await;
    commit(worker).await;
    assert_eq!(race.await.unwrap(), 0);
}

#[tokio::test]
async fn two_workers_claim_different_objects() {
    let db = Db::new().await;
    let objects: Vec<Doomed> = (0..10)
        .map(|_| doomed(&db, &fresh_key(), DoomedMultipart::None))
        .collect();
    db.write(async |tx| object_delete::enqueue(tx, Reason::Upload, &objects).await)
        .await;
    a_day_passes(&db).await;
    let (one, two) = (db.begin().await, db.begin().await);
    let first = object_delete::claim(&one, 6).await.unwrap().objects;
    let second = object_delete::claim(&two, 6).await.unwrap().objects;
    assert_eq!((first.len(), second.len()), (6, 4));
    assert!(first.iter().all(|object| !second.contains(object)));
    commit(one).await;
    two.rollback().await.unwrap();
    assert_eq!(
        claim(&db).await.objects.len(),
        4,
        "a claim that was not committed is none"
    );
}

#[tokio::test]
async fn an_object_of_an_adopted_store_cannot_be_enqueued() {
    let db = Db::new().await;
    db.run("UPDATE store SET ownership = 'adopted'").await;
    let tx = db.begin().await;
    let object = doomed(&db, &fresh_key(), DoomedMultipart::None);
    let Err(Error::Pg(refused)) = object_delete::enqueue(&tx, Reason::Upload, &[object]).await
    else {
        panic!("it was accepted");
    };
    assert_eq!(refused.sqlstate().unwrap().code(), "23503");
    tx.rollback().await.unwrap();
}
