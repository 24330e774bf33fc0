//! What must hold whenever nobody writes.

use crate::support::{Site, name};
use crate::support_images::tag;
use portolan_oci::{Digest, Manifest, MediaType, Reference};
use portolan_registry::{Purpose, Registry};
use portolan_testkit::children::eventually;
use std::collections::{BTreeMap, BTreeSet};

/// A site that nobody works on.
pub(crate) struct Calm<'a> {
    pub(crate) site: &'a Site,
    pub(crate) processes: &'a [Registry; 2],
}

/// Each counts what there may be none of.
const NEVER: [(&str, &str); 11] = [
    (
        "a blob's object is to be deleted",
        "SELECT count(*) FROM blob JOIN object_delete USING (store_id, storage_key)",
    ),
    (
        "a blob that nothing keeps has no review",
        "SELECT count(*) FROM blob b
         WHERE NOT EXISTS (SELECT FROM manifest_blob r WHERE r.blob_id = b.id)
             AND NOT EXISTS (SELECT FROM repository_blob l WHERE l.blob_id = b.id)
             AND NOT EXISTS (SELECT FROM gc_queue q WHERE q.kind = 'blob' AND q.id = b.id)",
    ),
    (
        "a manifest has no age",
        "SELECT count(*) FROM manifest m
         WHERE NOT EXISTS (SELECT FROM gc_queue q WHERE q.kind = 'manifest' AND q.id = m.id)",
    ),
    (
        "a guard names another manifest than its digest does",
        "SELECT count(*) FROM manifest_child c JOIN manifest m ON m.id = c.child_id
         WHERE m.digest <> c.child_digest OR m.repository_id <> c.repository_id",
    ),
    (
        "a tag is not where its history says",
        "SELECT count(*) FROM tag t JOIN manifest m ON m.id = t.manifest_id
         CROSS JOIN LATERAL (
             SELECT digest FROM tag_history h WHERE h.repository_id = t.repository_id AND h.name = t.name
             ORDER BY version DESC LIMIT 1
         ) h
         WHERE h.digest IS DISTINCT FROM m.digest",
    ),
    (
        "a move does not begin where the one before it ended",
        "SELECT count(*) FROM (
             SELECT previous_digest, lag(digest) OVER moves AS before FROM tag_history
             WINDOW moves AS (PARTITION BY repository_id, name ORDER BY version)
         ) h
         WHERE previous_digest IS DISTINCT FROM before",
    ),
    ("two moves have one version", "SELECT count(*) - count(DISTINCT version) FROM tag_history"),
    (
        "a tag whose last move was its end is there, or the other way round",
        "SELECT count(*) FROM (
             SELECT DISTINCT ON (repository_id, name) repository_id, name, digest FROM tag_history
             ORDER BY repository_id, name, version DESC
         ) h
         WHERE (h.digest IS NOT NULL) <> EXISTS (
             SELECT FROM tag t WHERE t.repository_id = h.repository_id AND t.name = h.name)",
    ),
    (
        "a manifest was deleted and is not told of",
        "SELECT count(*) FROM tag_history h
         WHERE h.digest IS NOT NULL
             AND NOT EXISTS (
                 SELECT FROM manifest m WHERE m.repository_id = h.repository_id AND m.digest = h.digest)
             AND NOT EXISTS (
                 SELECT FROM deleted_manifest d WHERE d.repository_id = h.repository_id AND d.digest = h.digest)",
    ),
    (
        "a repository was made twice",
        "SELECT count(*) - count(DISTINCT path) FROM repository",
    ),
    (
        "an upload is held after its request has ended",
        "SELECT count(*) FROM upload WHERE lock_until > now()",
    ),
];

