//! Manifests: pushed, related, shown and removed.

use crate::access::user;
use crate::collector::{Collector, Review, a_day_passes};
use crate::support::{Db, Push, aside, commit, digest, new_manifest, path, push_manifest, router};
use portolan_metadata::manifest_contents::{Payload, PayloadKey};
use portolan_metadata::manifests::{
    self, DigestKey, NewManifest, ResolveDigest, ResolveDigestHead,
};
use portolan_metadata::{
    Error, ManifestId, Principal, RepositoryId, gc, manifest_contents, referrers,
};
use portolan_oci::{Digest, ManifestKind, MediaType, Platform};
use std::collections::BTreeMap;

async fn delete(db: &Db, repository: RepositoryId, digest: &Digest) -> bool {
    db.write(async |tx| manifests::delete(tx, repository, digest, &Principal::Anonymous).await)
        .await
}

async fn guard(db: &Db, child: &Digest) -> Option<ManifestId> {
    let sql = "SELECT child_id FROM manifest_child WHERE child_digest = $1";
    let row = db.sql.query_one(sql, &[&child.as_bytes()]).await.unwrap();
    row.get::<_, Option<i64>>(0).map(ManifestId::from)
}

#[tokio::test]
async fn what_is_pushed_is_resolved_and_its_bytes_are_those_pushed() {
    let db = Db::new().await;
    let root = user(&db, "root", true).await;
    let app = db.repository("acme/app").await;
    let payload = vec![b' '; 3 * 1024 * 1024];
    let (id, digest) = db.manifest(app, &Push::of(&payload)).await;
    let key = DigestKey {
        path: path("acme/app"),
        digest,
        principal: root,
    };
    let (_, row) = db
        .router
        .read_fresh::<ResolveDigest>(key)
        .await
        .unwrap()
        .value
        .unwrap();
    let row = row.unwrap();
    assert_eq!(
        (row.id, row.digest, row.size),
        (id, digest, payload.len() as u64)
    );
    assert_eq!(row.media_type, ManifestKind::OciImage.media_type());
    let size = row.size;
    let bytes = db
        .router
        .read_any::<Payload>(PayloadKey { digest, size })
        .await
        .unwrap()
        .value
        .unwrap();
    assert!(bytes == payload);
    assert!(
        db.router
            .read_any::<Payload>(PayloadKey {
                digest: Digest::sha256(b"none"),
                size
            })
            .await
            .unwrap()
            .value
            .is_none()
    );
}

