//! Blobs: present where they are referenced or linked, for as long as was said.

use crate::access::user;
use crate::support::{Db, Push, aside, commit, digest, new_blob, path, router};
use bytes::Bytes;
use portolan_metadata::blobs::{self, BlobKey, BlobRow, NewBlob, ResolveBlob, Unlinked};
use portolan_metadata::{Principal, Visibility, repositories};
use std::time::Duration;

async fn resolved(db: &Db, name: &str, content: &[u8], for_seconds: i64) -> Option<BlobRow> {
    let found = db
        .sql
        .query_opt("SELECT id FROM account WHERE name = 'root'", &[])
        .await
        .unwrap();
    let principal = match found {
        Some(row) => Principal::Account {
            id: row.get::<_, i64>(0).into(),
            generation: 1,
            credential: None,
        },
        None => user(db, "root", true).await,
    };
    let key = BlobKey {
        path: path(name),
        digest: digest(content),
        principal,
        for_seconds,
    };
    db.router
        .read_fresh::<ResolveBlob>(key)
        .await
        .unwrap()
        .value
        .unwrap()
        .1
}

#[tokio::test]
async fn a_blob_is_present_by_a_reference_or_by_a_link_that_lasts() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    db.repository("acme/other").await;
    let id = db.blob(app, b"layer").await;
    let row = resolved(&db, "acme/app", b"layer", 7_200).await.unwrap();
    assert_eq!((row.id, row.size, row.store), (id, 5, db.store));
    assert!(row.content.is_none());
    assert!(
        resolved(&db, "acme/other", b"layer", 0).await.is_none(),
        "known elsewhere is not here"
    );

    // A link of an hour: readable, but no promise that a push may rest on.
    db.run("UPDATE repository_blob SET expires_at = now() + interval '1 hour'")
        .await;
    assert!(resolved(&db, "acme/app", b"layer", 0).await.is_some());
    assert!(resolved(&db, "acme/app", b"layer", 7_200).await.is_none());
    db.run("UPDATE repository_blob SET expires_at = now() - interval '1 second'")
        .await;
    assert!(resolved(&db, "acme/app", b"layer", 0).await.is_none());
    let locked = db
        .write(async |tx| blobs::lock_present(tx, app, &[digest(b"layer")], 0).await)
        .await;
    assert!(locked.is_empty());

    db.blob(app, b"layer").await;
    db.manifest(
        app,
        &Push {
            blobs: &[digest(b"layer")],
            ..Push::of(b"one")
        },
    )
    .await;
    db.run("DELETE FROM repository_blob").await;
    assert!(resolved(&db, "acme/app", b"layer", 7_200).await.is_some());
}

#[tokio::test]
async fn after_its_manifest_is_deleted_a_blob_can_be_pushed_upon_for_a_day() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    db.blob(app, b"layer").await;
    let layers = [digest(b"layer")];
    let (_, one) = db
        .manifest(
            app,
            &Push {
                blobs: &layers,
                ..Push::of(b"one")
            },
        )
        .await;
    db.run("DELETE FROM repository_blob").await;
    db.write(async |tx| {
        portolan_metadata::manifests::delete(tx, app, &one, &Principal::Anonymous).await
    })
    .await;
    assert!(resolved(&db, "acme/app", b"layer", 7_200).await.is_some());
    db.manifest(
        app,
        &Push {
            blobs: &layers,
            ..Push::of(b"two")
        },
    )
    .await;
}

#[tokio::test]
async fn a_small_blob_lies_in_its_row() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    for (content, inline) in [
        (&b""[..], true),
        (b"{}", true),
        (&[b'x'; 2_048], true),
        (&[b'x'; 2_049], false),
    ] {
        let new = NewBlob {
            content: Some(Bytes::copy_from_slice(content)),
            ..new_blob(db.store, content)
        };
        db.write(async |tx| {
            let committed = blobs::commit(tx, &new).await?;
            blobs::link(tx, app, committed.id, Duration::from_mins(1)).await
        })
        .await;
        let row = resolved(&db, "acme/app", content, 0).await.unwrap();
        assert_eq!(row.content.as_deref(), inline.then_some(content));
        assert_eq!(row.storage_key, new.key);
    }
}

#[tokio::test]
async fn uploads_of_one_digest_at_once_make_one_blob() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let store = db.store;
    let uploads: Vec<_> = (0..8)
        .map(|_| {
            let router = router(&db.database, 1);
            aside(async move {
                let tx = router.begin().await.unwrap();
                let committed = blobs::commit(&tx, &new_blob(store, b"layer"))
                    .await
                    .unwrap();
                blobs::link(&tx, app, committed.id, Duration::from_hours(24))
                    .await
                    .unwrap();
                commit(tx).await;
                committed
            })
        })
        .collect();
    let mut won = 0;
    let mut ids = Vec::new();
    for upload in uploads {
        let committed = upload.await.unwrap();
        won += u32::from(committed.won);
        ids.push(committed.id);
    }
    ids.dedup();
    assert_eq!((won, ids.len()), (1, 1));
}