impl Calm<'_> {
    pub(crate) async fn check(&self) {
        self.falls().await;
        for (what, sql) in NEVER {
            assert_eq!(self.site.number(sql).await, 0, "{what}");
        }
        self.every_manifest_has_what_it_names().await;
        self.every_tag_resolves().await;
        self.rows_and_objects_agree().await;
    }

    /// Waits until the requests of those who went away have ended.
    async fn falls(&self) {
        for process in self.processes {
            process.drain_uploads().await;
        }
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()";
        eventually("nobody writes", async || self.site.number(sql).await == 0).await;
    }

    async fn digests(&self, sql: &str) -> BTreeMap<i64, BTreeSet<Digest>> {
        let mut found: BTreeMap<i64, BTreeSet<Digest>> = BTreeMap::new();
        for row in self.site.sql.query(sql, &[]).await.unwrap() {
            let digest = Digest::from_bytes(row.get(1)).unwrap();
            found.entry(row.get(0)).or_default().insert(digest);
        }
        found
    }

    async fn every_manifest_has_what_it_names(&self) {
        let mut blobs = self
            .digests("SELECT manifest_id, digest FROM manifest_blob JOIN blob ON blob.id = blob_id")
            .await;
        let mut children = self
            .digests("SELECT parent_id, child_digest FROM manifest_child")
            .await;
        let sql = "SELECT manifest.id, manifest.digest, payload, media_type.name
                   FROM manifest JOIN manifest_content USING (digest)
                   JOIN media_type ON media_type.id = media_type_id";
        for row in self.site.sql.query(sql, &[]).await.unwrap() {
            let (id, payload): (i64, &[u8]) = (row.get(0), row.get(2));
            let digest = Digest::from_bytes(row.get(1)).unwrap();
            assert_eq!(Digest::of(digest.algorithm(), payload), digest);
            let media_type: MediaType = row.get::<_, &str>(3).parse().unwrap();
            let manifest = Manifest::parse(payload, Some(&media_type)).unwrap();
            let required: BTreeSet<Digest> = manifest.required_blobs().into_iter().collect();
            assert_eq!(
                blobs.remove(&id).unwrap_or_default(),
                required,
                "blobs of {digest}"
            );
            let named: BTreeSet<Digest> = manifest
                .children()
                .iter()
                .map(|child| child.digest)
                .collect();
            assert_eq!(
                children.remove(&id).unwrap_or_default(),
                named,
                "children of {digest}"
            );
        }
        assert!(
            blobs.is_empty() && children.is_empty(),
            "references of nothing"
        );
    }

    async fn every_tag_resolves(&self) {
        let sql =
            "SELECT path, tag.name, digest FROM tag JOIN manifest ON manifest.id = manifest_id
                   JOIN repository ON repository.id = tag.repository_id";
        for row in self.site.sql.query(sql, &[]).await.unwrap() {
            let name = name(row.get(0));
            let reference = Reference::Tag(tag(row.get(1)));
            for process in self.processes {
                let found = process
                    .manifest(&self.site.caller, &name, &reference, Purpose::Get)
                    .await
                    .unwrap();
                assert_eq!(found.digest.as_bytes(), row.get::<_, &[u8]>(2));
                assert_eq!(
                    Digest::of(found.digest.algorithm(), &found.payload.unwrap()),
                    found.digest
                );
            }
        }
    }

    async fn keys(&self, sql: &str) -> BTreeSet<String> {
        let rows = self.site.sql.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Every blob has its object, and there is no object that no row names.
    async fn rows_and_objects_agree(&self) {
        let objects = self.site.objects();
        let blobs = self.keys("SELECT storage_key FROM blob").await;
        let missing: Vec<&String> = blobs.difference(&objects).collect();
        assert!(missing.is_empty(), "blobs without an object: {missing:?}");
        let doomed = self
            .keys(
                "SELECT storage_key FROM object_delete
                 UNION SELECT tail_key FROM upload WHERE tail_key IS NOT NULL
                 UNION SELECT multipart_key FROM upload WHERE multipart_key IS NOT NULL
                 UNION SELECT pending_key FROM upload WHERE pending_key IS NOT NULL",
            )
            .await;
        let partial: BTreeSet<String> = doomed
            .iter()
            .map(|key| Digest::sha256(key.as_bytes()).hex())
            .collect();
        for object in &objects {
            // A folder of its own for each object that is not complete.
            let begun = object
                .strip_prefix(".partial/")
                .and_then(|rest| rest.split('/').next());
            let named = match begun {
                Some(folder) => partial.contains(folder),
                None => blobs.contains(object) || doomed.contains(object),
            };
            assert!(named, "no row names the object {object}");
        }
    }

    pub(crate) async fn delete_what_is_due(&self) {
        let [first, second] = self.processes;
        self.site
            .run("UPDATE object_delete SET not_before = now()")
            .await;
        loop {
            // Both at once share the work.
            let (one, two) = futures::join!(first.delete_objects(7), second.delete_objects(7));
            let (one, two) = (one.unwrap(), two.unwrap());
            assert_eq!((one.kept + two.kept, one.refused + two.refused), (0, 0));
            if one.total() + two.total() == 0 {
                break;
            }
        }
    }
}
