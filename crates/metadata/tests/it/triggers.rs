//! What may have become unreachable is in the queue, whoever made it so: every statement here bypasses our code.

use crate::support::{Db, Push, digest};
use portolan_metadata::BlobId;

/// In how many hours a blob's review is due; `None`: it has none.
async fn due_in_hours(db: &Db, blob: BlobId) -> Option<i64> {
    let sql = format!(
        "SELECT round(extract(epoch FROM review_after - now()) / 3600)::bigint FROM gc_queue
         WHERE kind = 'blob' AND id = {blob}"
    );
    db.sql
        .query_opt(&sql, &[])
        .await
        .unwrap()
        .map(|row| row.get(0))
}

/// For how many more hours a link keeps a blob; `None`: there is no link.
async fn linked_for_hours(db: &Db, blob: BlobId) -> Option<i64> {
    let sql = format!(
        "SELECT round(extract(epoch FROM expires_at - now()) / 3600)::bigint FROM repository_blob WHERE blob_id = {blob}"
    );
    db.sql
        .query_opt(&sql, &[])
        .await
        .unwrap()
        .map(|row| row.get(0))
}

#[tokio::test]
async fn a_committed_blob_is_to_be_reviewed_in_a_day() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let blob = db.blob(repository, b"layer").await;
    assert_eq!(due_in_hours(&db, blob).await, Some(24));
    assert_eq!(linked_for_hours(&db, blob).await, Some(24));
}

#[tokio::test]
async fn a_reference_that_goes_leaves_a_link_of_a_day_and_a_review() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let blob = db.blob(repository, b"layer").await;
    let layer = digest(b"layer");
    let (manifest, _) = db
        .manifest(
            repository,
            &Push {
                blobs: &[layer],
                ..Push::of(b"one")
            },
        )
        .await;
    db.run("DELETE FROM repository_blob").await;
    db.run("DELETE FROM gc_queue").await;

    db.run(&format!(
        "DELETE FROM manifest_blob WHERE manifest_id = {manifest}"
    ))
    .await;
    assert_eq!(linked_for_hours(&db, blob).await, Some(24));
    assert_eq!(due_in_hours(&db, blob).await, Some(24));
}

#[tokio::test]
async fn a_link_that_is_there_is_renewed_and_never_shortened() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let blob = db.blob(repository, b"layer").await;
    let layer = digest(b"layer");
    for (kept_for, expected) in [("1 hour", 24), ("48 hours", 48)] {
        let (manifest, _) = db
            .manifest(
                repository,
                &Push {
                    blobs: &[layer],
                    ..Push::of(kept_for.as_bytes())
                },
            )
            .await;
        db.run(&format!(
            "UPDATE repository_blob SET expires_at = now() + interval '{kept_for}'"
        ))
        .await;
        db.run(&format!(
            "UPDATE gc_queue SET review_after = now() + interval '{kept_for}' WHERE kind = 'blob'"
        ))
        .await;
        db.run(&format!(
            "DELETE FROM manifest_blob WHERE manifest_id = {manifest}"
        ))
        .await;
        assert_eq!(linked_for_hours(&db, blob).await, Some(expected));
        assert_eq!(due_in_hours(&db, blob).await, Some(expected));
    }
}

#[tokio::test]
async fn a_repository_being_removed_keeps_no_links_but_its_blobs_are_reviewed() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let blob = db.blob(repository, b"layer").await;
    let (manifest, _) = db
        .manifest(
            repository,
            &Push {
                blobs: &[digest(b"layer")],
                ..Push::of(b"one")
            },
        )
        .await;
    db.run("DELETE FROM repository_blob").await;
    db.run("DELETE FROM gc_queue").await;
    db.run("UPDATE repository SET state = 'removing', removed_at = now(), removed_path = path, path = '~' || id").await;
    db.run(&format!(
        "DELETE FROM manifest_blob WHERE manifest_id = {manifest}"
    ))
    .await;
    assert_eq!(linked_for_hours(&db, blob).await, None);
    assert_eq!(due_in_hours(&db, blob).await, Some(24));
}