#[tokio::test]
async fn pushes_of_one_manifest_at_once_make_it_once() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let pushes: Vec<_> = (0..8)
        .map(|number| {
            let router = router(&db.database, 1);
            aside(async move {
                let tx = router.begin().await.unwrap();
                let tag = format!("t{number}");
                let push = Push {
                    tag: Some(&tag),
                    ..Push::of(b"one")
                };
                let pushed = push_manifest(&tx, app, &push).await.unwrap();
                commit(tx).await;
                pushed
            })
        })
        .collect();
    let mut ids = Vec::new();
    for push in pushes {
        ids.push(push.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(db.number("SELECT count(*) FROM manifest").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM tag").await, 8);
}

#[tokio::test]
async fn pushes_of_one_content_to_two_repositories_at_once_share_it() {
    let db = Db::new().await;
    let (one, two) = (
        db.repository("acme/one").await,
        db.repository("acme/two").await,
    );
    let first = db.begin().await;
    push_manifest(&first, one, &Push::of(b"shared"))
        .await
        .unwrap();
    let second = db.begin().await;
    let race = aside(async move {
        push_manifest(&second, two, &Push::of(b"shared"))
            .await
            .unwrap();
        commit(second).await;
    });
    db.until_blocked().await;
    commit(first).await;
    race.await.unwrap();
    assert_eq!(db.number("SELECT count(*) FROM manifest_content").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM manifest").await, 2);
}

#[tokio::test]
async fn bytes_that_are_not_the_digests_fail_the_push() {
    let db = Db::new().await;
    let tx = db.begin().await;
    let outcome = manifest_contents::insert(&tx, &digest(b"whole"), b"cut").await;
    let Err(Error::Pg(cause)) = outcome else {
        panic!("stored")
    };
    assert_eq!(
        cause.constraint(),
        Some("manifest_content_is_what_it_hashes_to")
    );
    assert!(!cause.is_retryable());
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn an_index_guards_the_children_that_are_here_and_those_that_come() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (early, late) = (digest(b"early"), digest(b"late"));
    let (child, _) = db.manifest(app, &Push::of(b"early")).await;
    db.manifest(
        app,
        &Push {
            children: &[early, late],
            ..Push::of(b"index")
        },
    )
    .await;
    assert_eq!(guard(&db, &early).await, Some(child));
    assert_eq!(guard(&db, &late).await, None);
    let (second, _) = db.manifest(app, &Push::of(b"late")).await;
    assert_eq!(guard(&db, &late).await, Some(second));
    // The guard holds against everybody.
    let refused = db
        .sql
        .execute(&format!("DELETE FROM manifest WHERE id = {child}"), &[])
        .await;
    assert_eq!(refused.unwrap_err().code().unwrap().code(), "23503");
    // In another repository it is another manifest.
    let other = db.repository("acme/other").await;
    db.manifest(other, &Push::of(b"late")).await;
    assert_eq!(guard(&db, &late).await, Some(second));
}

#[tokio::test]
async fn a_user_may_delete_a_child_and_its_index_is_then_sparse() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let child = digest(b"child");
    let (id, _) = db
        .manifest(
            app,
            &Push {
                tag: Some("child"),
                ..Push::of(b"child")
            },
        )
        .await;
    db.manifest(
        app,
        &Push {
            children: &[child],
            tag: Some("index"),
            ..Push::of(b"index")
        },
    )
    .await;
    assert!(delete(&db, app, &child).await);
    assert!(!delete(&db, app, &child).await);
    assert_eq!(guard(&db, &child).await, None);
    assert_eq!(
        db.number(&format!(
            "SELECT count(*) FROM gc_queue WHERE kind = 'manifest' AND id = {id}"
        ))
        .await,
        0
    );
    let row = db
        .sql
        .query_one("SELECT reason, tags, media_type FROM deleted_manifest", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "user");
    assert_eq!(row.get::<_, Vec<String>>(1), ["child"]);
    assert_eq!(
        row.get::<_, String>(2),
        ManifestKind::OciImage.media_type().as_str()
    );
    assert!(db.holds("SELECT digest IS NULL FROM tag_history WHERE name = 'child' ORDER BY version DESC LIMIT 1").await);

    // By his wish: an index may name it; and when it comes back, the guard does.
    let missing = async || {
        db.write(async |tx| {
            manifests::removed_by_collection(tx, app, &[child, digest(b"never")]).await
        })
        .await
    };
    assert_eq!(missing().await, None);
    let (again, _) = db.manifest(app, &Push::of(b"child")).await;
    assert_eq!(guard(&db, &child).await, Some(again));
}

#[tokio::test]
async fn a_child_that_collection_took_is_not_missing_legally() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let child = digest(b"child");
    let missing = async || {
        db.write(async |tx| manifests::removed_by_collection(tx, app, &[digest(b"a"), child]).await)
            .await
    };
    for (reason, expected) in [
        ("collection", Some(child)),
        ("user", None),
        ("retention", Some(child)),
    ] {
        let sql = "INSERT INTO deleted_manifest (repository_id, digest, media_type, reason) VALUES ($1, $2, 'm', $3)";
        db.sql
            .execute(sql, &[&app, &child.as_bytes(), &reason])
            .await
            .unwrap();
        assert_eq!(missing().await, expected, "the newest row tells: {reason}");
    }
    let other = db.repository("acme/other").await;
    let elsewhere = db
        .write(async |tx| manifests::removed_by_collection(tx, other, &[child]).await)
        .await;
    assert_eq!(elsewhere, None);
}

#[tokio::test]
async fn what_loses_parent_or_subject_is_young_again() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (child, child_digest) = db.manifest(app, &Push::of(b"child")).await;
    let (_, index) = db
        .manifest(
            app,
            &Push {
                children: &[child_digest],
                ..Push::of(b"index")
            },
        )
        .await;
    let (signature, _) = db
        .manifest(
            app,
            &Push {
                subject: Some(index),
                ..Push::of(b"signature")
            },
        )
        .await;
    let (bystander, _) = db.manifest(app, &Push::of(b"bystander")).await;
    a_day_passes(&db).await;
    assert!(delete(&db, app, &index).await);
    let young = "SELECT array_agg(id ORDER BY id) FROM gc_queue
                 WHERE kind = 'manifest' AND review_after > now() + interval '23 hours'";
    let ids: Vec<i64> = db.sql.query_one(young, &[]).await.unwrap().get(0);
    assert_eq!(ids, [child.get(), signature.get()]);
    assert!(
        db.number(&format!(
            "SELECT count(*) FROM gc_queue WHERE id = {bystander} AND kind = 'manifest'"
        ))
        .await
            == 1
    );
}

#[tokio::test]
async fn a_push_of_one_that_exists_makes_it_young_again() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (id, _) = db.manifest(app, &Push::of(b"one")).await;
    a_day_passes(&db).await;
    db.manifest(app, &Push::of(b"one")).await;
    let collector = Collector::new(&db).await;
    assert_eq!(collector.review_manifest(id).await, Review::Nothing);
    a_day_passes(&db).await;
    assert_eq!(collector.review_manifest(id).await, Review::Collected);
}