#[tokio::test]
async fn a_link_is_only_ever_made_longer() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let blob = db.blob(app, b"layer").await;
    let hours =
        "SELECT round(extract(epoch FROM expires_at - now()) / 3600)::bigint FROM repository_blob";
    for (life, expected) in [(1, 24), (48, 48), (24, 48)] {
        db.write(async |tx| blobs::link(tx, app, blob, Duration::from_hours(life)).await)
            .await;
        assert_eq!(db.number(hours).await, expected);
    }
}

#[tokio::test]
async fn a_blob_is_taken_out_of_one_repository_only_and_not_while_it_is_needed() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let other = db.repository("acme/other").await;
    let layer = digest(b"layer");
    let unlink = async |repository| {
        db.write(async |tx| blobs::unlink(tx, repository, &layer).await)
            .await
    };
    assert_eq!(unlink(app).await, Unlinked::Absent);
    db.blob(app, b"layer").await;
    db.blob(other, b"layer").await;
    assert_eq!(unlink(app).await, Unlinked::Done);
    assert_eq!(unlink(app).await, Unlinked::Absent);
    assert!(resolved(&db, "acme/app", b"layer", 0).await.is_none());
    assert!(resolved(&db, "acme/other", b"layer", 7_200).await.is_some());

    db.blob(app, b"layer").await;
    db.manifest(
        app,
        &Push {
            blobs: &[layer],
            ..Push::of(b"one")
        },
    )
    .await;
    assert_eq!(unlink(app).await, Unlinked::Referenced);
    assert_eq!(unlink(other).await, Unlinked::Done);
    // A link that has expired was not there any more.
    db.blob(other, b"layer").await;
    db.run("UPDATE repository_blob SET expires_at = now()")
        .await;
    assert_eq!(unlink(other).await, Unlinked::Absent);
}

#[tokio::test]
async fn presence_is_told_for_each_digest_and_locked_in_their_order() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    for content in [b"a", b"b", b"c"] {
        db.blob(app, content).await;
    }
    let wanted = [
        digest(b"c"),
        digest(b"missing"),
        digest(b"a"),
        digest(b"b"),
        digest(b"a"),
    ];
    let present = db
        .write(async |tx| blobs::lock_present(tx, app, &wanted, 0).await)
        .await;
    let mut expected = vec![digest(b"a"), digest(b"b"), digest(b"c")];
    expected.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    let found: Vec<_> = present.iter().map(|blob| blob.digest).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_mount_without_source_finds_what_the_principal_may_read() {
    let db = Db::new().await;
    let alice = user(&db, "alice", false).await;
    let root = user(&db, "root", true).await;
    let find = async |principal: Principal, content: &[u8], probe: usize| {
        let reader = db.router.read_list();
        blobs::find_readable(&reader, &digest(content), &principal, probe)
            .await
            .unwrap()
    };
    assert_eq!(find(root, b"layer", 10).await, None);
    let secret = db.repository("acme/secret").await;
    let id = db.blob(secret, b"layer").await;
    assert_eq!(find(alice, b"layer", 10).await, None);
    assert_eq!(find(Principal::Anonymous, b"layer", 10).await, None);
    assert_eq!(find(root, b"layer", 10).await, Some(id));

    let own = db.repository("alice/app").await;
    db.blob(own, b"layer").await;
    assert_eq!(find(alice, b"layer", 10).await, Some(id));
    assert_eq!(find(Principal::Anonymous, b"layer", 10).await, None);
    // By reference, with many manifests of one repository before it.
    db.run("DELETE FROM repository_blob").await;
    assert_eq!(find(root, b"layer", 10).await, None);
    for repository in [secret, own] {
        db.blob(repository, b"layer").await;
        for number in 0..20 {
            let payload = format!("manifest {number}");
            let push = Push {
                blobs: &[digest(b"layer")],
                ..Push::of(payload.as_bytes())
            };
            db.manifest(repository, &push).await;
        }
    }
    db.run("DELETE FROM repository_blob").await;
    assert_eq!(find(alice, b"layer", 2).await, Some(id));
    assert_eq!(
        find(alice, b"layer", 1).await,
        None,
        "bounded: it looked at one repository"
    );
    let name = path("acme/secret");
    db.write(async |tx| repositories::set_visibility(tx, &name, Visibility::Public).await)
        .await;
    assert_eq!(find(Principal::Anonymous, b"layer", 1).await, Some(id));
    // A link that ends too soon is no base for a mount.
    db.run("DELETE FROM manifest_blob").await;
    db.run("UPDATE repository_blob SET expires_at = now() + interval '1 hour'")
        .await;
    assert_eq!(find(root, b"layer", 10).await, None);
}