#[tokio::test]
async fn a_link_that_goes_makes_its_blob_due() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let blob = db.blob(repository, b"layer").await;
    db.run("DELETE FROM gc_queue").await;
    db.run("DELETE FROM repository_blob").await;
    assert_eq!(due_in_hours(&db, blob).await, Some(0));

    // A later date that stands is not brought forward.
    db.blob(repository, b"layer").await;
    db.run("UPDATE gc_queue SET review_after = now() + interval '7 hours'")
        .await;
    db.run("DELETE FROM repository_blob").await;
    assert_eq!(due_in_hours(&db, blob).await, Some(7));
}

#[tokio::test]
async fn a_link_that_goes_leaves_its_blob_to_the_manifests_that_missed_it() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let other = db.repository("acme/other").await;
    for repository in [app, other] {
        let (manifest, _) = db.manifest(repository, &Push::of(b"sparse")).await;
        let missing = "INSERT INTO manifest_missing_blob (repository_id, manifest_id, digest) VALUES ($1, $2, $3)";
        let layer = digest(b"layer");
        // Pushed at the same time as the blob: neither saw the other.
        let blob = db.blob(app, b"layer").await;
        db.sql
            .execute(missing, &[&repository, &manifest, &layer.as_bytes()])
            .await
            .unwrap();
        db.run("DELETE FROM repository_blob").await;
        let referenced = format!(
            "SELECT count(*) FROM manifest_blob WHERE blob_id = {blob} AND manifest_id = {manifest}"
        );
        // Where the blob was; not where it never came to.
        assert_eq!(db.number(&referenced).await, i64::from(repository == app));
    }
    assert_eq!(
        db.number("SELECT count(*) FROM manifest_missing_blob")
            .await,
        1
    );
}

#[tokio::test]
async fn one_statement_that_removes_many_rows_enqueues_each_blob_once() {
    let db = Db::new().await;
    let one = db.repository("acme/one").await;
    let two = db.repository("acme/two").await;
    let contents: [&[u8]; 3] = [b"a", b"b", b"c"];
    let mut digests: Vec<_> = contents.iter().map(|content| digest(content)).collect();
    digests.sort();
    for repository in [one, two] {
        for content in contents {
            db.blob(repository, content).await;
        }
        for payload in [b"first", b"other"] {
            db.manifest(
                repository,
                &Push {
                    blobs: &digests,
                    ..Push::of(payload)
                },
            )
            .await;
        }
    }
    db.run("DELETE FROM repository_blob").await;
    db.run("DELETE FROM gc_queue").await;
    assert_eq!(db.run("DELETE FROM manifest_blob").await, 12);
    assert_eq!(db.number("SELECT count(*) FROM repository_blob").await, 6);
    assert_eq!(
        db.number("SELECT count(*) FROM gc_queue WHERE kind = 'blob'")
            .await,
        3
    );
    // Nothing removed, nothing enqueued.
    assert_eq!(db.run("DELETE FROM manifest_blob").await, 0);
    assert_eq!(
        db.number("SELECT count(*) FROM gc_queue WHERE kind = 'blob'")
            .await,
        3
    );
}

#[tokio::test]
async fn a_blob_that_is_referenced_or_linked_cannot_be_deleted_by_anybody() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let blob = db.blob(repository, b"layer").await;
    let linked = db.sql.execute("DELETE FROM blob", &[]).await.unwrap_err();
    assert_eq!(linked.code().unwrap().code(), "23503");
    db.manifest(
        repository,
        &Push {
            blobs: &[digest(b"layer")],
            ..Push::of(b"one")
        },
    )
    .await;
    db.run("DELETE FROM repository_blob").await;
    let referenced = db.sql.execute("DELETE FROM blob", &[]).await.unwrap_err();
    assert_eq!(referenced.code().unwrap().code(), "23503");
    assert_eq!(
        db.number(&format!("SELECT count(*) FROM blob WHERE id = {blob}"))
            .await,
        1
    );
}