#[tokio::test]
async fn head_hides_what_may_be_collected_soon_and_get_does_not() {
    let db = Db::new().await;
    let root = user(&db, "root", true).await;
    let app = db.repository("acme/app").await;
    let one = digest(b"one");
    let (id, _) = db.manifest(app, &Push::of(b"one")).await;
    let key = DigestKey {
        path: path("acme/app"),
        digest: one,
        principal: root,
    };
    let head = async || {
        db.router
            .read_fresh::<ResolveDigestHead>(key.clone())
            .await
            .unwrap()
            .value
            .unwrap()
            .1
            .is_some()
    };
    assert!(head().await);
    db.run("UPDATE gc_queue SET review_after = now() + interval '1 hour'")
        .await;
    assert!(head().await, "nothing untagged is collected here");
    db.run("UPDATE repository SET collect_untagged = true")
        .await;
    assert!(!head().await);
    let get = db
        .router
        .read_fresh::<ResolveDigest>(key.clone())
        .await
        .unwrap()
        .value
        .unwrap()
        .1;
    assert!(get.is_some());
    db.run("UPDATE gc_queue SET review_after = now() + interval '3 hours'")
        .await;
    assert!(head().await);
    db.run("DELETE FROM gc_queue").await;
    assert!(head().await, "not in the queue: something keeps it");

    // A tag, a parent by digest, a subject that is here: each keeps it, whatever the queue says.
    let due =
        "INSERT INTO gc_queue (kind, id, review_after) SELECT 'manifest', id, now() FROM manifest
               ON CONFLICT (kind, id) DO UPDATE SET review_after = now()";
    db.run(due).await;
    assert!(!head().await);
    db.run(&format!(
        "INSERT INTO tag (repository_id, manifest_id, name) VALUES ({app}, {id}, 'latest')"
    ))
    .await;
    assert!(head().await);
    db.run("DELETE FROM tag").await;
    let (_, index) = db
        .manifest(
            app,
            &Push {
                children: &[one],
                ..Push::of(b"index")
            },
        )
        .await;
    db.run("UPDATE manifest_child SET child_id = NULL").await;
    db.run(due).await;
    assert!(head().await, "whether it has a parent is asked by digest");
    assert!(delete(&db, app, &index).await);
    db.run(due).await;
    assert!(!head().await);

    let (_, subject) = db.manifest(app, &Push::of(b"subject")).await;
    let about = Push {
        subject: Some(subject),
        ..Push::of(b"about")
    };
    let (_, about) = db.manifest(app, &about).await;
    db.run(due).await;
    let key = DigestKey {
        digest: about,
        ..key.clone()
    };
    let head = async || {
        db.router
            .read_fresh::<ResolveDigestHead>(key.clone())
            .await
            .unwrap()
            .value
            .unwrap()
            .1
            .is_some()
    };
    assert!(head().await);
    assert!(delete(&db, app, &subject).await);
    db.run(due).await;
    assert!(!head().await);
}

fn annotated(content: &str, subject: Digest, artifact_type: &str) -> (NewManifest, Vec<u8>) {
    let payload = content.as_bytes().to_vec();
    let push = Push {
        subject: Some(subject),
        ..Push::of(&payload)
    };
    let new = NewManifest {
        artifact_type: Some(artifact_type.parse().unwrap()),
        annotations: BTreeMap::from([
            ("org.example.name".to_owned(), content.to_owned()),
            // Legal in JSON, and no Postgres text can hold it.
            ("nul".to_owned(), "a\0b".to_owned()),
        ]),
        platform: Some(Platform {
            os: "linux".to_owned(),
            architecture: "amd\0 64".to_owned(),
            ..Platform::default()
        }),
        ..new_manifest(&push)
    };
    (new, payload)
}

#[tokio::test]
async fn referrers_are_listed_by_digest_filtered_and_paged() {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let subject = digest(b"not here");
    let mut expected = Vec::new();
    for (content, artifact_type) in [
        ("a", "x/sbom"),
        ("b", "x/sig"),
        ("c", "x/sbom"),
        ("d", "x/sbom"),
    ] {
        let (new, payload) = annotated(content, subject, artifact_type);
        db.write(async |tx| {
            manifest_contents::insert(tx, &new.digest, &payload).await?;
            let id = manifests::insert(tx, app, &new).await?;
            gc::touch_manifest(tx, id).await
        })
        .await;
        expected.push((new.digest, artifact_type));
    }
    expected.sort_by(|one, other| one.0.as_bytes().cmp(other.0.as_bytes()));
    let reader = db.router.read_list();
    let sbom: MediaType = "x/sbom".parse().unwrap();
    let list = async |filter: Option<&MediaType>, after: Option<&Digest>, rows| {
        referrers::list(&reader, app, &subject, filter, after, rows)
            .await
            .unwrap()
    };
    let all = list(None, None, 10).await;
    let found: Vec<(Digest, &str)> = all
        .iter()
        .map(|row| (row.digest, row.artifact_type.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(all[0].annotations["nul"], "a\0b");
    assert!(all[0].encoded_size() > 256 && all[0].size == 1);
    let sboms = list(Some(&sbom), None, 10).await;
    assert_eq!(sboms.len(), 3);
    let first = list(Some(&sbom), None, 2).await;
    let rest = list(Some(&sbom), Some(&first[1].digest), 2).await;
    assert_eq!([first, rest].concat(), sboms);
    assert!(
        referrers::list(&reader, app, &digest(b"other"), None, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    // What cannot be a word of a platform is not kept; the push does not fail for it.
    assert!(
        db.holds("SELECT bool_and(os = 'linux' AND architecture IS NULL) FROM manifest")
            .await
    );
}
